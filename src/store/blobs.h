#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/hash.h"
#include "store/database.h"

namespace textmill::store {

/// Immutable bytes, found by their SHA-256: rows up to 64 KiB, else files FOLDER/ab/cdef... . A row of `blobs` counts
/// who uses it; what nobody uses is swept later.
class Blobs {
 public:
  static constexpr size_t kMaxRow = 64 << 10;

  /// Bytes on their way into a row of `blobs`; they cannot be swept while this lives.
  class Staged {
   public:
    Staged(Staged&&) noexcept = default;
    uint64_t size() const { return size_; }
    const std::string& hash() const { return hash_; }  // 32 bytes

   private:
    friend class Blobs;
    Staged() = default;
    std::string hash_;
    uint64_t size_ = 0;
    std::string bytes_;  // up to kMaxRow
    std::shared_ptr<void> pin_;
  };

  /// Bytes written piece by piece, hashed on the way; in memory up to kMaxRow, then in a nameless file.
  class Writer {
   public:
    explicit Writer(Blobs& blobs) : blobs_(blobs) {}
    Writer(const Writer&) = delete;
    ~Writer();
    void write(std::string_view bytes);
    /// Ends the writer: durable, except for the row.
    Staged finish();

   private:
    Blobs& blobs_;
    base::Sha256 sha256_;
    std::string bytes_;
    uint64_t size_ = 0;
    int fd_ = -1;
  };

  /// `folder` is made if it is not there.
  Blobs(const base::Path& folder, Sync sync);

  /// Bytes that are all there. `hash` is their SHA-256, 32 bytes.
  Staged stage(std::string bytes, std::string hash);
  Staged stage(std::string bytes);
  /// Bytes in somebody's staging file on the same file system: `name_it(path)` syncs it and gives it that name, or throws
  /// exists; not called when the bytes are here already. For more than kMaxRow bytes.
  Staged stage(std::string hash, uint64_t size, const std::function<void(const base::Path&)>& name_it);

  /// The row of staged bytes, made if it is not there.
  int64_t enter(Connection& connection, const Staged& staged) const;

  /// The bytes, or the file that holds them. The file stays for some seconds after its last use ends.
  std::variant<std::string, base::Path> content(Connection& connection, int64_t blob) const;

  base::Path path(std::string_view hash) const;
  const base::Path& folder() const { return folder_; }

  /// Removes what was not used at the last call and is not used now. Returns how many.
  size_t sweep(Database& database);
  /// Removes files that no row knows, left by a process that was killed. Returns how many.
  size_t sweep_files(const Database& database);
  /// While it lives nothing is swept.
  std::unique_lock<std::mutex> pause_sweeps() { return std::unique_lock(sweep_mutex_); }

 private:
  struct Pins;
  Staged pinned(std::string hash, uint64_t size);
  bool remove_file(const Database& database, const std::string& hash);

  const base::Path folder_;
  const Sync sync_;
  std::mutex sweep_mutex_;
  std::vector<int64_t> unused_;  // at the last sweep
  std::shared_ptr<Pins> pins_;
};

/// One more, or one less, row that refers to a blob.
void use_blob(Connection& connection, int64_t blob);
void release_blob(Connection& connection, int64_t blob);

}  // namespace textmill::store
