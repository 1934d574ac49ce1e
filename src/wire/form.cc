#include <fmt/format.h>

#include <charconv>
#include <map>

#include "base/utf8.h"
#include "wire/tree.h"

namespace textmill::wire {
namespace {

constexpr int kDepth = 32;

/// The fields of a form by the parts of their names: numbers in their own order.
struct Node {
  std::map<std::string, Node, std::less<>> children;
  std::map<uint32_t, Node> items;
  const std::string* value = nullptr;

  Node& child(std::string_view part) {
    uint32_t number = 0;
    auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), number);
    if (error == std::errc() && end == part.data() + part.size()) return items[number];
    return children[std::string(part)];
  }
  const Node* find(std::string_view part) const {
    auto found = children.find(part);
    return found == children.end() ? nullptr : &found->second;
  }
};

Fault malformed(const std::string& what) { return {"MalformedInput", 400, what}; }

Value value_of(const Shape& shape, const Node& node, const Where& where);

Value list_of(const Shape& shape, const Node& node, const Where& where) {
  const Member& element = shape.members()[0];
  const Node* items = shape.is(kFlattened) ? &node : node.find(element.wire.view());
  Value::Array out;
  if (items) {
    for (const auto& [number, item] : items->items)
      out.push_back(value_of(element.shape(), item, {&where, {}, out.size() + 1}));
  }
  return out;
}

Value map_of(const Shape& shape, const Node& node, const Where& where) {
  auto members = shape.members();
  const Node* entries = shape.is(kFlattened) ? &node : node.find("entry");
  Value out = Value::object({});
  if (!entries) return out;
  for (const auto& [number, entry] : entries->items) {
    const Node* key = entry.find(members[0].wire.view());
    const Node* value = entry.find(members[1].wire.view());
    if (!key || !key->value || !value)
      throw malformed(fmt::format("an entry of '{}' without key or value", where.text()));
    out.set(*key->value, value_of(members[1].shape(), *value, {&where, *key->value}));
  }
  return out;
}

Value value_of(const Shape& shape, const Node& node, const Where& where) {
  switch (shape.type) {
    case Type::structure: {
      Value out = Value::object({});
      for (const Member& member : shape.members()) {
        if (const Node* child = node.find(member.wire.view())) {
          out.set(member.name.view(), value_of(member.shape(), *child, {&where, member.name.view()}));
        }
      }
      return out;
    }
    case Type::list: return list_of(shape, node, where);
    case Type::map: return map_of(shape, node, where);
    default: {
      if (!node.value) throw malformed(fmt::format("'{}' has no value", where.text()));
      auto value = scalar_from_text(shape, *node.value);
      if (!value)
        throw malformed(fmt::format("'{}' at '{}' is no {}", *node.value, where.text(), name_of(shape)));
      return std::move(*value);
    }
  }
}

}  // namespace

Value from_form(const Shape& shape, const Parameters& fields) {
  Node root;
  for (const auto& [name, value] : fields) {
    if (base::invalid_utf8(name) || base::invalid_utf8(value))
      throw malformed(fmt::format("'{}' is not UTF-8", name));
    Node* node = &root;
    std::string_view rest = name;
    for (int depth = 0; !rest.empty(); ++depth) {
      if (depth == kDepth) throw malformed(fmt::format("the name of a field has more than {} parts", kDepth));
      auto part = rest.substr(0, rest.find('.'));
      rest.remove_prefix(std::min(rest.size(), part.size() + 1));
      node = &node->child(part);
    }
    node->value = &value;
  }
  return value_of(shape, root, {});
}

}  // namespace textmill::wire
