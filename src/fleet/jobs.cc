#include "fleet/feed.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <span>

#include "base/error.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/threads.h"
#include "fleet/attempt.h"
#include "fleet/feed.h"
#include "fleet/ingest.h"
#include "fleet/inputs.h"
#include "fleet/job_task.h"
#include "store/logs.h"

namespace textmill::fleet {

using base::Path;
using format::Json;
using records::kTrainingJob;

namespace {

/// A lock that became free may be seen as held for some microseconds after the kernel said so.
constexpr double kLockDelay = 0.005;
constexpr int kTroubles = 5;           // in a row
constexpr size_t kPlacedAtOnce = 500;  // objects

double seconds(base::WallTime time) { return std::chrono::duration<double>(time.time_since_epoch()).count(); }

std::string text(const Json& object, std::string_view name) {
  const Json* value = object.find(name);
  return value && value->string() ? *value->string() : "";
}

double number(const Json& object, std::string_view name, double absent = 0) {
  const Json* value = object.find(name);
  if (!value) return absent;
  return value->integer() ? static_cast<double>(*value->integer()) : value->real() ? *value->real() : absent;
}

const Json& part(const Json& object, std::string_view name) {
  static const Json kNone;
  const Json* value = object.find(name);
  return value ? *value : kNone;
}

plan::AttemptEnd end_of(const std::string& event) {
  Json json = format::parse_json(event, "the end of an attempt");
  return {text(json, "outcome"), static_cast<int>(number(json, "status")), text(json, "text"),
          text(json, "by")};
}

}  // namespace

Jobs::Jobs(store::Store& store, const records::Resources& resources, Requirements& requirements,
           Containers& containers, Remover& remover, News& news)
    : store_(store),
      resources_(resources),
      requirements_(requirements),
      containers_(containers),
      remover_(remover),
      told_(news),
      jobs_(resources),
      news_(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK)),
      awake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (!news_ || !awake_) throw base::system_error("the reconciler", errno);
}

Jobs::~Jobs() {
  if (!thread_.joinable()) return;
  thread_.request_stop();
  wake();
  thread_.join();
  for (auto& [token, preparing] : preparing_) preparing.stop.request_stop();
  preparing_.clear();  // they wake this one
}

void Jobs::start(JobOptions options) {
  options_ = std::move(options);
  MachineSize size = this_machine();
  machine_.cpus = options_.cpus > 0 ? options_.cpus : size.cpus;
  memory_ = size.memory;
  std::filesystem::create_directories(store_.folder() / "jobs");
  thread_ = base::start_thread("jobs", [this](std::stop_token stop) { run(stop); });
}

void Jobs::wake() {
  uint64_t one = 1;
  [[maybe_unused]] ssize_t written = ::write(awake_.get(), &one, sizeof one);  // full: it is awake already
}

void Jobs::run(std::stop_token stop) {
  try {
    sweep();
  } catch (const std::exception& error) {
    base::log(base::Level::error, "attempts_not_swept", {{"error", error.what()}});
  }
  while (!stop.stop_requested()) {
    try {
      pass();
    } catch (const std::exception& error) {
      base::log(base::Level::error, "jobs_pass_failed", {{"error", error.what()}});
      due_ = seconds(base::wall_now()) + 1;
    }
    wait();
  }
}

void Jobs::wait() {
  int limit = -1;
  if (due_) limit = static_cast<int>(std::clamp((*due_ - seconds(base::wall_now())) * 1000 + 1, 0.0, 3.6e6));
  pollfd fds[] = {{news_.get(), POLLIN, 0}, {awake_.get(), POLLIN, 0}};
  ::poll(fds, 2, limit);
  char bytes[16384];
  while (::read(news_.get(), bytes, sizeof bytes) > 0) {}
  while (::read(awake_.get(), bytes, sizeof bytes) > 0) {}
}

/// Until nothing is left to do now.
void Jobs::pass() {
  static base::Histogram& passes = base::metrics().histogram("textmill_reconciler_seconds", "Time of a pass.",
                                                             base::latency_bounds(), {{"of", "jobs"}});
  for (bool more = true; more;) {
    auto begin = base::steady_now();
    more = false;
    due_.reset();
    std::vector<records::Resource> live;
    std::map<int64_t, records::Attempt> open;
    store_.database().read([&](store::Connection& c) {
      live = jobs_.live(c);
      for (auto& attempt : records::open_attempts(c)) open.emplace(attempt.resource, std::move(attempt));
    });
    double now = seconds(base::wall_now());
    machine_.used = 0;
    machine_.awaited = false;
    for (const auto& job : live)
      if (open.contains(job.id)) machine_.used += std::min(cpus_of(job.body, machine_.cpus), machine_.cpus);
    for (auto& job : live) {
      try {
        auto attempt = open.find(job.id);
        more = tend(job, attempt == open.end() ? std::nullopt : std::optional(attempt->second), now) || more;
        troubles_.erase(job.id);
      } catch (const std::exception& error) {
        give_up(job, error);
        due_ = std::min(due_.value_or(now + 1), now + 1);
      }
    }
    passes.observe(base::seconds_since(begin));
  }
}

bool Jobs::tend(records::Resource& job, std::optional<records::Attempt> attempt, double now) {
  plan::Job seen = look(job, attempt);
  auto action = plan::decide(seen, machine_, now);
  bool acted = act(job, attempt, action);
  if (auto next = plan::next_look(seen); next && *next > now) due_ = std::min(due_.value_or(*next), *next);
  return acted;
}

plan::Job Jobs::look(const records::Resource& job, std::optional<records::Attempt>& attempt) {
  const Json& stopping = part(job.body, "StoppingCondition");
  plan::Job seen{.stopping = job.status == "Stopping",
                 .retries = static_cast<int>(number(part(job.body, "RetryStrategy"), "MaximumRetryAttempts")),
                 .created = seconds(job.created),
                 .ran = number(job.body, "_Ran"),
                 .most_run = number(stopping, "MaxRuntimeInSeconds", 86400),
                 .cpus = cpus_of(job.body, machine_.cpus)};
  if (stopping.find("MaxWaitTimeInSeconds")) seen.most_wait = number(stopping, "MaxWaitTimeInSeconds");
  if (stopping.find("MaxPendingTimeInSeconds"))
    seen.most_pending = number(stopping, "MaxPendingTimeInSeconds");
  seen.ever_ran = job.body.find("TrainingStartTime") != nullptr;
  if (!attempt) return seen;
  seen.retries -= attempt->number - 1;
  AttemptFolder where = folder(attempt->token);
  if (!was_begun(where)) {
    if (attempt->offset > 0) {  // a backup was restored, in which what ran is not: it begins anew
      attempt->offset = attempt->next = 0;
      attempt->end.clear();
      store_.database().write([&](store::Connection& c) { records::advance_attempt(c, *attempt); });
    }
    seen.attempt = plan::AttemptState::committed;
    if (auto found = preparing_.find(attempt->token); found != preparing_.end() && found->second.failed()) {
      seen.attempt = plan::AttemptState::ended;
      seen.end = *found->second.trouble->result();
    }
    return seen;
  }
  no_longer_prepared(attempt->token);
  watch(*attempt);
  // Before the journal is read: what a runner wrote before it let go of the lock is there then.
  bool alive = is_alive(where);
  while (ingest(store_, resources_, where, job.name, *attempt)) told_.announce();
  if (!attempt->end.empty() && !alive) {
    seen.attempt = plan::AttemptState::ended;
    seen.end = end_of(attempt->end);
  } else {
    seen.attempt = alive ? plan::AttemptState::running : plan::AttemptState::lost;
  }
  if (alive && !attempt->end.empty()) {
    double soon = seconds(base::wall_now()) + kLockDelay;
    due_ = std::min(due_.value_or(soon), soon);
  }
  return seen;
}

/// True if what comes next is to be looked at now.
bool Jobs::act(records::Resource& job, std::optional<records::Attempt>& attempt,
               const plan::JobAction& action) {
  if (const auto* start = std::get_if<plan::Start>(&action)) return begin_attempt(job, *start), true;
  if (std::holds_alternative<plan::Spawn>(action)) spawn(job, *attempt);
  if (const auto* wait = std::get_if<plan::Wait>(&action)) pending(job, wait->message);
  if (std::holds_alternative<plan::AskToStop>(action) &&
      !std::filesystem::exists(folder(attempt->token).stop())) {
    base::log(base::Level::info, "job_asked_to_stop", {{"job", job.name}, {"attempt", attempt->number}});
    ask_to_stop(folder(attempt->token));
  }
  const auto* again = std::get_if<plan::Retry>(&action);
  const auto* end = std::get_if<plan::Finish>(&action);
  if (!again && !end) return false;
  if (auto found = preparing_.find(attempt ? attempt->token : ""); found != preparing_.end()) {
    bool failed = found->second.failed();
    if (!no_longer_prepared(attempt->token)) return false;
    if (!failed) return true;  // it may have begun after all, and is then asked to stop
  }
  if (again) return retry(job.name, *attempt, again->message), true;
  finish(job.name, *end);
  if (attempt) forget(attempt->token);
  return true;
}

/// Commits the attempt first: whoever finds the row knows that a runner may exist.
void Jobs::begin_attempt(records::Resource& job, const plan::Start& start) {
  auto attempt = store_.database().write([&](store::Connection& c) {
    job = resources_.get(c, kTrainingJob, job.name);
    auto opened = records::open_attempt(c, job.id);
    job.body.set("_Most", static_cast<int64_t>(std::max(1.0, start.most)));
    int64_t group = enter_log_group(c, resources_, kTrainingLogGroup);
    int64_t hosts = static_cast<int64_t>(number(part(job.body, "ResourceConfig"), "InstanceCount", 1));
    for (int64_t i = 1; i <= hosts; ++i) {
      std::string stream = log_stream_name(job.name, fmt::format("algo-{}", i), opened.created);
      if (!store::find_log_stream(c, group, stream)) store::create_log_stream(c, group, stream);
    }
    resources_.update(c, job);
    return opened;
  });
  machine_.used += std::min(cpus_of(job.body, machine_.cpus), machine_.cpus);
  base::log(base::Level::info, "job_attempt",
            {{"job", job.name},
             {"attempt", attempt.number},
             {"token", attempt.token},
             {"most_seconds", start.most}});
  spawn(job, attempt);
}

void Jobs::spawn(const records::Resource& job, const records::Attempt& attempt) {
  auto [found, fresh] = preparing_.try_emplace(attempt.token);
  Preparing& preparing = found->second;
  if (fresh) {
    preparing.trouble = std::make_unique<base::Work<plan::AttemptEnd>>(
        [=, this, stop = preparing.stop.get_token()] { return laid_out(job, attempt, stop); },
        [this] { wake(); });
    return;
  }
  if (preparing.trouble->result()) preparing_.erase(found);  // its folder is looked at next
}

/// How an attempt ended that could not be started; without an outcome it runs.
plan::AttemptEnd Jobs::laid_out(const records::Resource& job, const records::Attempt& attempt,
                                const std::stop_token& stop) {
  try {
    prepare(job, attempt, stop);
    if (!stop.stop_requested()) start_runner(folder(attempt.token));
    return {};
  } catch (const std::exception& error) {
    const auto* ours = dynamic_cast<const base::Error*>(&error);
    bool user = ours && (ours->kind() == base::Kind::invalid || ours->kind() == base::Kind::limit);
    base::log(base::Level::warning, "job_not_started", {{"job", job.name}, {"error", error.what()}});
    return {"failed", 0, shown(error.what(), store_.folder()), user ? "user" : "platform"};
  }
}

/// Asks the thread that lays the attempt out to end. False: it has not yet, and wakes this one when it has.
bool Jobs::no_longer_prepared(const std::string& token) {
  auto found = preparing_.find(token);
  if (found == preparing_.end()) return true;
  found->second.stop.request_stop();
  if (!found->second.trouble->result()) return false;
  preparing_.erase(found);
  return true;
}

/// A job that cannot be looked after, such as one whose journal is broken, ends: its program first. What may pass, as a
/// full disk does, is waited for.
void Jobs::give_up(const records::Resource& job, const std::exception& error) {
  base::log(base::Level::error, "job_not_tended", {{"job", job.name}, {"error", error.what()}});
  const auto* ours = dynamic_cast<const base::Error*>(&error);
  if (ours && ours->kind() == base::Kind::unavailable) return;
  if (++troubles_[job.id] < kTroubles) return;
  auto attempt =
      store_.database().read([&](store::Connection& c) { return records::last_attempt(c, job.id); });
  if (attempt && !no_longer_prepared(attempt->token)) return;
  if (attempt && is_alive(folder(attempt->token))) return ask_to_stop(folder(attempt->token));
  finish(job.name,
         {"Failed", "Failed", fmt::format("InternalServerError: {}", shown(error.what(), store_.folder()))});
  troubles_.erase(job.id);
  if (attempt) forget(attempt->token);
}

void Jobs::enter_downloading(const std::string& name) {
  store_.database().write([&](store::Connection& c) {
    records::Resource now = resources_.get(c, kTrainingJob, name);
    if (now.status != "InProgress") return;
    records::TrainingJobs(resources_).enter(now.body, "Downloading", "", base::wall_now());
    resources_.update(c, now);
  });
  told_.announce();
}

/// The attempt's folder, made anew: nobody ran in it yet.
void Jobs::prepare(const records::Resource& job, const records::Attempt& attempt,
                   const std::stop_token& stop) {
  AttemptFolder where = folder(attempt.token);
  if (!part(job.body, "InputDataConfig").is_null()) enter_downloading(job.name);
  remove_attempt(where);
  std::filesystem::create_directories(where.path);
  auto [task, python] = job_task(job, attempt, resources_.arn(kTrainingJob, job.name), resources_.account(),
                                 options_, {machine_.cpus, memory_}, store_.folder());
  if (std::string source = source_of(job.body); !python.empty() && !source.empty())
    add_requirements(task, requirements_.install(python, requirements_of(store_, source), task, stop));
  use_container(task, job.body, containers_, where, stop);
  auto no_sweeps = store_.blobs().pause_sweeps();
  std::vector<std::pair<std::vector<Placed>, Path>> folders;
  store_.database().read([&](store::Connection& c) {
    try {
      folders = channel_folders(c, store_.blobs(), job.body, task, where);
    } catch (const base::Error& error) {
      throw base::Error(base::Kind::invalid, fmt::format("Data download failed: {}", error.what()));
    }
    if (const Json& checkpoints = part(job.body, "CheckpointConfig"); !checkpoints.is_null()) {
      S3Uri from = parse_s3_uri(text(checkpoints, "S3Uri"));
      if (!from.key.empty() && !from.key.ends_with('/')) from.key += '/';
      folders.emplace_back(objects_under(c, from), where.restored());
    }
  });
  // Not in one transaction: others read meanwhile.
  for (const auto& [objects, to] : folders) {
    std::filesystem::create_directories(to);
    for (size_t at = 0; at < objects.size() && !stop.stop_requested(); at += kPlacedAtOnce)
      store_.database().read([&](store::Connection& c) {
        place(c, store_.blobs(), std::span(objects).subspan(at, std::min(kPlacedAtOnce, objects.size() - at)),
              to);
      });
  }
  write_task(where.task(), task);
}

void Jobs::pending(records::Resource& job, const std::string& message) {
  machine_.awaited = true;
  if (text(job.body, "SecondaryStatus") == "Pending" && text(job.body, "_Waited") == message) return;
  store_.database().write([&](store::Connection& c) {
    job = resources_.get(c, kTrainingJob, job.name);
    jobs_.enter(job.body, "Pending", message, base::wall_now());
    job.body.set("_Waited", message);
    resources_.update(c, job);
  });
}

void Jobs::retry(const std::string& name, const records::Attempt& attempt, const std::string& message) {
  base::log(base::Level::warning, "job_restarts",
            {{"job", name}, {"attempt", attempt.number}, {"reason", message}});
  store_.database().write([&](store::Connection& c) {
    auto job = resources_.get(c, kTrainingJob, name);
    jobs_.enter(job.body, "Restarting", "Restarting the training job: " + message, base::wall_now());
    job.body.set("_Ran", number(job.body, "_Ran") + seconds(base::wall_now()) - seconds(attempt.created));
    resources_.update(c, job);
    records::close_attempt(c, attempt.id);
  });
  forget(attempt.token);
}

void Jobs::finish(const std::string& name, const plan::Finish& end) {
  store_.database().write(
      [&](store::Connection& c) {
        auto job = resources_.get(c, kTrainingJob, name);
        jobs_.finish(c, job, {end.status, end.secondary, end.reason});
      },
      store::Purpose::frees);
  told_.announce();
  base::log(base::Level::info, "job_ended",
            {{"job", name}, {"status", end.status}, {"secondary", end.secondary}, {"reason", end.reason}});
}

void Jobs::watch(const records::Attempt& attempt) {
  if (watched_.contains(attempt.token)) return;
  int watch = ::inotify_add_watch(news_.get(), folder(attempt.token).path.c_str(),
                                  IN_MODIFY | IN_CREATE | IN_CLOSE_WRITE);
  if (watch < 0) throw base::system_error(folder(attempt.token).path.string(), errno);
  watched_[attempt.token] = watch;
}

void Jobs::forget(const std::string& token) {
  if (auto found = watched_.find(token); found != watched_.end()) {
    ::inotify_rm_watch(news_.get(), found->second);
    watched_.erase(found);
  }
  remover_.remove(folder(token));
}

/// Folders of attempts that are closed, or that no row knows: what a killed server had no time to remove.
void Jobs::sweep() {
  for (const auto& entry : std::filesystem::directory_iterator(store_.folder() / "jobs")) {
    std::string token = entry.path().filename();
    try {
      bool open = store_.database()
                      .read([&](store::Connection& c) { return records::attempt_is_open(c, token); })
                      .value_or(false);
      if (!open && !is_alive(folder(token))) remover_.remove(folder(token));
    } catch (const std::exception& error) {
      base::log(base::Level::error, "attempt_not_swept", {{"token", token}, {"error", error.what()}});
    }
  }
}

}  // namespace textmill::fleet
