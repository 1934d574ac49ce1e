#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/files.h"
#include "contract/training.h"

namespace textmill::fleet {

/// What is sought in the output: the first group of the pattern is a number.
struct MetricDefinition {
  std::string name, regex;
};

/// What one instance may take; 0: no limit.
struct Limits {
  double cpus = 0;
  int64_t memory = 0;        // bytes
  int64_t file = 0;          // bytes, of each file
  int64_t processes = 2048;  // and threads
};

/// A channel that is read through a pipe (InputMode Pipe).
struct PipedChannel {
  std::string name;
  bool record_io = false, gzip = false;  // each object a record; objects decompressed
  std::optional<int64_t> seed = {};      // of the order, which is another in each epoch
};

/// What a runner is to do: TASK/task.json, written before the runner starts, never changed.
struct Task {
  std::string name;                                // of the job or replica: for people
  std::vector<std::string> command;                // the program and its arguments
  std::map<std::string, std::string> environment;  // all of it, but PATH and the like
  std::vector<std::string> hosts = {"algo-1"};     // an instance each
  int64_t number = 0;                              // no other that runs has it: for the hosts' addresses
  /// The configuration files under /opt/ml/input/config; none are written for a program that serves.
  bool training = true;
  contract::TrainingInput input;
  std::vector<PipedChannel> pipes;

  std::chrono::seconds grace{120};  // from SIGTERM to SIGKILL
  std::chrono::seconds most{0};     // of running; 0: no limit
  std::vector<MetricDefinition> metrics;
  Limits limits;
  std::vector<base::Path> hidden,  // for the program: the data folder first
      visible;                     // may lie in what is hidden; read-only
  bool own_network = false;        // nothing but its own loopback
  base::Path container;            // where it starts in one, whose root is image(); empty: it runs in none
  base::Path checkpoints;          // where the program sees them; empty: they are not kept
  base::Path tensorboard;          // likewise its events
  enum class Pack { nothing, archives, files } pack = Pack::archives;  // of what it leaves
  std::vector<std::string> notes;                                      // the first lines of its log

  /// Why it is not run without namespaces; null: it may be.
  const char* needs_walls() const;
  /// Where in /opt/ml what is in HOST/input under that name appears: input/data/NAME; of a program that serves: NAME.
  base::Path mount_point(const std::string& name) const {
    return training ? base::Path("input/data") / name : base::Path(name);
  }
};

/// Throws conflict for one that a newer version wrote.
Task read_task(const base::Path& file);
void write_task(const base::Path& file, const Task& task);

/// The places in an attempt's folder.
///
///   task.json      what to do
///   lock           held by the runner, and by what it started until the last of it is gone
///   journal        what happened
///   stop           there: it is to end
///   HOST/ml        /opt/ml of an instance; HOST/tmp: its /tmp
///   HOST/input/X   objects, never written to; appear copy-on-write at /opt/ml/input/data/X (mount_point)
///   feeds/HOST/X   objects of a channel that is read through a pipe; feeds/HOST/X.list: in which order (feed.h)
///   image          of a container: a link to the files of its root, never written to; HOST/container: what is
///   restored/      objects too: checkpoints to begin with
///   kept/          what the journal speaks of: artifacts and checkpoints
struct AttemptFolder {
  base::Path path;
  base::Path task() const { return path / "task.json"; }
  base::Path lock() const { return path / "lock"; }
  base::Path journal() const { return path / "journal"; }
  base::Path stop() const { return path / "stop"; }
  base::Path kept() const { return path / "kept"; }
  base::Path root(const std::string& host) const { return path / host / "ml"; }
  base::Path input(const std::string& host, const std::string& channel) const {
    return path / host / "input" / channel;
  }
  base::Path feed(const std::string& host, const std::string& channel) const {
    return path / "feeds" / host / channel;
  }
  base::Path tmp(const std::string& host) const { return path / host / "tmp"; }
  base::Path image() const { return path / "image"; }
  base::Path restored() const { return path / "restored"; }
  /// The names under HOST/input.
  std::vector<std::string> inputs(const std::string& host) const;
};

}  // namespace textmill::fleet
