#pragma once

#include <span>
#include <string>
#include <vector>

#include "offline/quantize.h"
#include "tasks/packed.h"

namespace textmill::offline {

/// What a search measures: a text, or the two of a pair as one sequence, and its label's id; of an embedder two texts, apart,
/// and how alike people find them.
struct SearchRow {
  std::vector<tasks::PackedItem> texts;
  double target = 0;
};

struct SearchRows {
  std::vector<SearchRow> evaluation;
  std::vector<tasks::PackedItem> calibration;  // of an embedder two a row
};

/// Reads and tokenizes all of `data`, of at most `max_length` tokens (ModelFolder::max_length). Throws invalid naming file and
/// line: a label that the model lacks, or for an embedder a label that is no number, or one text instead of two.
std::vector<SearchRow> read_rows(const base::Path& data, const data::Columns& columns,
                                 std::optional<int> max_length, const tasks::ModelFolder& folder);

/// Those of a search. What calibrates is not evaluated, unless the options allow it.
SearchRows read_search_rows(const QuantizeOptions& options, const tasks::ModelFolder& folder);

/// Of all rows as the model sees them, so of whatever chose them: files, columns, the longest sequence.
std::string sha256_of(const SearchRows& rows);

}  // namespace textmill::offline
