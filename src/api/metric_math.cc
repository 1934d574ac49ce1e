#include "api/metric_math.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "api/metric_math_tree.h"

namespace textmill::api {

namespace {

using Node = MathExpression::Node;
using Kind = Node::Kind;

constexpr int kDeepest = 64;

bool is_letter(char c) { return ('A' <= c && c <= 'Z') || ('a' <= c && c <= 'z') || c == '_'; }
bool is_digit(char c) { return '0' <= c && c <= '9'; }

/// Precedence climbing: OR, AND, comparisons, + -, * /, unary -, ^.
class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Node whole() {
    Node node = binary(0, 0);
    if (skip(); at_ < text_.size()) fail("an operator or the end");
    return node;
  }

 private:
  struct Operator {
    std::string_view sign, name;
    size_t level;
  };
  // Longer ones before those that they begin with.
  static constexpr Operator kOperators[] = {
      {"||", "OR", 0}, {"OR", "OR", 0}, {"&&", "AND", 1}, {"AND", "AND", 1}, {"==", "==", 2},
      {"!=", "!=", 2}, {"<=", "<=", 2}, {">=", ">=", 2},  {"<", "<", 2},     {">", ">", 2},
      {"+", "+", 3},   {"-", "-", 3},   {"*", "*", 4},    {"/", "/", 4}};
  static constexpr size_t kLevels = 5;

  [[noreturn]] void fail(std::string_view expected) const {
    throw math_fault(fmt::format("Error in expression '{}': at {}: expected {}", text_, at_ + 1, expected));
  }
  void skip() {
    while (at_ < text_.size() && std::string_view(" \t\r\n").find(text_[at_]) != std::string_view::npos)
      ++at_;
  }
  bool take(std::string_view sign) {
    skip();
    std::string_view rest = text_.substr(at_);
    if (!rest.starts_with(sign)) return false;
    bool word = is_letter(sign[0]);
    if (word && rest.size() > sign.size() && (is_letter(rest[sign.size()]) || is_digit(rest[sign.size()])))
      return false;
    at_ += sign.size();
    return true;
  }

  Node binary(size_t level, int depth) {
    if (level == kLevels) return unary(depth);
    Node left = binary(level + 1, depth);
    for (;;) {
      auto found = std::ranges::find_if(kOperators,
                                        [&](const Operator& o) { return o.level == level && take(o.sign); });
      if (found == std::end(kOperators)) return left;
      std::vector<Node> parts;
      parts.push_back(std::move(left));
      parts.push_back(binary(level + 1, depth));
      left = {.kind = Kind::call, .text = std::string(found->name), .parts = std::move(parts)};
    }
  }

  Node unary(int depth) {
    if (depth > kDeepest) fail("less nesting");
    if (take("-")) return {.kind = Kind::call, .text = "neg", .parts = {unary(depth + 1)}};
    Node base = primary(depth + 1);
    if (!take("^")) return base;
    std::vector<Node> parts;
    parts.push_back(std::move(base));
    parts.push_back(unary(depth + 1));
    return {.kind = Kind::call, .text = "^", .parts = std::move(parts)};
  }

  Node primary(int depth) {
    if (take("(")) {
      Node inner = binary(0, depth);
      if (!take(")")) fail("')'");
      return inner;
    }
    if (at_ < text_.size() && (text_[at_] == '"' || text_[at_] == '\'')) return quoted(text_[at_++]);
    if (at_ < text_.size() && (is_digit(text_[at_]) || text_[at_] == '.')) return number();
    if (at_ == text_.size() || !is_letter(text_[at_])) fail("a number, an id, a function or '('");
    size_t begin = at_;
    while (at_ < text_.size() && (is_letter(text_[at_]) || is_digit(text_[at_]))) ++at_;
    std::string name(text_.substr(begin, at_ - begin));
    if (!take("(")) return {.kind = Kind::name, .text = std::move(name), .parts = {}};
    return call(std::move(name), depth);
  }

  Node call(std::string name, int depth) {
    Node node{.kind = Kind::call, .text = std::move(name), .parts = {}};
    if (!take(")")) {
      // A list in brackets is its elements: "SUM([m1, m2])".
      bool list = take("[");
      do node.parts.push_back(binary(0, depth));
      while (take(","));
      if (list && !take("]")) fail("']'");
      if (!take(")")) fail("')'");
      if (list) node.parts = {{.kind = Kind::call, .text = "list", .parts = std::move(node.parts)}};
    }
    check_function(node.text, node.parts.size());
    return node;
  }

  Node number() {
    double value = 0;
    auto [end, error] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), value);
    if (error != std::errc()) fail("a number");
    at_ = static_cast<size_t>(end - text_.data());
    return {.kind = Kind::number, .number = value, .text = {}, .parts = {}};
  }

  Node quoted(char quote) {
    size_t end = text_.find(quote, at_);
    if (end == std::string_view::npos) fail("a closing quote");
    Node node{.kind = Kind::text, .text = std::string(text_.substr(at_, end - at_)), .parts = {}};
    at_ = end + 1;
    return node;
  }

  std::string_view text_;
  size_t at_ = 0;
};

}  // namespace

MathExpression::MathExpression(std::string_view text) : root_(std::make_unique<Node>(Parser(text).whole())) {}
MathExpression::MathExpression(MathExpression&&) noexcept = default;
MathExpression::~MathExpression() = default;

MathValue MathExpression::evaluate(const MathScope& scope) const { return compute(*root_, scope); }

}  // namespace textmill::api
