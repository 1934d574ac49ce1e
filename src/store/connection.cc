#include "store/connection.h"

#include <fmt/format.h>
#include <sqlite3.h>

#include <utility>

#include "base/error.h"

namespace textmill::store {

namespace {

[[noreturn]] void fail(sqlite3* database, std::string_view doing) {
  int code = database ? sqlite3_errcode(database) : SQLITE_NOMEM;
  const char* path = database ? sqlite3_db_filename(database, nullptr) : nullptr;
  auto kind = code == SQLITE_FULL || code == SQLITE_BUSY || code == SQLITE_IOERR || code == SQLITE_NOMEM
                  ? base::Kind::unavailable
                  : base::Kind::internal;
  // Answers carry it: a client need not know where the folder is.
  std::string file = path && *path ? base::Path(path).filename().string() : "database";
  throw base::Error(
      kind, fmt::format("{}: {}: {}", file, doing, database ? sqlite3_errmsg(database) : "out of memory"));
}

}  // namespace

Rows::~Rows() {
  if (!busy_) return;
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
  *busy_ = false;
}

bool Rows::next() {
  int code = sqlite3_step(statement_);
  if (code != SQLITE_ROW && code != SQLITE_DONE) fail(database_, sqlite3_sql(statement_));
  return code == SQLITE_ROW;
}

bool Rows::is_null(int column) const { return sqlite3_column_type(statement_, column) == SQLITE_NULL; }
int64_t Rows::integer(int column) const { return sqlite3_column_int64(statement_, column); }
double Rows::real(int column) const { return sqlite3_column_double(statement_, column); }

std::string_view Rows::text(int column) const {
  const void* data = sqlite3_column_blob(statement_, column);
  return {static_cast<const char*>(data), static_cast<size_t>(sqlite3_column_bytes(statement_, column))};
}

void Rows::bind(int index, std::nullptr_t) {
  if (sqlite3_bind_null(statement_, index)) fail(database_, sqlite3_sql(statement_));
}
void Rows::bind(int index, int64_t value) {
  if (sqlite3_bind_int64(statement_, index, value)) fail(database_, sqlite3_sql(statement_));
}
void Rows::bind(int index, double value) {
  if (sqlite3_bind_double(statement_, index, value)) fail(database_, sqlite3_sql(statement_));
}
void Rows::bind(int index, std::string_view text) {
  if (sqlite3_bind_text64(statement_, index, text.data() ? text.data() : "", text.size(), SQLITE_TRANSIENT,
                          SQLITE_UTF8))
    fail(database_, sqlite3_sql(statement_));
}
void Rows::bind(int index, Bytes bytes) {
  if (sqlite3_bind_blob64(statement_, index, bytes.view.data() ? bytes.view.data() : "", bytes.view.size(),
                          SQLITE_TRANSIENT))
    fail(database_, sqlite3_sql(statement_));
}

Connection::Connection(const base::Path& file, Mode mode) {
  int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_READWRITE | (mode == Mode::create ? SQLITE_OPEN_CREATE : 0);
  if (sqlite3_open_v2(file.c_str(), &database_, flags, nullptr) != SQLITE_OK) {
    std::string message = database_ ? sqlite3_errmsg(database_) : "out of memory";
    sqlite3_close(database_);
    throw base::Error(base::Kind::unavailable, fmt::format("{}: {}", file.string(), message));
  }
  sqlite3_busy_timeout(database_, 5000);
  auto count = [](void* pages, sqlite3*, const char*, int in_log) {
    *static_cast<int*>(pages) = in_log;
    return SQLITE_OK;
  };
  sqlite3_wal_hook(database_, count, &wal_pages_);  // also turns SQLite's own checkpoints off
}

Connection::~Connection() {
  for (auto& [sql, prepared] : prepared_) sqlite3_finalize(prepared.statement);
  sqlite3_close(database_);
}

Connection::Prepared& Connection::prepare(std::string_view sql) {
  auto found = prepared_.find(sql);
  if (found == prepared_.end()) {
    sqlite3_stmt* statement = nullptr;
    if (sqlite3_prepare_v3(database_, sql.data(), static_cast<int>(sql.size()), SQLITE_PREPARE_PERSISTENT,
                           &statement, nullptr))
      fail(database_, sql);
    found = prepared_.emplace(sqlite3_sql(statement), Prepared{statement}).first;
  }
  TEXTMILL_CHECK(!std::exchange(found->second.busy, true));
  return found->second;
}

void Connection::script(std::string_view sql) {
  if (sqlite3_exec(database_, std::string(sql).c_str(), nullptr, nullptr, nullptr)) fail(database_, "schema");
}

int64_t Connection::last_id() const { return sqlite3_last_insert_rowid(database_); }
bool Connection::in_transaction() const { return !sqlite3_get_autocommit(database_); }
int64_t Connection::changes() const { return sqlite3_changes64(database_); }

}  // namespace textmill::store
