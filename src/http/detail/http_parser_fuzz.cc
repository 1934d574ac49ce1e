// Requests and responses from outside: whatever the pieces they come in, a parser sees the same, within its bounds.
#include <algorithm>
#include <cstdlib>

#include "http/detail/parser.h"

namespace {

using namespace textmill::http::detail;

constexpr uint32_t kMaxHeader = 2048;

struct Seen {
  std::optional<int> refused;
  std::string head, body;
  size_t taken = 0;
  bool operator==(const Seen&) const = default;
};

/// `step(n)`: the size of the n-th piece.
template <class Parser, class Step>
Seen parse(std::string_view text, Step step) {
  Parser parser(kMaxHeader);
  Seen seen;
  size_t shown = 0;
  for (size_t n = 0; !parser.done() && !parser.refusal();) {
    size_t taken =
        shown > seen.taken ? parser.feed(text.substr(seen.taken, shown - seen.taken), seen.body) : 0;
    seen.taken += taken;
    if (taken > 0) continue;
    if (shown == text.size()) break;
    shown = std::min(text.size(), shown + step(n++));
  }
  if (!parser.done() && !parser.refusal()) parser.end_of_input();
  size_t header_bytes = parser.method.size() + parser.target.size();
  for (const auto& [name, value] : parser.headers) {
    header_bytes += name.size() + value.size();
    seen.head += name + ":" + value + "\n";
  }
  if (header_bytes > kMaxHeader + 64 || seen.body.size() > text.size()) std::abort();
  if (parser.refusal()) return {parser.refusal()->status, {}, {}, 0};
  seen.head += parser.method + parser.target + std::to_string(parser.status);
  return seen;
}

template <class Parser>
void check(std::string_view text, const uint8_t* steps, size_t count) {
  auto whole = parse<Parser>(text, [&](size_t) { return text.size(); });
  auto pieces = parse<Parser>(text, [&](size_t n) { return size_t{1} + steps[n % count] % 64; });
  // In pieces a broken message may be found wrong for another reason, but never right.
  if (whole.refused.has_value() != pieces.refused.has_value()) std::abort();
  if (!whole.refused && !(whole == pieces)) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 5 || size > 16384) return 0;
  std::string_view text(reinterpret_cast<const char*>(data) + 4, size - 4);
  check<RequestParser>(text, data, 4);
  check<ResponseParser>(text, data, 4);
  return 0;
}
