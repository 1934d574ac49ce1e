#include "fleet/output.h"

#include <fmt/format.h>
#include <re2/re2.h>

#include <charconv>
#include <cmath>

#include "base/error.h"
#include "base/utf8.h"

namespace textmill::fleet {

namespace {

bool is_blank(char c) { return c == ' ' || ('\t' <= c && c <= '\r'); }

}  // namespace

struct Metrics::Pattern {
  std::string name;
  std::unique_ptr<re2::RE2> regex;
};

Metrics::Metrics(const std::vector<MetricDefinition>& definitions) {
  re2::RE2::Options options;
  options.set_log_errors(false);
  options.set_max_mem(4 << 20);
  for (const auto& definition : definitions) {
    auto regex = std::make_unique<re2::RE2>(definition.regex, options);
    if (!regex->ok())
      throw base::Error(base::Kind::invalid, fmt::format("The pattern '{}' of the metric {} is not valid: {}",
                                                         definition.regex, definition.name, regex->error()));
    patterns_.push_back({definition.name, std::move(regex)});
  }
}

Metrics::Metrics(Metrics&&) noexcept = default;
Metrics::~Metrics() = default;

void Metrics::find(std::string_view line,
                   const std::function<void(const std::string&, double)>& found) const {
  for (const Pattern& pattern : patterns_) {
    re2::StringPiece groups[2];
    int group = pattern.regex->NumberOfCapturingGroups() > 0 ? 1 : 0;
    re2::StringPiece text(line.data(), line.size());
    if (!pattern.regex->Match(text, 0, text.size(), re2::RE2::UNANCHORED, groups, group + 1)) continue;
    const re2::StringPiece& number = groups[group];
    const char *begin = number.data(), *end = begin + number.size();
    while (begin != end && is_blank(*begin)) ++begin;
    while (begin != end && is_blank(end[-1])) --end;
    if (begin && begin != end && *begin == '+') ++begin;
    double value = 0;
    auto [at, error] = std::from_chars(begin, end, value);
    // "nan" and "inf" are words to us: no metric can be averaged with them.
    if (begin && error == std::errc() && at == end && std::isfinite(value)) found(pattern.name, value);
  }
}

void Lines::feed(std::string_view bytes, const Take& take) {
  while (!bytes.empty()) {
    size_t end = bytes.find('\n');
    size_t count = std::min({end == bytes.npos ? bytes.size() : end, kLongest - rest_.size()});
    rest_.append(bytes.substr(0, count));
    bool whole = count < bytes.size() && bytes[count] == '\n';
    bytes.remove_prefix(count + (whole ? 1 : 0));
    if (whole && !rest_.empty() && rest_.back() == '\r') rest_.pop_back();
    if (whole || rest_.size() == kLongest) {
      take(base::replace_invalid_utf8(rest_));
      rest_.clear();
    }
  }
}

void Lines::finish(const Take& take) {
  if (!rest_.empty()) take(base::replace_invalid_utf8(rest_));
  rest_.clear();
}

}  // namespace textmill::fleet
