#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace textmill::api {

/// The filter pattern of a search over log events, by the rules of CloudWatch Logs:
///
///   ERROR "two words" -DEBUG      all of these occur and none of those; words are found inside words too
///   ?ERROR ?WARN                  one of these occurs (without effect beside terms that must)
///   %[45]\d\d%                    a regular expression (RE2)
///   { $.a.b = "x*" && ($.n >= 5 || $.l[0] IS NULL || $.c NOT EXISTS) }     over messages that are JSON
///   { $.['a.b'] = x || $.*.c = x || $.d[*] = x }                           any member, any element
///   [ip, user, status = 4* || status = 500, ..., bytes > 1000]             over fields between spaces
///   [level = ERROR, message]                                               without ... the last takes the rest
class LogPattern {
 public:
  /// Throws invalid naming the place. Empty or a quoted blank: every message matches.
  explicit LogPattern(std::string_view text);
  LogPattern(const LogPattern&) = delete;
  ~LogPattern();

  bool matches(std::string_view message) const;
  /// Occurs in every message that matches; may be empty.
  const std::string& literal() const { return literal_; }
  /// Whether every message with the literal matches.
  bool is_literal() const { return is_literal_; }

 private:
  struct Form;
  std::unique_ptr<const Form> form_;
  std::string literal_;
  bool is_literal_ = false;
};

}  // namespace textmill::api
