#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "http/body.h"
#include "http/server.h"

namespace textmill::http::detail {

/// One body on its way in. fill() only collects; when full(), a block has to be taken and put through hash() and
/// write(). These two block, do not touch each other and each see the blocks in order, so a block may be hashed
/// and written on two threads while a third appends the next one.
class Spool {
 public:
  /// `memory_used`: bytes that all bodies in memory hold together.
  Spool(const BodyRules& rules, const SpoolLimits& limits, std::shared_ptr<std::atomic<int64_t>> memory_used);
  Spool(const Spool&) = delete;
  ~Spool();

  /// `append` adds to the string and returns whatever it likes.
  template <class Append>
  auto fill(Append append) {
    size_t before = pending_.size();
    auto result = append(pending_);
    account(pending_.size() - before);
    return result;
  }
  uint64_t size() const { return size_; }
  bool full() const;
  std::string take_block();
  void hash(std::string_view block);
  void write(std::string_view block);
  /// The body, after all blocks have been through both. Blocks: it hashes and writes what is left.
  Body finish();

  static constexpr size_t kBlock = 512 << 10;

 private:
  struct Charge;
  void account(size_t more);
  const SpoolLimits& limits_;
  std::shared_ptr<Charge> charge_;
  uint64_t size_ = 0;
  bool in_file_ = false;
  std::string pending_;
  std::shared_ptr<OpenFile> file_;
  std::vector<std::pair<Digest, base::Hasher>> hashers_;
};

}  // namespace textmill::http::detail
