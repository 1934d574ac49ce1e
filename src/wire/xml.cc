#include <fmt/format.h>

#include <cstring>
#include <pugixml.hpp>

#include "base/utf8.h"
#include "wire/tree.h"

namespace textmill::wire {
namespace {

constexpr int kDepth = 64;

Fault malformed() {
  return {"MalformedXML", 400,
          "The XML you provided was not well-formed or did not validate against our published schema"};
}

std::string_view local_name(const char* name) {
  const char* colon = std::strchr(name, ':');
  return colon ? colon + 1 : name;
}

Value value_of(const Shape& shape, pugi::xml_node node, int depth);

Value members_of(const Shape& shape, pugi::xml_node node, int depth) {
  Value out = Value::object({});
  for (const Member& member : shape.members()) {
    if (member.location != Location::body) continue;
    if (member.is(kAttribute)) {
      if (auto attribute = node.attribute(std::string(member.wire.view()).c_str()))
        out.set(member.name.view(), attribute.value());
      continue;
    }
    bool flattened = member.is(kFlattened) || member.shape().is(kFlattened);
    Value::Array items;
    for (pugi::xml_node child : node.children()) {
      if (child.type() != pugi::node_element || local_name(child.name()) != member.wire.view()) continue;
      if (flattened) {
        items.push_back(value_of(member.shape().members()[0].shape(), child, depth + 1));
      } else {
        out.set(member.name.view(), value_of(member.shape(), child, depth + 1));
      }
    }
    if (!items.empty()) out.set(member.name.view(), std::move(items));
  }
  return out;
}

Value value_of(const Shape& shape, pugi::xml_node node, int depth) {
  if (depth > kDepth) throw malformed();
  switch (shape.type) {
    case Type::structure: return members_of(shape, node, depth);
    case Type::list: {
      const Member& element = shape.members()[0];
      Value::Array items;
      for (pugi::xml_node child : node.children()) {
        if (child.type() == pugi::node_element && local_name(child.name()) == element.wire.view()) {
          items.push_back(value_of(element.shape(), child, depth + 1));
        }
      }
      return items;
    }
    case Type::map: throw malformed();  // no request has one
    default: {
      std::string text;
      for (pugi::xml_node child : node.children()) {
        if (child.type() == pugi::node_element) throw malformed();
        text += child.value();
      }
      auto value = scalar_from_text(shape, text);
      if (!value || base::invalid_utf8(text)) throw malformed();  // &#xd800;
      return std::move(*value);
    }
  }
}

}  // namespace

Value from_xml(const Shape& shape, std::string_view document) {
  pugi::xml_document parsed;
  constexpr unsigned kOptions = pugi::parse_doctype | pugi::parse_cdata | pugi::parse_escapes |
                                pugi::parse_ws_pcdata_single | pugi::parse_eol;
  auto result = parsed.load_buffer(document.data(), document.size(), kOptions, pugi::encoding_utf8);
  if (!result || base::invalid_utf8(document) || !parsed.document_element()) throw malformed();
  for (pugi::xml_node node : parsed.children())
    if (node.type() == pugi::node_doctype) throw malformed();
  return value_of(shape, parsed.document_element(), 0);
}

void append_xml_text(std::string& out, std::string_view text) {
  for (char c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      default:
        // As S3 writes them; XML 1.0 has no form for most of these.
        if (static_cast<unsigned char>(c) < 0x20 && c != '\t' && c != '\n') {
          out += fmt::format("&#x{:x};", static_cast<unsigned char>(c));
        } else {
          out += c;
        }
    }
  }
}

void append_xml_members(std::string& out, const Shape& shape, const Value& value) {
  TEXTMILL_CHECK(value.object());
  for (const Member& member : shape.members()) {
    if (member.location != Location::body || member.is(kAttribute)) continue;
    const Value* entry = value.find(member.name.view());
    if (!entry || entry->is_null()) continue;
    append_xml(out, member.wire, member.shape(), *entry, member.is(kFlattened));
  }
}

void append_xml(std::string& out, std::string_view name, const Shape& shape, const Value& value,
                bool flattened) {
  if (shape.type == Type::list && (flattened || shape.is(kFlattened))) {
    TEXTMILL_CHECK(value.array());
    for (const Value& item : *value.array()) append_xml(out, name, shape.members()[0].shape(), item);
    return;
  }
  out += '<';
  out += name;
  if (shape.type == Type::structure) {
    for (const Member& member : shape.members()) {
      const Value* entry = member.is(kAttribute) ? value.find(member.name.view()) : nullptr;
      if (!entry) continue;
      out += R"( xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" )";
      ((out += member.wire) += "=\"");
      append_xml_text(out, *entry->string());
      out += '"';
    }
  }
  out += '>';
  switch (shape.type) {
    case Type::structure: append_xml_members(out, shape, value); break;
    case Type::list:
      TEXTMILL_CHECK(value.array());
      for (const Value& item : *value.array())
        append_xml(out, shape.members()[0].wire, shape.members()[0].shape(), item);
      break;
    case Type::map:
      TEXTMILL_CHECK(value.object());
      for (const auto& [key, entry] : *value.object()) {
        out += "<entry>";
        append_xml(out, shape.members()[0].wire, shape.members()[0].shape(), Value(key));
        append_xml(out, shape.members()[1].wire, shape.members()[1].shape(), entry);
        out += "</entry>";
      }
      break;
    default: append_xml_text(out, scalar_to_text(shape, value, Times::iso8601));
  }
  ((out += "</") += name) += '>';
}

}  // namespace textmill::wire
