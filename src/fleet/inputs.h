#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/files.h"
#include "format/json.h"
#include "store/store.h"

namespace textmill::fleet {

struct S3Uri {
  std::string bucket, key;
};
/// "s3://bucket/any/key". Throws invalid.
S3Uri parse_s3_uri(std::string_view text);

/// An object and its place below a folder.
struct Placed {
  int64_t blob = 0;
  std::string path;
};

/// The objects that a S3DataSource of a channel means, in the order of their keys (of a manifest: as it lists them).
/// Throws invalid, in words for a FailureReason: none there, a bucket that is not, a path that leaves the folder, two of
/// one name.
std::vector<Placed> objects_of(store::Connection& connection, store::Blobs& blobs,
                               const format::Json& source);
/// All under a prefix, by what follows it; there may be none.
std::vector<Placed> objects_under(store::Connection& connection, const S3Uri& prefix);

/// The bytes of a manifest. Throws limit for more than one has.
std::string content_of(store::Connection& connection, store::Blobs& blobs, int64_t blob);

/// Puts objects into a folder: links to what the store holds, so nothing is copied and nothing is lost when an object is
/// deleted; for the eyes of a sandbox only, as they are the store's own bytes.
void place(store::Connection& connection, const store::Blobs& blobs, std::span<const Placed> objects,
           const base::Path& folder);

}  // namespace textmill::fleet
