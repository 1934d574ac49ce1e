#pragma once

#include <string_view>

#include "api/exchange.h"

namespace textmill::api {

/// How the operations of SageMaker on a kind of resource that is only stored name its parts. With it create<K>,
/// describe<K>, list<K> and remove<K> are handlers.
struct Stored {
  const records::Kind& kind;
  std::string_view name, arn;  // members: "ModelName", "ModelArn"
  std::string_view list;       // member of the list's output: "Models"
  /// Throws for what the shapes cannot forbid; may fill in defaults. Null: nothing.
  void (*check)(Exchange& ex, store::Connection& connection, Value& body) = nullptr;
  std::string_view status = {};  // member of what a list says of each: "EndpointStatus"; empty: none
  bool ascending = false;        // how a list is ordered unless it says
  /// Adds to what a list says of each; null: nothing.
  void (*summarize)(const records::Resource& resource, Value& summary) = nullptr;
};

Value create(Exchange& ex, const Stored& stored);
Value describe(Exchange& ex, const Stored& stored);
Value list(Exchange& ex, const Stored& stored);
Value remove(Exchange& ex, const Stored& stored);

template <const Stored& S>
Value create(Exchange& ex) {
  return create(ex, S);
}
template <const Stored& S>
Value describe(Exchange& ex) {
  return describe(ex, S);
}
template <const Stored& S>
Value list(Exchange& ex) {
  return list(ex, S);
}
template <const Stored& S>
Value remove(Exchange& ex) {
  return remove(ex, S);
}

/// What the describe call answers.
Value document(const Platform& platform, const Stored& stored, const records::Resource& resource);

/// [{Key, Value}] and back. Throws invalid for a key twice, or AWS's own ("aws:...").
/// The member _Caller of what runs for somebody.
Value caller_of(const Exchange& ex);
records::Tags tags_in(const Value::Array& list);
Value tag_list(const records::Tags& tags);

extern const Stored kStoredModel;

Value training_job_document(const Platform& platform, const records::Resource& job);

}  // namespace textmill::api
