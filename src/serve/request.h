#pragma once

#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "format/json.h"
#include "tasks/encoder.h"
#include "tasks/scores.h"

namespace textmill::serve {

/// What the dialects need of a model: the encoder's own functions, or a test's.
struct Model {
  std::function<tasks::PackedItem(std::string_view text, std::optional<std::string_view> pair,
                                  const tasks::Truncation&)>
      encode;
  std::function<tasks::PackedItem(std::span<const int64_t> ids, std::span<const int64_t> mask,
                                  std::span<const int64_t> types)>
      unpad;
  tasks::ScoreFunction scores = tasks::ScoreFunction::softmax;
  std::vector<std::string> labels;                  // none: it embeds
  int width = static_cast<int>(labels.size());      // numbers of a sequence's output
  std::map<std::string, std::string> prompts = {};  // see tasks::SentenceModules
  std::string default_prompt = {};
  std::string id = {};    // what clients know it by
  std::string info = {};  // JSON, at /info

  bool embeds() const { return labels.empty(); }
};

struct Answer {
  std::string body;
  const char* type = "application/json";
};

/// A request that was read: what is to go through the model, and how the answer is made of what comes out, [items, width].
/// It throws internal if those numbers are not finite.
struct Call {
  std::vector<tasks::PackedItem> items;
  std::function<Answer(std::span<const float> outputs)> answer;
  size_t characters = 0;  // of the texts, where the dialect says
};

struct CallRequest {
  std::string_view content_type, accept, body;
  size_t max_inputs;  // what the queue can hold: more would never be taken
};

/// A dialect. `failing` is the status for an Error that it throws: 415 of an unknown type, 400 of a body that does not
/// parse, 413 of too many inputs, 422 of what parses and is wrong, 424 of what this model cannot do.
using Read = Call(const CallRequest& request, const Model& model, int& failing);

/// SageMaker's /invocations, by the body's type and members: JSON as Hugging Face's containers take it ("inputs",
/// "parameters") or as TensorFlow Serving's clients send it ("instances", padded), CSV (a text, or a pair, a record), plain
/// text. Of an embedding model read_embed.
Read read_invocation;

// text-embeddings-inference's dialects.
Read read_predict;  // /predict: {"inputs": "a" | ["a", "b"] (a pair) | [["a"], ["a", "b"]], "raw_scores"}
Read read_embed;    // /embed: {"inputs": "a" | ["a", ...] | ids, "normalize", "dimensions"} -> [[0.1, ...]]
Read
    read_openai_embeddings;  // /v1/embeddings: {"input", "encoding_format": "float" | "base64", "dimensions"}

// ---- what dialects share

/// The JSON body; fails as 415 or 400.
format::Json read_json_body(const CallRequest& request, int& failing);
/// A request for nothing: status 400, of the type Empty.
struct NoInputs : base::Error {
  using base::Error::Error;
};
/// Before any of them is tokenized: throws NoInputs, or, `failing` becoming 413, invalid for more than the queue can ever
/// hold.
void check_count(size_t inputs, size_t most, int& failing);
/// The row of each item of `outputs`. Throws internal naming one that is not finite.
std::vector<std::span<const float>> rows_of(std::span<const float> outputs, int width);
/// Code points of UTF-8.
size_t count_characters(std::string_view text);
/// From "truncate" (true if absent) and "truncation_direction".
tasks::Truncation read_truncation(const format::JsonView& request);

}  // namespace textmill::serve
