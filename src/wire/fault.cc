#include "wire/fault.h"

#include <array>

namespace textmill::wire {

using base::Kind;

namespace {

Kind kind_of(int status) {
  switch (status) {
    case 401:
    case 403: return Kind::denied;
    case 404: return Kind::not_found;
    case 409: return Kind::conflict;
    case 413:
    case 429: return Kind::limit;
    case 503: return Kind::unavailable;
    default: return status < 500 ? Kind::invalid : Kind::internal;
  }
}

struct Code {
  const char* code;
  int status;
};

/// A row per service, a column per kind: invalid, not_found, exists, in_use, limit, conflict, denied, unavailable,
/// cancelled, internal.
struct Row {
  std::string_view service;
  std::array<Code, 10> codes;
};

constexpr Row kRows[] = {
    {"sagemaker",
     {{{"ValidationException", 400},
       {"ResourceNotFound", 400},
       {"ResourceInUse", 400},
       {"ResourceInUse", 400},
       {"ResourceLimitExceeded", 400},
       {"ConflictException", 400},
       {"AccessDeniedException", 400},
       {"ServiceUnavailable", 503},
       {"ServiceUnavailable", 503},
       {"InternalFailure", 500}}}},
    {"sagemaker-runtime",
     {{{"ValidationError", 400},
       {"ValidationError", 400},
       {"ValidationError", 400},
       {"ModelNotReadyException", 429},
       {"ThrottlingException", 400},
       {"ValidationError", 400},
       {"AccessDeniedException", 403},
       {"ServiceUnavailable", 503},
       {"ServiceUnavailable", 503},
       {"InternalFailure", 500}}}},
    {"application-autoscaling",
     {{{"ValidationException", 400},
       {"ObjectNotFoundException", 400},
       {"ValidationException", 400},
       {"ConcurrentUpdateException", 500},
       {"LimitExceededException", 400},
       {"ConcurrentUpdateException", 500},
       {"AccessDeniedException", 400},
       {"InternalServiceException", 503},
       {"InternalServiceException", 503},
       {"InternalServiceException", 500}}}},
    {"logs",
     {{{"InvalidParameterException", 400},
       {"ResourceNotFoundException", 400},
       {"ResourceAlreadyExistsException", 400},
       {"OperationAbortedException", 400},
       {"LimitExceededException", 400},
       {"OperationAbortedException", 400},
       {"AccessDeniedException", 400},
       {"ServiceUnavailableException", 503},
       {"ServiceUnavailableException", 503},
       {"InternalFailure", 500}}}},
    {"cloudwatch",
     {{{"InvalidParameterValue", 400},
       {"ResourceNotFound", 404},
       {"InvalidParameterValue", 400},
       {"ConflictException", 409},
       {"LimitExceeded", 400},
       {"InvalidParameterCombination", 400},
       {"AccessDenied", 403},
       {"ServiceUnavailable", 503},
       {"ServiceUnavailable", 503},
       {"InternalServiceError", 500}}}},
    {"s3",
     {{{"InvalidArgument", 400},
       {"NoSuchKey", 404},
       {"BucketAlreadyExists", 409},
       {"OperationAborted", 409},
       {"SlowDown", 503},
       {"OperationAborted", 409},
       {"AccessDenied", 403},
       {"ServiceUnavailable", 503},
       {"RequestTimeout", 400},
       {"InternalError", 500}}}},
    // sts, iam, and what is none of ours
    {"",
     {{{"ValidationError", 400},
       {"NoSuchEntity", 404},
       {"EntityAlreadyExists", 409},
       {"ConcurrentModification", 409},
       {"LimitExceeded", 409},
       {"DeleteConflict", 409},
       {"AccessDenied", 403},
       {"ServiceUnavailable", 503},
       {"ServiceUnavailable", 503},
       {"ServiceFailure", 500}}}},
};

}  // namespace

Fault::Fault(std::string code, int status, const std::string& message, Value details)
    : Error(kind_of(status), message),
      code_(std::move(code)),
      status_(status),
      details_(std::move(details)) {}

Fault validation_fault(const Service& service, const std::string& message) {
  if (service.id == "cloudwatch") return {"ValidationError", 400, message};
  return fault_of(base::Error(Kind::invalid, message), &service);
}

Fault fault_of(const base::Error& error, const Service* service) {
  if (auto fault = dynamic_cast<const Fault*>(&error)) return *fault;
  const Row* row = kRows;
  while (!row->service.empty() && (!service || service->id.view() != row->service)) ++row;
  const Code& code = row->codes[static_cast<size_t>(error.kind())];
  return {code.code, code.status, error.what()};
}

}  // namespace textmill::wire
