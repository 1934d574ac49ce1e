#pragma once

#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "base/files.h"
#include "data/dataset.h"
#include "format/json.h"
#include "nn/kernel/pool.h"
#include "tasks/model_folder.h"
#include "text/tokenizer.h"
#include "train/examples.h"

namespace textmill::train {

/// Labelled text, tokenized.
struct LoadedText {
  Examples examples;
  std::vector<std::string> labels;  // by id
  data::Columns columns;            // as they were said or guessed: another file can be read alike
  data::Columns names;              // for a file that the model meets later
  format::Json source;              // {"name", "sha256", "schema", "rows", "tokens"}
};

/// Which labels there are.
struct KnownLabels {
  std::vector<std::string> labels;  // by id
  bool closed = false;  // others are an error; else the data's own count, in this order if they are the same
};

/// Reads, tokenizes and truncates all rows of a data set, on the threads of `pool`; rows of input_ids are taken as they
/// are. Nothing if `stop` was asked before the end. Throws invalid naming file and line: what the readers refuse, a label
/// that is not known, ids that the model cannot read; a text where `tokenizer` is null.
std::optional<LoadedText> load_text(const base::Path& path, const data::Columns& columns,
                                    const KnownLabels& known, const tasks::ModelFolder& model,
                                    const text::Tokenizer* tokenizer, int max_length, nn::kernel::Pool& pool,
                                    std::stop_token stop);

}  // namespace textmill::train
