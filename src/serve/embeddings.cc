#include <fmt/format.h>

#include <algorithm>

#include "base/base64.h"
#include "base/error.h"
#include "serve/request.h"

namespace textmill::serve {
namespace {

using format::Json, format::JsonView;

/// The inputs of an embedding request: a text, a list of texts, the ids of one, or a list of ids.
struct Inputs {
  const Model& model;
  tasks::Truncation truncation;
  std::string prompt;
  Call call = {};

  tasks::PackedItem read(const JsonView& input) {
    if (input.value().string()) {
      if (input.string().empty()) input.fail("a text that is not empty");
      call.characters += count_characters(input.string());
      return model.encode(prompt + input.string(), {}, truncation);
    }
    if (!input.value().array()) input.fail("a text, or a list of token ids");
    return model.unpad(input.integers(INT32_MIN, INT32_MAX), {}, {});
  }

  void read_all(const JsonView& inputs, const CallRequest& request, int& failing) {
    const Json::Array* list = inputs.value().array();
    if (!list || (!list->empty() && list->front().integer())) return call.items.push_back(read(inputs));
    check_count(list->size(), request.max_inputs, failing);
    for (const JsonView& input : inputs.array()) call.items.push_back(read(input));
  }
};

std::string prompt_of(const JsonView& request, const Model& model) {
  std::string name = request.get_string("prompt_name", model.default_prompt);
  if (name.empty()) return "";
  auto found = model.prompts.find(name);
  if (found != model.prompts.end()) return found->second;
  std::string names;
  for (const auto& [known, prompt] : model.prompts) names += names.empty() ? known : ", " + known;
  request.at("prompt_name").fail("one of the model's prompts: " + (names.empty() ? "it has none" : names));
}

void require_embeddings(const Model& model, int& failing) {
  failing = 424;
  if (!model.embeds())
    throw base::Error(base::Kind::invalid, "the model does not embed: it is a classifier; ask /predict");
  failing = 422;
}

/// The first `dimensions` of a row (Matryoshka embeddings), of length one if `normalize`.
struct Shape {
  size_t dimensions;
  bool normalize;

  std::vector<float> apply(std::span<const float> row) const {
    return tasks::embedding_of(row.first(dimensions), normalize);
  }
};

Shape read_shape(const JsonView& request, const Model& model) {
  auto dimensions = request.get_integer("dimensions", model.width, 1, model.width);
  return {static_cast<size_t>(dimensions), request.get_boolean("normalize", true)};
}

std::string base64_of(std::span<const float> row) {
  return base::base64_encode({reinterpret_cast<const char*>(row.data()), row.size_bytes()});
}

}  // namespace

Call read_embed(const CallRequest& request, const Model& model, int& failing) {
  Json value = read_json_body(request, failing);
  require_embeddings(model, failing);
  JsonView view(value, "body");
  // "parameters" and "options" are what Hugging Face's clients add to "inputs": nothing of an embedding depends on them.
  view.refuse_unknown({"inputs", "truncate", "truncation_direction", "prompt_name", "normalize", "dimensions",
                       "parameters", "options"});
  Inputs inputs{model, read_truncation(view), prompt_of(view, model)};
  Shape shape = read_shape(view, model);
  inputs.read_all(view.at("inputs"), request, failing);
  inputs.call.answer = [shape, width = model.width](std::span<const float> outputs) -> Answer {
    std::string body = "[";
    for (auto row : rows_of(outputs, width)) {
      if (body.size() > 1) body += ", ";
      tasks::append_vector(body, shape.apply(row));
    }
    return {body + "]"};
  };
  return std::move(inputs.call);
}

Call read_openai_embeddings(const CallRequest& request, const Model& model, int& failing) {
  Json value = read_json_body(request, failing);
  require_embeddings(model, failing);
  JsonView view(value, "body");
  view.refuse_unknown({"input", "model", "encoding_format", "dimensions", "user"});
  std::string encoding = view.get_string("encoding_format", "float"),
              name = view.get_string("model", model.id);
  if (encoding != "float" && encoding != "base64") view.at("encoding_format").fail("\"float\" or \"base64\"");
  Inputs inputs{model, {}, prompt_of(view, model)};
  Shape shape = read_shape(view, model);
  inputs.read_all(view.at("input"), request, failing);
  Call& call = inputs.call;
  int64_t tokens = 0;
  for (const auto& item : call.items) tokens += std::ssize(item.input_ids);
  call.answer = [=, width = model.width](std::span<const float> outputs) -> Answer {
    std::string body = R"({"object": "list", "data": [)";
    size_t index = 0;
    for (auto row : rows_of(outputs, width)) {
      body +=
          fmt::format(R"({}{{"object": "embedding", "index": {}, "embedding": )", index ? ", " : "", index);
      index++;
      auto vector = shape.apply(row);
      if (encoding == "base64") {
        format::append_json_string(body, base64_of(vector));
      } else {
        tasks::append_vector(body, vector);
      }
      body += '}';
    }
    body += R"(], "model": )";
    format::append_json_string(body, name);
    body += fmt::format(R"(, "usage": {{"prompt_tokens": {0}, "total_tokens": {0}}}}})", tokens);
    return {std::move(body)};
  };
  return std::move(call);
}

}  // namespace textmill::serve
