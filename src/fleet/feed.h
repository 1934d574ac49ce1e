#pragma once

#include <poll.h>
#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "fleet/inputs.h"
#include "fleet/task.h"

namespace textmill::fleet {

/// Which objects of a job's channels go into which folders of its hosts; of those that are read through pipes the order is
/// written there already. Throws as objects_of does, and naming the line of an augmented manifest.
std::vector<std::pair<std::vector<Placed>, base::Path>> channel_folders(store::Connection& connection,
                                                                        store::Blobs& blobs,
                                                                        const format::Json& job,
                                                                        const Task& task,
                                                                        const AttemptFolder& folder);

/// The processes that write the piped channels of all hosts: each opens CHANNEL_0 below /opt/ml/input/data, which waits for a
/// reader, writes the channel from beginning to end, closes, and goes on with CHANNEL_1. CHANNEL_0 is there when the
/// constructor returns. They end with this object; before that only where one cannot go on.
class Feeders {
 public:
  Feeders(const AttemptFolder& folder, const Task& task);
  Feeders(const Feeders&) = delete;
  ~Feeders();

  /// Adds what becomes readable when one has ended.
  void watch(std::vector<pollfd>& fds) const;

  /// Why one has ended: what is wrong with the data or, `by_platform`, that it was killed; nothing while all run.
  struct Trouble {
    std::string text;
    bool by_platform = false;
  };
  const std::optional<Trouble>& trouble();

 private:
  struct Process {
    pid_t id;
    base::Descriptor end;
    std::string channel;
    base::Path trouble;
  };
  std::vector<Process> processes_;
  std::optional<Trouble> trouble_;
};

}  // namespace textmill::fleet
