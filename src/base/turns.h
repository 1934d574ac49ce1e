#pragma once

#include <condition_variable>
#include <mutex>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <utility>

namespace textmill::base {

/// One at a time for each name, such as a folder that is being made: the others wait, and then find what was made.
class Turns {
 public:
  /// Until it goes, others of its name wait.
  class Turn {
   public:
    Turn(Turns& turns, std::string name) : turns_(&turns), name_(std::move(name)) {}
    Turn(Turn&& other) noexcept
        : turns_(std::exchange(other.turns_, nullptr)), name_(std::move(other.name_)) {}
    Turn& operator=(Turn&&) = delete;
    ~Turn() {
      if (turns_) turns_->give_back(name_);
    }

   private:
    Turns* turns_;
    std::string name_;
  };

  /// Nothing when `stop` is asked for before it is its turn.
  std::optional<Turn> take(const std::string& name, std::stop_token stop) {
    std::unique_lock lock(mutex_);
    if (!free_.wait(lock, std::move(stop), [&] { return !taken_.contains(name); })) return std::nullopt;
    taken_.insert(name);
    return Turn(*this, name);
  }
  /// Nothing when somebody has it.
  std::optional<Turn> try_take(const std::string& name) {
    std::lock_guard lock(mutex_);
    return taken_.insert(name).second ? std::optional(Turn(*this, name)) : std::nullopt;
  }

 private:
  void give_back(const std::string& name) {
    {
      std::lock_guard lock(mutex_);
      taken_.erase(name);
    }
    free_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable_any free_;
  std::set<std::string> taken_;
};

}  // namespace textmill::base
