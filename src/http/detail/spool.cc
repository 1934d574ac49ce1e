#include "http/detail/spool.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "base/error.h"

namespace textmill::http::detail {
namespace {

/// A file without a name: it cannot outlive the process.
int open_staging_file(const base::Path& folder) {
  int fd = ::open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (fd < 0) throw base::system_error("cannot make a staging file in " + folder.string(), errno);
  return fd;
}

}  // namespace

bool Lane::push(Block block) {
  std::lock_guard lock(mutex_);
  waiting_.push_back(std::move(block));
  return !std::exchange(running_, true);
}

void Lane::run(const std::function<void()>& done) {
  std::unique_lock lock(mutex_);
  while (!waiting_.empty()) {
    Block block = waiting_.front();
    lock.unlock();
    put_(std::string_view(*block.buffer)
             .substr(0, block.size));  // an exception leaves it running for ever: nobody runs it again
    lock.lock();
    waiting_.pop_front();
    done();
  }
  running_ = false;
}

size_t Lane::waiting() const {
  std::lock_guard lock(mutex_);
  return waiting_.size();
}

/// The share of one body in the memory that all bodies hold.
struct Spool::Charge {
  std::shared_ptr<std::atomic<int64_t>> used;
  int64_t bytes = 0;

  void add(int64_t more) { *used += more, bytes += more; }
  ~Charge() { *used -= bytes; }
};

/// Blocks that have passed all lanes and take bytes again: fresh memory for each would be a fault per page.
struct Spool::Buffers {
  std::mutex mutex;
  std::vector<std::string> free;

  std::string take() {
    std::lock_guard lock(mutex);
    std::string buffer;
    if (!free.empty()) {
      buffer = std::move(free.back());
      free.pop_back();
    }
    return buffer;
  }
  void give_back(std::string buffer) {
    std::lock_guard lock(mutex);
    free.push_back(std::move(buffer));
  }
};

Spool::Spool(const BodyRules& rules, const SpoolLimits& limits,
             std::shared_ptr<std::atomic<int64_t>> memory_used)
    : limits_(limits), charge_(std::make_shared<Charge>(Charge{std::move(memory_used)})) {
  for (Digest digest : rules.digests) hashers_.emplace_back(digest, digest);
  // MD5 takes as long as all the rest: two lanes, for more would only wake each other.
  auto alone = [](const auto& digest) { return digest.first == Digest::md5; };
  for (auto& digest : hashers_)
    if (alone(digest))
      lanes_.push_back(std::make_unique<Lane>([&](std::string_view block) { digest.second.update(block); }));
  lanes_.push_back(std::make_unique<Lane>([this, alone](std::string_view block) {
    for (auto& digest : hashers_)
      if (!alone(digest)) digest.second.update(block);
    write(block);
  }));
}

Spool::~Spool() = default;

void Spool::account(size_t more) {
  size_ += more;
  filled_ += more;
  charge_->add(static_cast<int64_t>(more));
}

// A buffer that went round is large already: only a fresh one is filled with zeros first.
std::span<char> Spool::room(uint64_t most) {
  if (pending_.size() < kBlock) pending_.resize(kBlock);
  return std::span(pending_).subspan(filled_, std::min<uint64_t>(most, kBlock - filled_));
}

bool Spool::full() const {
  if (in_file_) return filled_ >= kBlock;
  bool crowded = *charge_->used > static_cast<int64_t>(limits_.memory_total);
  return filled_ > (crowded ? std::min(limits_.memory, kBlock) : limits_.memory);
}

Lane::Block Spool::take_block() {
  in_file_ = true;
  charge_->add(-static_cast<int64_t>(filled_));
  if (!buffers_) buffers_ = std::make_shared<Buffers>();
  auto give_back = [buffers = buffers_](std::string* passed) {
    buffers->give_back(std::move(*passed));
    delete passed;
  };
  std::shared_ptr<const std::string> buffer(new std::string(std::exchange(pending_, buffers_->take())),
                                            give_back);
  return {std::move(buffer), std::exchange(filled_, 0)};
}

void Spool::write(std::string_view block) {
  if (!file_) file_ = std::make_shared<OpenFile>(open_staging_file(limits_.folder));
  if (!base::write_all(file_->fd(), block)) throw base::system_error("cannot write a staging file", errno);
  written_ += block.size();
  // The disk begins early, so that the sync at the end finds little left.
  if (written_ - started_ < kWriteBack) return;
  ::sync_file_range(file_->fd(), static_cast<off_t>(started_), static_cast<off_t>(written_ - started_),
                    SYNC_FILE_RANGE_WRITE);
  started_ = written_;
}

Body Spool::finish() {
  pending_.resize(filled_);
  for (auto& [digest, hasher] : hashers_) hasher.update(pending_);
  Body body;
  body.size_ = size_;
  if (in_file_) {
    write(pending_);
    body.file_ = file_;
  } else {
    body.text_ = std::move(pending_);
    body.charge_ = std::move(charge_);
  }
  for (auto& [digest, hasher] : hashers_) body.digests_.emplace(digest, hasher.digest());
  return body;
}

}  // namespace textmill::http::detail
