#pragma once

#include <functional>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "tasks/encoder.h"

namespace textmill::offline {

/// One row and what the model says about it.
struct Answered {
  const data::Example& example;
  std::span<const float> outputs;
};

/// The number of a label. Throws invalid if the model has no such label: `where` it stood, and the nearest one.
int label_id(const std::vector<std::string>& labels, const std::string& label, const std::string& where);

/// Logs what was not said but chosen: the engine (tasks::log_engine), and how texts are embedded.
void log_choices(const tasks::Encoder& encoder);

/// Runs `encoder` over the rows of `reader`, in batches, and calls `answer` for each, in order. `accept` sees each row
/// as it is read, and may refuse it (reader.where() says where it stands). Throws cancelled when `stop` is asked.
void answer_rows(tasks::Encoder& encoder, data::DatasetReader& reader, std::stop_token stop,
                 const std::function<void(const data::Example&)>& accept,
                 const std::function<void(const Answered&)>& answer);

}  // namespace textmill::offline
