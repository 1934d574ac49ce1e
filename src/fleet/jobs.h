#pragma once

#include <map>
#include <memory>
#include <stop_token>
#include <string>
#include <thread>

#include "base/threads.h"
#include "base/time.h"
#include "fleet/access.h"
#include "fleet/containers.h"
#include "fleet/news.h"
#include "fleet/remover.h"
#include "fleet/requirements.h"
#include "fleet/task.h"
#include "plan/job.h"
#include "records/training_job.h"
#include "store/store.h"

namespace textmill::fleet {

/// What jobs are given.
struct JobOptions {
  Access server;
  base::Path engine;                // of containers; empty: none
  double cpus = 0;                  // that jobs share; 0: those of this machine
  std::chrono::seconds grace{120};  // from SIGTERM to SIGKILL
  std::chrono::seconds hung{90};    // without any answer, then an instance of an endpoint is replaced
};

/// The reconciler of training jobs: a thread that looks at rows, locks and journals, asks plan what to do, and does it.
/// Woken by wake(), by journals, by locks that become free. The runners that it starts outlive this process; the next one
/// finds them by their locks.
class Jobs {
 public:
  Jobs(store::Store& store, const records::Resources& resources, Requirements& requirements,
       Containers& containers, Remover& remover, News& news);
  Jobs(const Jobs&) = delete;
  ~Jobs();

  void start(JobOptions options);
  /// Something was written: look now.
  void wake();

 private:
  /// An attempt that is laid out by a thread of its own, which wakes ours: inputs may be many.
  struct Preparing {
    std::stop_source stop;
    std::unique_ptr<base::Work<plan::AttemptEnd>> trouble;  // no outcome: it runs

    /// It could not be started, and nothing of it runs.
    bool failed() const { return trouble->result() && !trouble->result()->outcome.empty(); }
  };

  void run(std::stop_token stop);
  void wait();
  void pass();
  bool tend(records::Resource& job, std::optional<records::Attempt> attempt, double now);
  plan::Job look(const records::Resource& job, std::optional<records::Attempt>& attempt);
  bool act(records::Resource& job, std::optional<records::Attempt>& attempt, const plan::JobAction& action);

  void begin_attempt(records::Resource& job, const plan::Start& start);
  void spawn(const records::Resource& job, const records::Attempt& attempt);
  void prepare(const records::Resource& job, const records::Attempt& attempt, const std::stop_token& stop);
  void enter_downloading(const std::string& name);
  void pending(records::Resource& job, const std::string& message);
  void retry(const std::string& name, const records::Attempt& attempt, const std::string& message);
  void finish(const std::string& name, const plan::Finish& end);
  void give_up(const records::Resource& job, const std::exception& error);
  void watch(const records::Attempt& attempt);
  void forget(const std::string& token);
  bool no_longer_prepared(const std::string& token);
  plan::AttemptEnd laid_out(const records::Resource& job, const records::Attempt& attempt,
                            const std::stop_token& stop);
  void sweep();

  AttemptFolder folder(const std::string& token) const { return {store_.folder() / "jobs" / token}; }

  store::Store& store_;
  const records::Resources& resources_;
  Requirements& requirements_;
  Containers& containers_;
  Remover& remover_;
  News& told_;  // what was done
  const records::TrainingJobs jobs_;
  JobOptions options_;
  plan::Machine machine_;
  int64_t memory_ = 0;                  // bytes of this machine
  std::map<std::string, int> watched_;  // tokens and their watches
  std::map<std::string, Preparing> preparing_;
  std::map<int64_t, int> troubles_;  // of jobs that could not be looked after
  std::optional<double> due_;
  base::Descriptor news_, awake_;  // inotify of attempt folders; eventfd
  std::jthread thread_;
};

/// What an attempt of a job takes of a machine with that many CPUs.
double cpus_of(const format::Json& body, double machine);

}  // namespace textmill::fleet
