#include "api/exchange.h"

#include "base/error.h"
#include "wire/times.h"

namespace textmill::api {

namespace {

const Value* present(const Value& structure, std::string_view member) {
  const Value* value = structure.find(member);
  return value && !value->is_null() ? value : nullptr;
}

/// A value of the type that its shape has: validated before.
template <class T>
const T& checked(const T* value) {
  TEXTMILL_CHECK(value);
  return *value;
}

}  // namespace

const Value* Exchange::find(std::string_view member) const { return present(input, member); }

std::string Exchange::text(std::string_view member, std::string_view absent) const {
  return text_in(input, member, absent);
}

int64_t Exchange::integer(std::string_view member, int64_t absent) const {
  const Value* value = find(member);
  return value ? checked(value->integer()) : absent;
}

bool Exchange::boolean(std::string_view member, bool absent) const {
  const Value* value = find(member);
  return value ? checked(value->boolean()) : absent;
}

std::optional<base::WallTime> Exchange::time(std::string_view member) const {
  const Value* value = find(member);
  if (!value) return std::nullopt;
  return wire::from_seconds(value->integer() ? static_cast<double>(*value->integer()) : *value->real());
}

const Value::Array& Exchange::list(std::string_view member) const {
  static const Value::Array kNone;
  const Value* value = find(member);
  return value ? checked(value->array()) : kNone;
}

std::string text_in(const Value& structure, std::string_view member, std::string_view absent) {
  const Value* value = present(structure, member);
  return value ? *value->string() : std::string(absent);
}

std::span<const Family* const> families() {
  static constexpr const Family* kAll[] = {
      &kSts,           &kIam,       &kModels,     &kTrainingJobs, &kEndpoints,  &kRuntime,
      &kSagemakerTags, &kS3Buckets, &kS3Settings, &kS3Objects,    &kS3Listing,  &kS3Copy,
      &kS3Multipart,   &kS3Uploads, &kLogs,       &kLogEvents,    &kCloudwatch, &kMetricData};
  return kAll;
}

}  // namespace textmill::api
