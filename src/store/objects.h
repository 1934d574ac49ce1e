#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"
#include "store/connection.h"

// Buckets, objects and multipart uploads: rows. Bytes are in `Blobs`; each row here that names a blob counts as one use
// of it, which these functions keep.

namespace textmill::store {

struct Bucket {
  int64_t id = 0;
  std::string name;
  base::WallTime created;
  std::string properties;
};

std::optional<Bucket> find_bucket(Connection& connection, std::string_view name);
/// By name.
std::vector<Bucket> list_buckets(Connection& connection);
/// Throws exists.
Bucket create_bucket(Connection& connection, std::string_view name, std::string_view properties);
void set_bucket_properties(Connection& connection, int64_t bucket, std::string_view properties);
/// Its unfinished uploads go too. Throws conflict while it holds an object.
void delete_bucket(Connection& connection, int64_t bucket);

struct Object {
  std::string key;
  int64_t blob = 0;
  uint64_t size = 0;
  std::string etag;
  base::WallTime modified;
  std::string properties;
};

std::optional<Object> find_object(Connection& connection, int64_t bucket, std::string_view key);
/// Replaces an object of that key.
void put_object(Connection& connection, int64_t bucket, const Object& object);
void set_object_properties(Connection& connection, int64_t bucket, std::string_view key,
                           std::string_view properties);
/// False if there was none.
bool delete_object(Connection& connection, int64_t bucket, std::string_view key);

struct ListQuery {
  std::string prefix, delimiter;
  std::string after;  // only keys beyond it; a common prefix as well
  size_t limit = 1000;
};

/// Entries and common prefixes in the order of their bytes; together at most `limit`.
struct Listing {
  std::vector<Object> objects;
  std::vector<std::string> prefixes;
  bool truncated = false;
  std::string last;  // the last entry or common prefix: `after` of the next page
};

/// A key that contains the delimiter beyond the prefix counts as its common prefix, up to and with the delimiter. Costs
/// no more per common prefix than per key, however many keys it stands for.
Listing list_objects(Connection& connection, int64_t bucket, const ListQuery& query);

struct Upload {
  std::string id;
  int64_t bucket = 0;
  std::string key;
  base::WallTime created;
  std::string properties;
};

void create_upload(Connection& connection, const Upload& upload);
std::optional<Upload> find_upload(Connection& connection, std::string_view id);
/// In the order of keys, then ids, beyond (key, id).
std::vector<Upload> list_uploads(Connection& connection, int64_t bucket, std::string_view prefix,
                                 std::string_view after_key, std::string_view after_id, size_t limit);
/// With its parts.
void delete_upload(Connection& connection, std::string_view id);

struct Part {
  int number = 0;
  int64_t blob = 0;
  uint64_t size = 0;
  std::string etag;
  base::WallTime modified;
  std::string properties;
};

/// Replaces a part of that number.
void put_part(Connection& connection, std::string_view upload, const Part& part);
/// In the order of numbers, beyond `after`.
std::vector<Part> list_parts(Connection& connection, std::string_view upload, int after, size_t limit);

}  // namespace textmill::store
