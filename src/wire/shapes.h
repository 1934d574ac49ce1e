#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace textmill::wire {

// What AWS's own service models say of operations and shapes, as constant tables that tools/gen_shapes.py writes.
// Rows refer to each other by index.

enum class Protocol : uint8_t { json, query, rest_json, rest_xml };
enum class Type : uint8_t { structure, list, map, string, integer, real, boolean, timestamp, blob };
/// Where a member travels; `headers` is a map of headers with a common prefix.
enum class Location : uint8_t { body, header, headers, uri, query, status };
/// How a timestamp is written; `natural`: as the protocol and the place have it.
enum class Times : uint8_t { natural, iso8601, http, epoch };

enum Flags : uint8_t {
  kRequired = 1,       // member
  kPayload = 2,        // member: is the body, alone
  kFlattened = 4,      // member or list: no element around the list
  kAttribute = 8,      // member: an XML attribute
  kUnion = 1,          // structure: exactly one member
  kEventStream = 2,    // structure: its members are the events of a stream
  kEvent = 8,          // structure
  kEventPayload = 16,  // member: the frame's payload
  kLong = 16,          // integer of 64 bits
};

namespace model {
extern const char kPool[];
}

/// A string of the models' pool.
struct Text {
  uint32_t bits;  // offset << 12 | length
  std::string_view view() const { return {model::kPool + (bits >> 12), bits & 0xfff}; }
  operator std::string_view() const { return view(); }
  bool empty() const { return (bits & 0xfff) == 0; }
  friend bool operator==(Text text, std::string_view other) { return text.view() == other; }
};

struct Shape;

struct Member {
  Text name;  // the model's
  Text wire;  // on the wire
  uint16_t shape_index;
  Location location;
  uint8_t flags;

  const Shape& shape() const;
  bool is(Flags flag) const { return flags & flag; }
};

struct Shape {
  Text name;
  Text pattern;     // as the model has it, for messages
  Text expression;  // the same for RE2
  double min, max;  // of a number, of the length of a string, list, map or blob; infinite when free
  uint16_t first_member, member_count;  // a structure's members; a list's element; a map's key and value
  uint16_t first_value, value_count;    // of an enum
  Type type;
  Times times;
  uint8_t flags;

  std::span<const Member> members() const;
  std::span<const Text> values() const;
  bool is(Flags flag) const { return flags & flag; }
  /// Null when there is none.
  const Member* find(std::string_view member) const;
  /// The member that is the body, or null.
  const Member* payload() const;
};

/// What a REST request carries beside method and path for an operation to be meant. An empty value: any.
struct Condition {
  Text name, value;
  Location location;  // query or header
};

struct Service;

struct Operation {
  Text name, method, path;  // the path with labels: "/{Bucket}/{Key+}"
  uint16_t first_condition, condition_count;
  uint16_t input_index, output_index;
  uint16_t status;  // of success
  uint8_t service_index;

  const Shape& input() const;
  const Shape& output() const;
  std::span<const Condition> conditions() const;
  const Service& service() const;
};

struct ModelledError {
  Text code, shape;
  uint16_t status;
};

struct Service {
  Text id;            // "sagemaker-runtime"
  Text signing_name;  // in a signature's scope
  Text target;        // X-Amz-Target is this, a dot, the operation
  Text xml_namespace;
  Text version, json_version;
  uint16_t first_operation, operation_count;
  uint16_t first_route, route_count;
  uint16_t first_error, error_count;
  Protocol protocol;
  bool query_compatible;  // spoke query before: its clients still want that protocol's error codes

  std::span<const Operation> operations() const;  // by name
  /// Indexes into all operations, the most particular route first; REST services only.
  std::span<const uint16_t> routes() const;
  std::span<const ModelledError> errors() const;
  const Operation* find(std::string_view operation) const;
};

/// All of them, by id.
std::span<const Service> services();
const Operation& operation(uint16_t index);
/// Null when the models have no such service.
const Service* find_service(std::string_view id);

}  // namespace textmill::wire
