#pragma once

#include <optional>

#include "api/s3_body.h"

namespace textmill::api::s3 {

/// An upload's row: what its object will be, and how it is summed.
struct Plan {
  store::Upload upload;
  Value object;                          // properties
  const Algorithm* algorithm = nullptr;  // null: none was asked for
  bool composite = false;                // the sum is of the parts' sums
};

Plan plan_of(store::Upload upload);
/// The input's UploadId, if it is of this bucket and the input's Key.
std::optional<Plan> find_plan(Exchange& ex, store::Connection& connection, const store::Bucket& in);
/// Throws NoSuchUpload.
Plan plan(Exchange& ex, store::Connection& connection);

}  // namespace textmill::api::s3
