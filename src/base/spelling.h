#pragma once

#include <span>
#include <string>
#include <string_view>

namespace textmill::base {

/// Of ASCII's letters.
std::string lower_case(std::string_view text);

/// The one of `words` with the fewest edits (insertions, deletions, substitutions, swapped neighbours) from `word`;
/// empty if all are further than a third of its length, and at least one.
std::string_view nearest(std::string_view word, std::span<const std::string_view> words);

/// "; did you mean NEAREST?", or nothing.
std::string did_you_mean(std::string_view word, std::span<const std::string_view> words);

}  // namespace textmill::base
