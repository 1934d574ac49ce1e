#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tasks/packed.h"
#include "tasks/scores.h"

namespace textmill::serve {

/// What the dialects need of a model: the classifier's own functions, or a test's.
struct Model {
  std::function<tasks::PackedItem(std::string_view text, std::optional<std::string_view> pair,
                                  std::optional<int> max_length)>
      encode;
  std::function<tasks::PackedItem(std::span<const int64_t> ids, std::span<const int64_t> mask,
                                  std::span<const int64_t> types)>
      unpad;
  tasks::ScoreFunction scores;
  std::vector<std::string> labels;
};

/// How the answer to a request looks.
struct AnswerForm {
  enum class Dialect {
    single,       // {"inputs": "..."}: one list of labels
    list,         // {"inputs": [...]}: the best label of each, or with top_k a list of each
    predictions,  // {"instances": [...]}: logits
  };
  Dialect dialect = Dialect::single;
  std::optional<int> top_k;
  std::optional<tasks::ScoreFunction> scores;  // instead of the model's
  bool csv = false;                            // lines "label,score", as Accept asks
};

struct Invocation {
  std::vector<tasks::PackedItem> items;
  AnswerForm form;
};

struct InvocationRequest {
  std::string_view content_type, accept, body;
  size_t max_inputs;  // what the queue can hold: more would never be taken
};

/// Reads a body in the dialect that its type and members say: JSON as Hugging Face's containers take it ("inputs",
/// "parameters") or as TensorFlow Serving's clients send it ("instances", padded), CSV (a text, or a pair, a record),
/// plain text. `failing` is the status for an Error that it throws: 415 of an unknown type, 400 of a body that does not
/// parse, 413 of too many inputs, 422 of what parses and is wrong.
Invocation read_invocation(const InvocationRequest& request, const Model& model, int& failing);

/// The answer's body for logits [items, labels].
std::string write_answer(const AnswerForm& form, std::span<const float> logits, const Model& model);
/// Its Content-Type.
const char* answer_type(const AnswerForm& form);

}  // namespace textmill::serve
