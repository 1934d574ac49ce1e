#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/files.h"
#include "base/hash.h"

namespace textmill::http {

namespace detail {
class Spool;
}

/// A descriptor that closes itself.
class OpenFile {
 public:
  explicit OpenFile(int fd) : fd_(fd) {}
  /// Opens for reading. Throws not_found etc. naming the path.
  explicit OpenFile(const base::Path& path);
  OpenFile(const OpenFile&) = delete;
  ~OpenFile();
  int fd() const { return fd_; }
  uint64_t size() const;

 private:
  int fd_;
};

using Digest = base::HashKind;

/// What a route asks of a body before it is read.
struct BodyRules {
  uint64_t limit = UINT64_MAX;  // bytes; the server's own limit holds too
  std::vector<Digest> digests;  // computed while the body comes in
};

/// A received body: in memory when small, else in a staging file that goes with this object unless kept.
class Body {
 public:
  Body() = default;
  explicit Body(std::string text) : size_(text.size()), text_(std::move(text)) {}

  uint64_t size() const { return size_; }
  /// The bytes; a staging file is mapped.
  std::string_view text() const;
  /// The staging file, or nothing when the body is in memory.
  std::shared_ptr<const OpenFile> file() const { return file_; }
  /// The raw bytes of a digest that the route asked for.
  const std::string& digest(Digest digest) const;
  bool has_digest(Digest digest) const { return digests_.contains(digest); }
  /// Gives the staging file a name (synced, and its folder too), on the same file system; a body in memory is
  /// written there. Throws exists when the name is taken.
  void keep_as(const base::Path& path) const;

 private:
  friend class detail::Spool;
  uint64_t size_ = 0;
  std::string text_;
  std::shared_ptr<const OpenFile> file_;
  std::map<Digest, std::string> digests_;
  std::shared_ptr<void> charge_;  // the server's count of memory in bodies
  mutable std::shared_ptr<base::MappedFile> map_;
};

}  // namespace textmill::http
