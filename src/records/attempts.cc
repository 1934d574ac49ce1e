#include "records/attempts.h"

#include <fmt/format.h>

#include "base/error.h"
#include "base/hash.h"
#include "store/store.h"

namespace textmill::records {

namespace {

constexpr std::string_view kColumns = "id, resource, number, token, created, place, next, ending";

Attempt attempt_of(const store::Rows& rows) {
  return {.id = rows.integer(0),
          .resource = rows.integer(1),
          .number = static_cast<int>(rows.integer(2)),
          .token = rows.string(3),
          .created = rows.time(4),
          .offset = rows.integer(5),
          .next = rows.integer(6),
          .end = rows.string(7)};
}

}  // namespace

std::optional<Attempt> last_attempt(store::Connection& connection, int64_t resource) {
  store::Rows rows = connection.query(
      fmt::format("SELECT {} FROM attempts WHERE resource = ? ORDER BY number DESC LIMIT 1", kColumns),
      resource);
  return rows.next() ? std::optional(attempt_of(rows)) : std::nullopt;
}

Attempt open_attempt(store::Connection& connection, int64_t resource) {
  if (connection.integer("SELECT id FROM attempts WHERE resource = ? AND NOT closed", resource))
    throw base::Error(base::Kind::conflict, "an attempt is under way");
  auto before = last_attempt(connection, resource);
  std::string random = store::random_bytes(10);
  Attempt attempt{.resource = resource,
                  .number = before ? before->number + 1 : 1,
                  .token = base::hex(random),
                  .created = base::wall_now()};
  connection.execute("INSERT INTO attempts (resource, number, token, created) VALUES (?, ?, ?, ?)", resource,
                     attempt.number, attempt.token, attempt.created);
  attempt.id = connection.last_id();
  return attempt;
}

std::vector<Attempt> open_attempts(store::Connection& connection) {
  std::vector<Attempt> out;
  store::Rows rows =
      connection.query(fmt::format("SELECT {} FROM attempts WHERE NOT closed ORDER BY id", kColumns));
  while (rows.next()) out.push_back(attempt_of(rows));
  return out;
}

std::optional<bool> attempt_is_open(store::Connection& connection, std::string_view token) {
  auto closed = connection.integer("SELECT closed FROM attempts WHERE token = ?", token);
  return closed ? std::optional(*closed == 0) : std::nullopt;
}

void advance_attempt(store::Connection& connection, const Attempt& attempt) {
  connection.execute("UPDATE attempts SET place = ?, next = ?, ending = ? WHERE id = ?", attempt.offset,
                     attempt.next, attempt.end, attempt.id);
}

void close_attempt(store::Connection& connection, int64_t id) {
  connection.execute("UPDATE attempts SET closed = 1 WHERE id = ?", id);
}

void forget_attempts(store::Connection& connection, int64_t resource) {
  connection.execute("DELETE FROM attempts WHERE resource = ?", resource);
}

}  // namespace textmill::records
