#include "store/objects.h"

#include <fmt/format.h>

#include "base/error.h"
#include "store/blobs.h"

namespace textmill::store {

namespace {

Bucket bucket_of(const Rows& rows) {
  return {
      .id = rows.integer(0), .name = rows.string(1), .created = rows.time(2), .properties = rows.string(3)};
}

Object object_of(const Rows& rows) {
  return {.key = rows.string(0),
          .blob = rows.integer(1),
          .size = static_cast<uint64_t>(rows.integer(2)),
          .etag = rows.string(3),
          .modified = rows.time(4),
          .properties = rows.string(5)};
}

Upload upload_of(const Rows& rows) {
  return {.id = rows.string(0),
          .bucket = rows.integer(1),
          .key = rows.string(2),
          .created = rows.time(3),
          .properties = rows.string(4)};
}

/// The first bytes beyond all that begin with `prefix`; empty if there are none.
std::string beyond(std::string prefix) {
  while (!prefix.empty() && prefix.back() == '\xff') prefix.pop_back();
  if (!prefix.empty()) ++prefix.back();
  return prefix;
}

}  // namespace

std::optional<Bucket> find_bucket(Connection& connection, std::string_view name) {
  Rows rows = connection.query("SELECT id, name, created, properties FROM buckets WHERE name = ?", name);
  return rows.next() ? std::optional(bucket_of(rows)) : std::nullopt;
}

std::vector<Bucket> list_buckets(Connection& connection) {
  std::vector<Bucket> buckets;
  Rows rows = connection.query("SELECT id, name, created, properties FROM buckets ORDER BY name");
  while (rows.next()) buckets.push_back(bucket_of(rows));
  return buckets;
}

Bucket create_bucket(Connection& connection, std::string_view name, std::string_view properties) {
  if (find_bucket(connection, name))
    throw base::Error(base::Kind::exists, fmt::format("bucket {} exists", name));
  Bucket bucket{
      .name = std::string(name), .created = base::wall_now(), .properties = std::string(properties)};
  connection.execute("INSERT INTO buckets (name, created, properties) VALUES (?, ?, ?)", name, bucket.created,
                     properties);
  bucket.id = connection.last_id();
  return bucket;
}

void set_bucket_properties(Connection& connection, int64_t bucket, std::string_view properties) {
  connection.execute("UPDATE buckets SET properties = ? WHERE id = ?", properties, bucket);
}

void delete_bucket(Connection& connection, int64_t bucket) {
  if (connection.integer("SELECT 1 FROM objects WHERE bucket = ? LIMIT 1", bucket))
    throw base::Error(base::Kind::conflict, "the bucket is not empty");
  for (const Upload& upload : list_uploads(connection, bucket, "", "", "", SIZE_MAX))
    delete_upload(connection, upload.id);
  connection.execute("DELETE FROM buckets WHERE id = ?", bucket);
}

std::optional<Object> find_object(Connection& connection, int64_t bucket, std::string_view key) {
  Rows rows = connection.query(
      "SELECT key, blob, size, etag, modified, properties FROM objects WHERE bucket = ? AND key = ?", bucket,
      Bytes{key});
  return rows.next() ? std::optional(object_of(rows)) : std::nullopt;
}

void put_object(Connection& connection, int64_t bucket, const Object& object) {
  auto replaced =
      connection.integer("SELECT blob FROM objects WHERE bucket = ? AND key = ?", bucket, Bytes{object.key});
  connection.execute(
      "INSERT OR REPLACE INTO objects (bucket, key, blob, size, etag, modified, properties) VALUES (?, ?, ?, "
      "?, ?, ?, ?)",
      bucket, Bytes{object.key}, object.blob, object.size, object.etag, object.modified, object.properties);
  use_blob(connection, object.blob);
  if (replaced) release_blob(connection, *replaced);
}

void set_object_properties(Connection& connection, int64_t bucket, std::string_view key,
                           std::string_view properties) {
  connection.execute("UPDATE objects SET properties = ? WHERE bucket = ? AND key = ?", properties, bucket,
                     Bytes{key});
}

bool delete_object(Connection& connection, int64_t bucket, std::string_view key) {
  auto blob = connection.integer("SELECT blob FROM objects WHERE bucket = ? AND key = ?", bucket, Bytes{key});
  if (!blob) return false;
  connection.execute("DELETE FROM objects WHERE bucket = ? AND key = ?", bucket, Bytes{key});
  release_blob(connection, *blob);
  return true;
}

Listing list_objects(Connection& connection, int64_t bucket, const ListQuery& query) {
  Listing listing;
  const std::string end = beyond(query.prefix);
  std::string from = query.prefix;  // keys at it and beyond
  if (query.after >= from) {
    // A common prefix as the last entry of a page: its keys are done.
    size_t cut = query.delimiter.empty() || !query.after.starts_with(query.prefix)
                     ? std::string::npos
                     : query.after.find(query.delimiter, query.prefix.size());
    from = cut == std::string::npos ? query.after + '\0'
                                    : beyond(query.after.substr(0, cut + query.delimiter.size()));
    if (from.empty()) return listing;
  }
  while (true) {
    Rows rows = connection.query(
        "SELECT key, blob, size, etag, modified, properties FROM objects WHERE bucket = ? AND key >= ? ORDER "
        "BY key",
        bucket, Bytes{from});
    bool skip = false;
    while (!skip) {
      if (!rows.next()) return listing;
      std::string_view key = rows.text(0);
      if (!end.empty() && key >= end) return listing;
      if (listing.objects.size() + listing.prefixes.size() == query.limit) {
        listing.truncated = true;
        return listing;
      }
      size_t cut =
          query.delimiter.empty() ? std::string::npos : key.find(query.delimiter, query.prefix.size());
      if (cut == std::string::npos) {
        listing.last = listing.objects.emplace_back(object_of(rows)).key;
      } else {
        listing.last = listing.prefixes.emplace_back(key.substr(0, cut + query.delimiter.size()));
        from = beyond(listing.last);
        if (from.empty()) return listing;
        skip = true;
      }
    }
  }
}

void create_upload(Connection& connection, const Upload& upload) {
  connection.execute("INSERT INTO uploads (id, bucket, key, created, properties) VALUES (?, ?, ?, ?, ?)",
                     upload.id, upload.bucket, Bytes{upload.key}, upload.created, upload.properties);
}

std::optional<Upload> find_upload(Connection& connection, std::string_view id) {
  Rows rows = connection.query("SELECT id, bucket, key, created, properties FROM uploads WHERE id = ?", id);
  return rows.next() ? std::optional(upload_of(rows)) : std::nullopt;
}

std::vector<Upload> list_uploads(Connection& connection, int64_t bucket, std::string_view prefix,
                                 std::string_view after_key, std::string_view after_id, size_t limit) {
  std::vector<Upload> uploads;
  Rows rows = connection.query(
      "SELECT id, bucket, key, created, properties FROM uploads WHERE bucket = ? AND key >= ? AND (key, id) "
      "> (?, ?)"
      " ORDER BY key, id",
      bucket, Bytes{prefix}, Bytes{after_key}, after_id);
  while (uploads.size() < limit && rows.next() && rows.text(2).starts_with(prefix))
    uploads.push_back(upload_of(rows));
  return uploads;
}

void delete_upload(Connection& connection, std::string_view id) {
  for (const Part& part : list_parts(connection, id, 0, SIZE_MAX)) release_blob(connection, part.blob);
  connection.execute("DELETE FROM parts WHERE upload = ?", id);
  connection.execute("DELETE FROM uploads WHERE id = ?", id);
}

void put_part(Connection& connection, std::string_view upload, const Part& part) {
  auto replaced =
      connection.integer("SELECT blob FROM parts WHERE upload = ? AND number = ?", upload, part.number);
  connection.execute(
      "INSERT OR REPLACE INTO parts (upload, number, blob, size, etag, modified, properties) VALUES (?, ?, "
      "?, ?, ?, ?, ?)",
      upload, part.number, part.blob, part.size, part.etag, part.modified, part.properties);
  use_blob(connection, part.blob);
  if (replaced) release_blob(connection, *replaced);
}

std::vector<Part> list_parts(Connection& connection, std::string_view upload, int after, size_t limit) {
  std::vector<Part> parts;
  Rows rows = connection.query(
      "SELECT number, blob, size, etag, modified, properties FROM parts WHERE upload = ? AND number > ? "
      "ORDER BY number",
      upload, after);
  while (parts.size() < limit && rows.next())
    parts.push_back({.number = static_cast<int>(rows.integer(0)),
                     .blob = rows.integer(1),
                     .size = static_cast<uint64_t>(rows.integer(2)),
                     .etag = rows.string(3),
                     .modified = rows.time(4),
                     .properties = rows.string(5)});
  return parts;
}

}  // namespace textmill::store
