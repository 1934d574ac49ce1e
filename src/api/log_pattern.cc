#include "api/log_pattern.h"

#include <fmt/format.h>
#include <re2/re2.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <utility>
#include <variant>
#include <vector>

#include "base/error.h"
#include "format/json.h"

namespace textmill::api {

namespace {

using format::Json;

constexpr int kDeepest = 32;

constexpr std::string_view kSpaces = " \t\r\n";

bool is_space(char c) { return kSpaces.find(c) != std::string_view::npos; }
bool is_word(char c) {
  return ('0' <= c && c <= '9') || ('A' <= c && c <= 'Z') || ('a' <= c && c <= 'z') || c == '_' || c < 0;
}

re2::StringPiece piece(std::string_view text) { return {text.data(), text.size()}; }

std::optional<double> number_in(std::string_view text) {
  double value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() && !text.empty() ? std::optional(value)
                                                                                   : std::nullopt;
}

/// Text, or with %...% an expression.
struct Needle {
  std::string text;
  std::shared_ptr<const re2::RE2> expression;

  bool in(std::string_view message) const {
    return expression ? re2::RE2::PartialMatch(piece(message), *expression)
                      : message.find(text) != std::string_view::npos;
  }
};

/// '*' stands for anything.
bool fits(std::string_view pattern, std::string_view text) {
  size_t p = 0, t = 0, star = std::string_view::npos, resume = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = t;
    } else if (p < pattern.size() && pattern[p] == text[t]) {
      ++p, ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++resume;
    } else {
      return false;
    }
  }
  return pattern.find_first_not_of('*', p) == std::string_view::npos;
}

enum class Compare { equal, unequal, less, at_most, more, at_least, is_null, is_true, is_false, absent };

enum class Any { member, element };

/// A step into JSON: a member, an element, or any of them.
using Step = std::variant<std::string, size_t, Any>;

struct Test {
  std::vector<Step> path;  // of JSON; columns have none
  Compare compare = Compare::equal;
  Needle value;
  std::optional<double> number;
};

struct Condition {
  enum class Kind { all, any, test } kind = Kind::test;
  std::vector<Condition> parts;
  Test test;

  template <class Holds>
  bool holds(const Holds& test_holds) const {
    auto part = [&](const Condition& c) { return c.holds(test_holds); };
    if (kind == Kind::all) return std::ranges::all_of(parts, part);
    if (kind == Kind::any) return std::ranges::any_of(parts, part);
    return test_holds(test);
  }
};

bool compares(double value, Compare compare, double with) {
  switch (compare) {
    case Compare::equal: return value == with;
    case Compare::unequal: return value != with;
    case Compare::less: return value < with;
    case Compare::at_most: return value <= with;
    case Compare::more: return value > with;
    case Compare::at_least: return value >= with;
    default: return false;
  }
}

bool text_holds(const Test& test, std::string_view text) {
  bool same = test.value.expression ? test.value.in(text) : fits(test.value.text, text);
  if (test.compare == Compare::equal) return same;
  if (test.compare == Compare::unequal) return !same;
  auto number = number_in(text);
  return number && test.number && compares(*number, test.compare, *test.number);
}

bool json_holds(const Test& test, const Json& value) {
  if (value.is_null()) return test.compare == Compare::is_null;
  if (const bool* boolean = value.boolean())
    return *boolean ? test.compare == Compare::is_true : test.compare == Compare::is_false;
  std::optional<double> number;
  if (value.integer()) number = static_cast<double>(*value.integer());
  if (value.real()) number = *value.real();
  if (number && test.number) return compares(*number, test.compare, *test.number);
  if (number) return text_holds(test, format::to_text(value));
  return value.string() && text_holds(test, *value.string());
}

/// Whether a value at the path from `step` on passes; nothing where there is no such path.
std::optional<bool> walk(const Test& test, const Json& value, size_t step) {
  if (step == test.path.size()) return json_holds(test, value);
  if (const auto* member = std::get_if<std::string>(&test.path[step])) {
    const Json* next = value.find(*member);
    return next ? walk(test, *next, step + 1) : std::nullopt;
  }
  const Json::Array* list = value.array();
  if (const auto* index = std::get_if<size_t>(&test.path[step]))
    return list && *index < list->size() ? walk(test, (*list)[*index], step + 1) : std::nullopt;
  std::optional<bool> any;
  auto add = [&](const Json& next) {
    if (auto found = walk(test, next, step + 1)) any = any.value_or(false) || *found;
  };
  bool members = std::get<Any>(test.path[step]) == Any::member;
  if (members && value.object()) std::ranges::for_each(*value.object(), add, &format::JsonMember::value);
  if (!members && list) std::ranges::for_each(*list, add);
  return any;
}

/// "a [b c] "d e"" has the fields a, b c and d e. Where there are more than `most`, the last takes the rest, quotes
/// and all, but not blanks at the end, which belong to no field.
std::vector<std::string_view> fields_of(std::string_view message, size_t most) {
  std::vector<std::string_view> fields;
  for (size_t at = 0; at < message.size();) {
    if (is_space(message[at])) {
      ++at;
      continue;
    }
    char close = message[at] == '"' ? '"' : message[at] == '[' ? ']' : ' ';
    size_t whole = at, begin = at + (close != ' '), end = message.find(close, begin);
    if (close == ' ') end = message.find_first_of(kSpaces, begin);
    end = std::min(end, message.size());
    fields.push_back(message.substr(begin, end - begin));
    at = end + (close != ' ');
    if (fields.size() < most) continue;
    size_t last = message.find_last_not_of(kSpaces);
    if (last >= at) fields.back() = message.substr(whole, last + 1 - whole);
    break;
  }
  return fields;
}

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  [[noreturn]] void fail(std::string_view expected) const {
    throw base::Error(base::Kind::invalid,
                      fmt::format("Invalid filter pattern: at {}: expected {}", at_ + 1, expected));
  }
  bool ended() {
    while (at_ < text_.size() && is_space(text_[at_])) ++at_;
    return at_ == text_.size();
  }
  /// Also at the end.
  bool at_space() const { return at_ == text_.size() || is_space(text_[at_]); }
  char peek() { return ended() ? '\0' : text_[at_]; }
  /// Takes `word` if it comes next, after spaces.
  bool take(std::string_view word) {
    if (ended() || !text_.substr(at_).starts_with(word)) return false;
    at_ += word.size();
    return true;
  }
  void expect(std::string_view word) {
    if (!take(word)) fail(fmt::format("'{}'", word));
  }

  /// A quoted text, an expression, or bytes as long as `bare` allows; `what` names it.
  template <class Bare>
  Needle needle(Bare bare, std::string_view what) {
    if (take("\"")) return {quoted('"'), nullptr};
    if (take("%")) return {{}, expression()};
    size_t begin = at_;
    while (at_ < text_.size() && bare(text_[at_])) ++at_;
    if (at_ == begin) fail(what);
    return {std::string(text_.substr(begin, at_ - begin)), nullptr};
  }
  std::string name() {
    Needle name = needle([](char c) { return is_word(c) || c == '-'; }, "a name");
    if (name.expression) fail("a name before this");
    return name.text;
  }

  /// `a && (b || c)`; `test` reads what is between.
  template <class ReadTest>
  Condition condition(const ReadTest& test, int depth = 0) {
    if (depth > kDeepest) fail("fewer parentheses");
    auto chain = [&](Condition::Kind kind, std::string_view word, auto part) {
      Condition all{.kind = kind, .parts = {}, .test = {}};
      do all.parts.push_back(part());
      while (take(word));
      return all.parts.size() == 1 ? Condition(all.parts[0]) : all;
    };
    auto primary = [&] {
      if (!take("(")) return Condition{.parts = {}, .test = test()};
      Condition inner = condition(test, depth + 1);
      expect(")");
      return inner;
    };
    return chain(Condition::Kind::any, "||", [&] { return chain(Condition::Kind::all, "&&", primary); });
  }

  /// What follows the thing compared: "= x", "IS NULL", ...
  void comparison(Test& test, bool json) {
    static constexpr std::pair<std::string_view, Compare> kWords[] = {{"IS NULL", Compare::is_null},
                                                                      {"IS TRUE", Compare::is_true},
                                                                      {"IS FALSE", Compare::is_false},
                                                                      {"NOT EXISTS", Compare::absent},
                                                                      {"!=", Compare::unequal},
                                                                      {"<=", Compare::at_most},
                                                                      {">=", Compare::at_least},
                                                                      {"=", Compare::equal},
                                                                      {"<", Compare::less},
                                                                      {">", Compare::more}};
    auto found = std::ranges::find_if(kWords, [&](const auto& word) { return take(word.first); });
    if (found == std::end(kWords)) fail("a comparison");
    test.compare = found->second;
    bool needs_value = test.compare <= Compare::at_least;
    if (!needs_value && !json) fail("= != < <= > or >=");
    if (!needs_value) return;
    bool is_quoted = peek() == '"';
    test.value = needle(
        [](char c) {
          return !is_space(c) && std::string_view("\"(){}[],|&=<>!%").find(c) == std::string_view::npos;
        },
        "a value");
    if (!is_quoted && !test.value.expression) test.number = number_in(test.value.text);
    if (test.compare > Compare::unequal && !test.number) fail("a number before this");
  }

  std::vector<Step> path() {
    std::vector<Step> steps;
    expect("$");
    while (at_ < text_.size() && (text_[at_] == '.' || text_[at_] == '[')) {
      if (text_[at_++] == '[' || take("["))  // AWS writes $.['a.b']
        steps.push_back(subscript());
      else if (take("*"))
        steps.emplace_back(Any::member);
      else
        steps.emplace_back(name());
    }
    return steps;
  }

 private:
  /// What follows the opening quote.
  std::string quoted(char quote) {
    std::string out;
    for (; at_ < text_.size() && text_[at_] != quote; ++at_) {
      if (text_[at_] == '\\' && at_ + 1 < text_.size() && (text_[at_ + 1] == quote || text_[at_ + 1] == '\\'))
        ++at_;
      out += text_[at_];
    }
    if (at_++ == text_.size()) fail("a closing quote");
    return out;
  }

  std::shared_ptr<const re2::RE2> expression() {
    size_t end = std::min(text_.find('%', at_), text_.size());
    re2::RE2::Options options(re2::RE2::Quiet);
    options.set_max_mem(1 << 20);
    auto expression = std::make_shared<re2::RE2>(piece(text_.substr(at_, end - at_)), options);
    if (end == text_.size()) fail("a closing % of a regular expression");
    if (!expression->ok()) fail("a regular expression: " + expression->error());
    at_ = end + 1;
    return expression;
  }

  /// What follows the [ of a path.
  Step subscript() {
    Step step = take("\"")  ? Step(quoted('"'))
                : take("'") ? Step(quoted('\''))
                : take("*") ? Step(Any::element)
                            : Step(index());
    expect("]");
    return step;
  }
  size_t index() {
    size_t value = 0;
    auto [end, error] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), value);
    if (error != std::errc()) fail("an index");
    at_ = static_cast<size_t>(end - text_.data());
    return value;
  }

  std::string_view text_;
  size_t at_ = 0;
};

}  // namespace

struct LogPattern::Form {
  std::vector<Needle> required, excluded, optional;
  std::optional<Condition> json;
  struct Column {
    bool rest = false;  // "...": any number of fields
    std::optional<Condition> condition;
  };
  std::vector<Column> columns;

  void read_terms(Parser& parser);
  void read_json(Parser& parser);
  void read_columns(Parser& parser);
  bool terms_match(std::string_view message) const;
  bool json_matches(std::string_view message) const;
  bool columns_match(std::string_view message) const;
};

void LogPattern::Form::read_terms(Parser& parser) {
  while (!parser.ended()) {
    auto& terms = parser.take("?") ? optional : parser.take("-") ? excluded : required;
    constexpr std::string_view kWord = "a word; anything else than letters, digits and _ needs quotes";
    terms.push_back(parser.needle(is_word, kWord));
    if (!parser.at_space()) parser.fail(kWord);
  }
  // AWS has `" "` alone match everything, also what has no blank.
  if (required.size() == 1 && required[0].text == " " && excluded.empty() && optional.empty())
    required.clear();
}

void LogPattern::Form::read_json(Parser& parser) {
  json = parser.condition([&] {
    Test test;
    test.path = parser.path();
    parser.comparison(test, true);
    return test;
  });
  parser.expect("}");
  if (!parser.ended()) parser.fail("the end after }");
}

void LogPattern::Form::read_columns(Parser& parser) {
  bool several = false;
  do {
    Column column;
    if (parser.take("...")) {
      if (several) parser.fail("one ... only");
      several = column.rest = true;
    } else if (parser.peek() != ',' && parser.peek() != ']') {
      // Parentheses aside, a column is its name, or comparisons of that name.
      std::string name = parser.name();
      if (!parser.ended() && parser.peek() != ',' && parser.peek() != ']') {
        bool first = true;
        column.condition = parser.condition([&] {
          if (!std::exchange(first, false) && parser.name() != name) parser.fail("the same name again");
          Test test;
          parser.comparison(test, false);
          return test;
        });
      }
    }
    columns.push_back(std::move(column));
  } while (parser.take(","));
  parser.expect("]");
  if (!parser.ended()) parser.fail("the end after ]");
}

bool LogPattern::Form::terms_match(std::string_view message) const {
  auto in = [&](const Needle& needle) { return needle.in(message); };
  return std::ranges::all_of(required, in) && std::ranges::none_of(excluded, in) &&
         (optional.empty() || !required.empty() || std::ranges::any_of(optional, in));
}

bool LogPattern::Form::json_matches(std::string_view message) const {
  size_t begin = message.find_first_not_of(kSpaces);
  if (begin == std::string_view::npos || (message[begin] != '{' && message[begin] != '[')) return false;
  Json value;
  try {
    value = format::parse_json(message, "message", {.last_of_twins = true});
  } catch (const base::Error&) { return false; }  // it is no JSON, so it does not match
  return json->holds([&](const Test& test) {
    auto found = walk(test, value, 0);
    return test.compare == Compare::absent ? !found.has_value() : found.value_or(false);
  });
}

bool LogPattern::Form::columns_match(std::string_view message) const {
  auto rest = std::ranges::find_if(columns, &Column::rest);
  bool open = rest != columns.end();
  size_t fixed = columns.size() - open, before = static_cast<size_t>(rest - columns.begin());
  auto fields = fields_of(message, open ? std::string_view::npos : fixed);
  if (fields.size() < fixed) return false;
  size_t skipped = fields.size() - fixed;
  for (size_t i = 0; i < columns.size(); ++i) {
    size_t field = i > before ? i + skipped - 1 : i;
    if (columns[i].condition &&
        !columns[i].condition->holds([&](const Test& test) { return text_holds(test, fields[field]); }))
      return false;
  }
  return true;
}

LogPattern::LogPattern(std::string_view text) {
  auto form = std::make_unique<Form>();
  Parser parser(text);
  if (parser.take("{")) {
    form->read_json(parser);
  } else if (parser.take("[")) {
    form->read_columns(parser);
  } else {
    form->read_terms(parser);
    for (const Needle& needle : form->required)
      if (needle.text.size() > literal_.size()) literal_ = needle.text;
    is_literal_ = form->required.size() <= 1 && form->excluded.empty() &&
                  (form->required.empty() ? form->optional.empty() : !form->required[0].expression);
  }
  form_ = std::move(form);
}

LogPattern::~LogPattern() = default;

bool LogPattern::matches(std::string_view message) const {
  if (form_->json) return form_->json_matches(message);
  return form_->columns.empty() ? form_->terms_match(message) : form_->columns_match(message);
}

}  // namespace textmill::api
