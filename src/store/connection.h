#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "base/files.h"
#include "base/time.h"

struct sqlite3;
struct sqlite3_stmt;

namespace textmill::store {

/// Bytes of a blob column, as an argument or a result. Text arguments and blobs never compare equal in SQLite.
struct Bytes {
  std::string_view view;
};

/// The rows of a query, one at a time. Texts and bytes are valid until the next row. Ends when destroyed.
class Rows {
 public:
  Rows(sqlite3* database, sqlite3_stmt* statement, bool* busy)
      : database_(database), statement_(statement), busy_(busy) {}
  Rows(Rows&& other) noexcept
      : database_(other.database_),
        statement_(other.statement_),
        busy_(std::exchange(other.busy_, nullptr)) {}
  ~Rows();

  /// Steps to the next row; false after the last.
  bool next();

  bool is_null(int column) const;
  int64_t integer(int column) const;
  double real(int column) const;
  std::string_view text(int column) const;  // text or blob
  std::string string(int column) const { return std::string(text(column)); }
  /// Times are stored as microseconds since 1970.
  base::WallTime time(int column) const { return base::WallTime(std::chrono::microseconds(integer(column))); }
  std::optional<int64_t> optional_integer(int column) const {
    return is_null(column) ? std::nullopt : std::optional(integer(column));
  }

 private:
  friend class Connection;
  void bind(int index, std::nullptr_t);
  void bind(int index, int64_t value);
  void bind(int index, double value);
  void bind(int index, std::string_view text);
  void bind(int index, Bytes bytes);
  template <class T>
  void bind_any(int index, const T& value) {
    if constexpr (std::is_integral_v<T> || std::is_enum_v<T>)
      bind(index, static_cast<int64_t>(value));
    else if constexpr (std::is_same_v<T, base::WallTime>)
      bind(index, int64_t{value.time_since_epoch().count()});
    else if constexpr (requires { value.has_value(); })
      value ? bind_any(index, *value) : bind(index, nullptr);
    else if constexpr (std::is_same_v<T, Bytes> || std::is_same_v<T, double> ||
                       std::is_same_v<T, std::nullptr_t>)
      bind(index, value);
    else
      bind(index, std::string_view(value));
  }

  sqlite3* database_;
  sqlite3_stmt* statement_;
  bool* busy_;
};

/// One SQLite connection: for one thread at a time. Statements are prepared once and kept. Every failure is an Error
/// that names the file: unavailable (disk full, locked by a stranger), internal (corrupt, wrong SQL).
class Connection {
 public:
  enum class Mode { create, read };
  Connection(const base::Path& file, Mode mode);
  Connection(const Connection&) = delete;
  ~Connection();

  /// Starts a query; `?` are bound in order. Arguments are copied. The same SQL may not run twice at once.
  template <class... Arguments>
  Rows query(std::string_view sql, const Arguments&... arguments) {
    Prepared& prepared = prepare(sql);
    Rows rows(database_, prepared.statement, &prepared.busy);
    [[maybe_unused]] int index = 0;
    (rows.bind_any(++index, arguments), ...);
    return rows;
  }

  /// Runs a statement that answers nothing; the number of rows it changed.
  template <class... Arguments>
  int64_t execute(std::string_view sql, const Arguments&... arguments) {
    {
      Rows rows = query(sql, arguments...);
      while (rows.next()) {}
    }
    return changes();
  }

  /// The integer in the first row's first column; nothing without a row or when it is null.
  template <class... Arguments>
  std::optional<int64_t> integer(std::string_view sql, const Arguments&... arguments) {
    Rows rows = query(sql, arguments...);
    return rows.next() ? rows.optional_integer(0) : std::nullopt;
  }

  /// Several statements at once, none kept: for schemas.
  void script(std::string_view sql);

  /// The row that the last INSERT made.
  int64_t last_id() const;
  /// Whether a transaction is open. SQLite ends one by itself when the disk is full.
  bool in_transaction() const;
  /// Pages in the write-ahead log after the last commit of this connection. Asking SQLite to checkpoint is the caller's.
  int wal_pages() const { return wal_pages_; }

 private:
  struct Prepared {
    sqlite3_stmt* statement = nullptr;
    bool busy = false;
  };
  Prepared& prepare(std::string_view sql);
  int64_t changes() const;

  sqlite3* database_ = nullptr;
  int wal_pages_ = 0;
  std::unordered_map<std::string_view, Prepared> prepared_;  // the keys are the statements' own texts
};

}  // namespace textmill::store
