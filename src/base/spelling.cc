#include "base/spelling.h"

#include <algorithm>
#include <vector>

namespace textmill::base {
namespace {

/// Damerau-Levenshtein distance, restricted to swaps of neighbours that are not edited again.
size_t edits(std::string_view a, std::string_view b) {
  std::vector<size_t> two_back, back, row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); j++) row[j] = j;
  for (size_t i = 1; i <= a.size(); i++) {
    two_back = std::move(back);
    back = std::move(row);
    row.assign(b.size() + 1, i);
    for (size_t j = 1; j <= b.size(); j++) {
      row[j] = std::min({back[j] + 1, row[j - 1] + 1, back[j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        row[j] = std::min(row[j], two_back[j - 2] + 1);
      }
    }
  }
  return row.back();
}

}  // namespace

std::string_view nearest(std::string_view word, std::span<const std::string_view> words) {
  std::string_view best;
  size_t fewest = std::max<size_t>(1, word.size() / 3) + 1;
  for (std::string_view candidate : words) {
    if (size_t distance = edits(word, candidate); distance < fewest) {
      fewest = distance;
      best = candidate;
    }
  }
  return best;
}

std::string lower_case(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  return out;
}

std::string did_you_mean(std::string_view word, std::span<const std::string_view> words) {
  std::string_view best = nearest(word, words);
  return best.empty() ? "" : "; did you mean " + std::string(best) + "?";
}

}  // namespace textmill::base
