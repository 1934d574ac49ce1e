// Any body under any type: sequences whose answer can be written, or an error with a status that says whose fault it is.

#include <cstdlib>

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

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view body(reinterpret_cast<const char*>(data), size);
  for (const char* type : {"application/json", "text/csv", "text/plain; charset=utf-8", "image/png"}) {
    for (const char* accept : {"", "text/csv"}) {
      int failing = 0;
      try {
        serve::Invocation invocation =
            serve::read_invocation({type, accept, body, kMaxInputs}, kModel, failing);
        if (invocation.items.empty() || invocation.items.size() > kMaxInputs) std::abort();
        std::vector<float> logits(invocation.items.size() * kModel.labels.size(), 0.5F);
        if (serve::write_answer(invocation.form, logits, kModel).empty()) std::abort();
      } catch (const base::Error& error) {
        if (error.kind() != base::Kind::invalid) std::abort();
        if (failing != 400 && failing != 413 && failing != 415 && failing != 422) std::abort();
      }
    }
  }
  return 0;
}
