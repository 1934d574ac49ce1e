#pragma once

#include <functional>
#include <map>
#include <string>
#include <thread>

#include "base/time.h"
#include "fleet/news.h"
#include "fleet/task.h"
#include "plan/job.h"
#include "records/training_job.h"
#include "store/store.h"

namespace textmill::fleet {

/// What the environment of a job's program says about the server.
struct JobOptions {
  std::string url;                  // where it is found
  double cpus = 0;                  // that jobs share; 0: those of this machine
  std::chrono::seconds grace{120};  // from SIGTERM to SIGKILL
  /// Credentials that are good as long as the attempt is open. `caller` is the member _Caller of the job's body.
  std::function<std::map<std::string, std::string>(const format::Json& caller, const std::string& token,
                                                   std::chrono::seconds lasts)>
      credentials;
};

/// The reconciler of training jobs: a thread that looks at rows, locks and journals, asks plan what to do, and does it.
/// Woken by wake(), by journals, by locks that become free. The runners that it starts outlive this process; the next one
/// finds them by their locks.
class Jobs {
 public:
  Jobs(store::Store& store, const records::Resources& resources, News& news);
  Jobs(const Jobs&) = delete;
  ~Jobs();

  void start(JobOptions options);
  /// Something was written: look now.
  void wake();

 private:
  void run(std::stop_token stop);
  void wait();
  void pass();
  bool tend(records::Resource& job, double now);
  plan::Job look(const records::Resource& job, std::optional<records::Attempt>& attempt);
  void act(records::Resource& job, std::optional<records::Attempt>& attempt, const plan::JobAction& action);

  void begin_attempt(records::Resource& job, const plan::Start& start);
  void spawn(const records::Resource& job, const records::Attempt& attempt);
  void prepare(const records::Resource& job, const records::Attempt& attempt);
  void pending(const std::string& name, const std::string& message);
  void retry(const std::string& name, const records::Attempt& attempt, const std::string& message);
  void finish(const std::string& name, const plan::Finish& end);
  void give_up(const records::Resource& job, const std::exception& error);
  void watch(const records::Attempt& attempt);
  void forget(const std::string& token);
  void sweep();

  AttemptFolder folder(const std::string& token) const { return {store_.folder() / "jobs" / token}; }

  store::Store& store_;
  const records::Resources& resources_;
  News& told_;  // what was done
  const records::TrainingJobs jobs_;
  JobOptions options_;
  plan::Machine machine_;
  int64_t memory_ = 0;                  // bytes of this machine
  std::map<std::string, int> watched_;  // tokens and their watches
  std::map<int64_t, int> troubles_;     // of jobs that could not be looked after
  std::optional<double> due_;
  base::Descriptor news_, awake_;  // inotify of attempt folders; eventfd
  std::jthread thread_;
};

/// What an attempt of a job takes of a machine with that many CPUs.
double cpus_of(const format::Json& body, double machine);

}  // namespace textmill::fleet
