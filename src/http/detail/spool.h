#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "http/body.h"
#include "http/server.h"

namespace textmill::http::detail {

/// Blocks that pass through one function, in order, on whatever thread runs it.
class Lane {
 public:
  /// The first bytes of a buffer that goes round.
  struct Block {
    std::shared_ptr<const std::string> buffer;
    size_t size;
  };

  explicit Lane(std::function<void(std::string_view)> put) : put_(std::move(put)) {}
  /// True: nobody runs it, somebody has to.
  bool push(Block block);
  /// Until nothing waits; `done` is called after each block. What `put` throws ends the lane: it takes no more.
  void run(const std::function<void()>& done);
  size_t waiting() const;

 private:
  const std::function<void(std::string_view)> put_;
  mutable std::mutex mutex_;
  std::deque<Block> waiting_;  // the first one is being put
  bool running_ = false;
};

/// One body on its way in. fill() only collects; when full(), a block has to be taken and put through each of the
/// lanes(): MD5, and all else with the writing. They block and do not touch each other, so each may run on a thread of its
/// own while another appends the next block.
class Spool {
 public:
  /// `memory_used`: bytes that all bodies in memory hold together.
  Spool(const BodyRules& rules, const SpoolLimits& limits, std::shared_ptr<std::atomic<int64_t>> memory_used);
  Spool(const Spool&) = delete;
  ~Spool();

  /// `append` adds to the string and returns whatever it likes.
  template <class Append>
  auto fill(Append append) {
    pending_.resize(filled_);
    auto result = append(pending_);
    account(pending_.size() - filled_);
    return result;
  }
  /// Room in the present block for the next bytes, `most` at most; then how many were put there.
  std::span<char> room(uint64_t most);
  void filled(size_t more) { account(more); }
  uint64_t size() const { return size_; }
  bool full() const;
  bool in_file() const { return in_file_; }
  Lane::Block take_block();
  std::vector<std::unique_ptr<Lane>>& lanes() { return lanes_; }
  /// The body, after all blocks have been through both. Blocks: it hashes and writes what is left.
  Body finish();

  static constexpr size_t kBlock = 512 << 10, kWriteBack = 2 << 20;
  /// Blocks that may wait in a lane: enough that none of them idles while another is behind.
  static constexpr size_t kAhead = 4;

 private:
  struct Charge;
  struct Buffers;
  void account(size_t more);
  void write(std::string_view block);
  const SpoolLimits& limits_;
  std::shared_ptr<Charge> charge_;
  uint64_t size_ = 0, written_ = 0, started_ = 0;
  bool in_file_ = false;
  std::string pending_;  // its first filled_ bytes
  size_t filled_ = 0;
  std::shared_ptr<Buffers> buffers_;
  std::shared_ptr<OpenFile> file_;
  std::vector<std::pair<Digest, base::Hasher>> hashers_;
  std::vector<std::unique_ptr<Lane>> lanes_;
};

}  // namespace textmill::http::detail
