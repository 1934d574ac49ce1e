// Any body under any type: sequences whose answer can be written, or an error with a status that says whose fault it is.

#include <algorithm>
#include <cstdlib>
#include <iterator>

#include "base/error.h"
#include "serve/request.h"

using namespace textmill;

namespace {

tasks::PackedItem item(size_t tokens) {
  return {std::vector<int32_t>(tokens, 1), std::vector<int32_t>(tokens)};
}

constexpr size_t kMaxInputs = 100;

const serve::Model kModel{.encode = [](std::string_view text, std::optional<std::string_view> pair,
                                       auto) { return item(2 + text.size() + pair.value_or("").size()); },
                          .unpad = [](std::span<const int64_t> ids, std::span<const int64_t>,
                                      std::span<const int64_t>) { return item(ids.size()); },
                          .scores = tasks::ScoreFunction::none,
                          .labels = {"no", "ma,ybe", "yes"}};

serve::Model embedding_model() {
  serve::Model model = kModel;
  model.labels.clear();
  model.prompts = {{"query", "query: "}};
  return model;
}
const serve::Model kEmbedding = embedding_model();

void ask(serve::Read* read, const serve::CallRequest& request, const serve::Model& model) {
  int failing = 0;
  try {
    serve::Call call = read(request, model, failing);
    if (call.items.empty() || call.items.size() > kMaxInputs) std::abort();
    std::vector<float> outputs(call.items.size() * static_cast<size_t>(model.width), 0.5F);
    if (call.answer(outputs).body.empty()) std::abort();
  } catch (const base::Error& error) {
    if (error.kind() != base::Kind::invalid) std::abort();
    constexpr int kAllowed[] = {400, 413, 415, 422, 424};
    if (std::ranges::find(kAllowed, failing) == std::end(kAllowed)) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view body(reinterpret_cast<const char*>(data), size);
  for (const serve::Model* model : {&kModel, &kEmbedding}) {
    for (const char* type : {"application/json", "text/csv", "text/plain; charset=utf-8", "image/png"}) {
      for (const char* accept : {"", "text/csv"}) {
        ask(serve::read_invocation, {type, accept, body, kMaxInputs}, *model);
      }
    }
    for (serve::Read* read : {serve::read_predict, serve::read_embed, serve::read_openai_embeddings}) {
      ask(read, {"application/json", "", body, kMaxInputs}, *model);
    }
  }
  return 0;
}
