#include "store/schema.h"

namespace textmill::store {

namespace {

// Times are microseconds since 1970, UTC. Keys of objects are bytes, so that they sort as S3 sorts them. `properties`
// is JSON that belongs to the API.
constexpr std::string_view kSchema[] = {
    R"sql(
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

CREATE TABLE settings (
  name TEXT PRIMARY KEY,
  value BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE access_keys (
  id TEXT PRIMARY KEY,
  secret TEXT NOT NULL,
  name TEXT NOT NULL,
  role TEXT NOT NULL,
  created INTEGER NOT NULL,
  active INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE resources (
  id INTEGER PRIMARY KEY,
  kind TEXT NOT NULL,
  key TEXT NOT NULL,  -- the name, in lower case where names may be of any case
  name TEXT NOT NULL,
  created INTEGER NOT NULL,
  modified INTEGER NOT NULL,
  status TEXT NOT NULL,
  token TEXT NOT NULL,
  body TEXT NOT NULL,
  UNIQUE (kind, key)
);
CREATE INDEX resources_by_creation ON resources (kind, created, id);
CREATE TABLE tags (
  resource INTEGER NOT NULL REFERENCES resources (id),
  key TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (resource, key)
) WITHOUT ROWID;

CREATE TABLE log_streams (
  id INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used again: blocks of a deleted stream go later
  log_group INTEGER,                     -- null: deleted
  name TEXT NOT NULL,
  created INTEGER NOT NULL,
  first_event INTEGER,  -- milliseconds, as all times of events
  last_event INTEGER,
  last_ingestion INTEGER,
  events INTEGER NOT NULL DEFAULT 0,
  bytes INTEGER NOT NULL DEFAULT 0,
  loose INTEGER NOT NULL DEFAULT 0,  -- blocks that came since the last merge
  UNIQUE (log_group, name)
);
CREATE INDEX loose_log_streams ON log_streams (id) WHERE loose >= 16;
CREATE TABLE log_blocks (
  id INTEGER PRIMARY KEY,
  stream INTEGER NOT NULL REFERENCES log_streams (id),
  first INTEGER NOT NULL,
  last INTEGER NOT NULL,
  sequence INTEGER NOT NULL,  -- to add to those in the block
  bytes INTEGER NOT NULL,     -- of messages, before packing
  data BLOB NOT NULL
);
CREATE INDEX log_blocks_by_time ON log_blocks (stream, first, last, sequence, bytes);
CREATE TABLE log_retention (
  log_group INTEGER PRIMARY KEY,
  days INTEGER NOT NULL
);

CREATE TABLE metric_series (
  id INTEGER PRIMARY KEY,
  space TEXT NOT NULL,
  name TEXT NOT NULL,
  dimensions BLOB NOT NULL,  -- name, 0, value, 0, ... sorted
  unit TEXT NOT NULL,
  changed INTEGER NOT NULL,  -- time of the newest value, in seconds as all times of values
  tend_at INTEGER NOT NULL,
  UNIQUE (space, name, dimensions, unit)
);
CREATE INDEX metric_series_to_tend ON metric_series (tend_at);
CREATE TABLE metric_points (
  series INTEGER NOT NULL REFERENCES metric_series (id),
  step INTEGER NOT NULL,
  time INTEGER NOT NULL,
  count REAL NOT NULL,
  sum REAL NOT NULL,
  minimum REAL NOT NULL,
  maximum REAL NOT NULL,
  known BLOB NOT NULL,  -- values and their weights, by value
  PRIMARY KEY (series, step, time)
) WITHOUT ROWID;
)sql",
    R"sql(
CREATE INDEX live_resources ON resources (kind, id)
  WHERE status IN ('InProgress', 'Stopping', 'Creating', 'Updating', 'Deleting');
CREATE TABLE attempts (
  id INTEGER PRIMARY KEY,
  resource INTEGER NOT NULL REFERENCES resources (id),
  number INTEGER NOT NULL,
  token TEXT NOT NULL UNIQUE,
  created INTEGER NOT NULL,
  place INTEGER NOT NULL DEFAULT 0,  -- bytes of its journal that were taken
  next INTEGER NOT NULL DEFAULT 0,   -- the number of the next event
  ending TEXT NOT NULL DEFAULT '',   -- its last event
  closed INTEGER NOT NULL DEFAULT 0,
  UNIQUE (resource, number)
);
CREATE INDEX open_attempts ON attempts (id) WHERE NOT closed;
)sql",
    // Their names are of any case now; of two that differ in case alone the first
    // is found by it.
    R"sql(
UPDATE OR IGNORE resources SET key = lower(key) WHERE kind IN ('role', 'policy');
)sql",
    // All that a list may filter by, so that what does not match is passed over without its body's pages.
    R"sql(
DROP INDEX resources_by_creation;
CREATE INDEX listed_resources ON resources (kind, created, id, key, status, modified);
)sql"};

}  // namespace

Migrations schema() { return kSchema; }

}  // namespace textmill::store
