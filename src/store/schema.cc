#include "store/schema.h"

namespace textmill::store {

namespace {

// Times are microseconds since 1970, UTC. Keys of objects are bytes, so that they sort as S3 sorts them. `properties`
// is JSON that belongs to the API.
constexpr std::string_view kSchema[] = {R"sql(
CREATE TABLE blobs (
  id INTEGER PRIMARY KEY,
  hash BLOB NOT NULL UNIQUE,
  size INTEGER NOT NULL,
  uses INTEGER NOT NULL,
  data BLOB  -- null: in a file
);
CREATE INDEX unused_blobs ON blobs (id) WHERE uses = 0;

CREATE TABLE buckets (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  created INTEGER NOT NULL,
  properties TEXT NOT NULL
);
CREATE TABLE objects (
  bucket INTEGER NOT NULL REFERENCES buckets (id),
  key BLOB NOT NULL,
  blob INTEGER NOT NULL,
  size INTEGER NOT NULL,
  etag TEXT NOT NULL,
  modified INTEGER NOT NULL,
  properties TEXT NOT NULL,
  PRIMARY KEY (bucket, key)
) WITHOUT ROWID;
CREATE TABLE uploads (
  id TEXT PRIMARY KEY,
  bucket INTEGER NOT NULL REFERENCES buckets (id),
  key BLOB NOT NULL,
  created INTEGER NOT NULL,
  properties TEXT NOT NULL
);
CREATE INDEX uploads_by_key ON uploads (bucket, key, id);
CREATE TABLE parts (
  upload TEXT NOT NULL REFERENCES uploads (id),
  number INTEGER NOT NULL,
  blob INTEGER NOT NULL,
  size INTEGER NOT NULL,
  etag TEXT NOT NULL,
  modified INTEGER NOT NULL,
  properties TEXT NOT NULL,
  PRIMARY KEY (upload, number)
) WITHOUT ROWID;
)sql"};

}  // namespace

Migrations schema() { return kSchema; }

}  // namespace textmill::store
