#include "wire/shapes.h"

#include <algorithm>

namespace textmill::wire {

namespace model {
extern const Text kValues[];
extern const Member kMembers[];
extern const Shape kShapes[];
extern const Condition kConditions[];
extern const Operation kOperations[];
extern const uint16_t kRoutes[];
extern const ModelledError kErrors[];
extern const Service kServices[];
extern const size_t kServicesSize;
}  // namespace model

const Shape& Member::shape() const { return model::kShapes[shape_index]; }

std::span<const Member> Shape::members() const { return {model::kMembers + first_member, member_count}; }
std::span<const Text> Shape::values() const { return {model::kValues + first_value, value_count}; }

const Member* Shape::find(std::string_view member) const {
  for (const Member& candidate : members()) {
    if (candidate.name == member) return &candidate;
  }
  return nullptr;
}

const Member* Shape::payload() const {
  for (const Member& member : members()) {
    if (member.is(kPayload)) return &member;
  }
  return nullptr;
}

const Shape& Operation::input() const { return model::kShapes[input_index]; }
const Shape& Operation::output() const { return model::kShapes[output_index]; }
std::span<const Condition> Operation::conditions() const {
  return {model::kConditions + first_condition, condition_count};
}
const Service& Operation::service() const { return model::kServices[service_index]; }

std::span<const Operation> Service::operations() const {
  return {model::kOperations + first_operation, operation_count};
}
std::span<const uint16_t> Service::routes() const { return {model::kRoutes + first_route, route_count}; }
std::span<const ModelledError> Service::errors() const { return {model::kErrors + first_error, error_count}; }

const Operation* Service::find(std::string_view operation) const {
  auto all = operations();
  auto found = std::ranges::lower_bound(all, operation, {}, [](const Operation& o) { return o.name.view(); });
  return found != all.end() && found->name == operation ? &*found : nullptr;
}

std::span<const Service> services() { return {model::kServices, model::kServicesSize}; }

const Operation& operation(uint16_t index) { return model::kOperations[index]; }

const Service* find_service(std::string_view id) {
  auto found = std::ranges::find(services(), id, [](const Service& s) { return s.id.view(); });
  return found == services().end() ? nullptr : &*found;
}

}  // namespace textmill::wire
