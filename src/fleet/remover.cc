#include "fleet/remover.h"

#include <sys/resource.h>

#include <filesystem>

#include "base/error.h"
#include "base/log.h"
#include "base/threads.h"
#include "fleet/attempt.h"

namespace textmill::fleet {

using base::Path;

namespace {

constexpr int kNice = 10;

/// The files first, as many as there is time for: whoever is to end does not wait for all of them.
void remove_files(const Path& folder, const std::stop_token& stop) {
  using std::filesystem::directory_options;
  std::error_code error;
  std::filesystem::recursive_directory_iterator at(folder, directory_options::skip_permission_denied, error),
      end;
  for (; !error && at != end && !stop.stop_requested(); at.increment(error)) {
    std::error_code none;
    if (at->symlink_status(none).type() != std::filesystem::file_type::directory)
      std::filesystem::remove(at->path(), none);
  }
}

}  // namespace

Remover::Remover(Path gone) : gone_(std::move(gone)) {
  std::filesystem::create_directories(gone_);
  thread_ = base::start_thread("remover", [this](std::stop_token stop) { run(stop); });
}

void Remover::remove(const AttemptFolder& folder) {
  std::error_code error;
  std::filesystem::rename(folder.path, gone_ / folder.path.filename(),
                          error);  // the name leads to its groups
  if (error == std::errc::no_such_file_or_directory) return;
  if (error) throw base::system_error(folder.path.string(), error.value());
  std::lock_guard lock(mutex_);
  more_ = true;
  changed_.notify_all();
}

void Remover::run(const std::stop_token& stop) {
  ::setpriority(PRIO_PROCESS, 0, kNice);  // of this thread
  while (true) {
    {
      std::unique_lock lock(mutex_);
      if (!changed_.wait(lock, stop, [&] { return more_; })) return;
      more_ = false;
    }
    std::error_code none;
    for (const auto& entry : std::filesystem::directory_iterator(gone_, none)) {
      remove_files(entry.path(), stop);
      if (stop.stop_requested()) return;
      try {
        remove_attempt({entry.path()});
      } catch (const std::exception& error) {  // tried again with the next one
        base::log(base::Level::warning, "attempt_not_removed",
                  {{"folder", entry.path().string()}, {"error", error.what()}});
      }
    }
  }
}

}  // namespace textmill::fleet
