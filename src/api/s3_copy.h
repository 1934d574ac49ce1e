#pragma once

#include <string>

#include "api/s3_body.h"

namespace textmill::api::s3 {

/// The source of a copy: "/bucket/key?versionId=null", percent-encoded.
struct Source {
  std::string bucket, key;
};
/// Of x-amz-copy-source. Throws InvalidArgument.
Source source_of(Exchange& ex);
/// Throws NoSuchBucket, NoSuchKey, PreconditionFailed.
store::Object find_source(Exchange& ex, store::Connection& connection, const Source& source);

/// Some bytes of a blob as a blob of their own, hashed and summed.
Received copy_range(Exchange& ex, const Content& content, Range range, const Algorithm* algorithm);

}  // namespace textmill::api::s3
