#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "wire/fault.h"
#include "wire/shapes.h"
#include "wire/uri.h"

namespace textmill::wire {

// Between a protocol's own form and the value tree, by shape; codec.h puts the parts together. Members that the shape
// does not have are dropped on the way in; on the way out they are a broken promise of ours (internal).

/// A place in a tree, as AWS's messages name it: "productionVariants.1.member.initialInstanceCount".
struct Where {
  const Where* up = nullptr;
  std::string_view member;
  size_t index = 0;  // in a list, from 1

  std::string text() const;
};

/// "Integer", for messages.
std::string_view name_of(const Shape& shape);

/// Parsed JSON in, the value tree out, in place. Throws Fault{SerializationException} for a value of another type.
void adopt_json(const Shape& shape, Value& value, const Where& where);
void append_json(std::string& out, const Shape& shape, const Value& value);

/// "Tags.member.1.Key=..." by the rules of the query protocol. Throws Fault.
Value from_form(const Shape& shape, const Parameters& fields);

/// An XML document whose root is of this shape. Throws Fault{MalformedXML}.
Value from_xml(const Shape& shape, std::string_view document);
/// <NAME>...</NAME>, or the elements of a flattened list.
void append_xml(std::string& out, std::string_view name, const Shape& shape, const Value& value,
                bool flattened = false);
/// The elements of a structure's members that travel in the body.
void append_xml_members(std::string& out, const Shape& shape, const Value& value);
void append_xml_text(std::string& out, std::string_view text);

/// One value as text: in headers, queries, forms, XML. Nothing if it is none of that shape.
std::optional<Value> scalar_from_text(const Shape& shape, std::string_view text);
/// `natural`: the form of a timestamp that the place has.
std::string scalar_to_text(const Shape& shape, const Value& value, Times natural);

}  // namespace textmill::wire
