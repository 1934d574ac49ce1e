#include "fleet/endpoints.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/error.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/threads.h"
#include "base/utf8.h"
#include "fleet/attempt.h"
#include "http/client.h"
#include "records/attempts.h"

namespace textmill::fleet {

using base::Path;
using format::Json;
using records::Resource;

namespace {

constexpr uint64_t kMostModels = uint64_t{20} << 30;
constexpr int kLook = 1000;                            // milliseconds between looks when nothing happens
constexpr int kSettle = 20;                            // milliseconds from news to the look at it
constexpr auto kDrain = std::chrono::seconds(60);      // for what an instance still has to answer
constexpr auto kMostPause = std::chrono::seconds(60);  // between instances that fail
constexpr auto kPingWithin = std::chrono::seconds(2);
constexpr size_t kAtOnce = 4;  // instances that are being laid out

std::string text(const Json& body, std::string_view member) {
  const Json* value = body.find(member);
  return value && value->string() ? *value->string() : std::string();
}

int64_t integer(const Json& body, std::string_view member, int64_t absent) {
  const Json* value = body.find(member);
  return value && value->integer() ? *value->integer() : absent;
}

plan::Endpoint::Status status_of(const Resource& endpoint) {
  using Status = plan::Endpoint::Status;
  if (endpoint.status == "Creating") return Status::creating;
  if (endpoint.status == "InService") return Status::in_service;
  return endpoint.status == "Deleting" ? Status::deleting : Status::failed;
}

bool ping(uint16_t port) {
  http::Client client({.connect_timeout = kPingWithin, .timeout = kPingWithin, .max_redirects = 0});
  try {
    return client.send({.url = fmt::format("http://127.0.0.1:{}/ping", port)}).status == 200;
  } catch (const base::Error&) {
    return false;  // not there yet
  }
}

}  // namespace

Endpoints::Endpoints(store::Store& store, const records::Resources& resources, Router& router,
                     Requirements& requirements, Containers& containers, Remover& remover, News& news)
    : store_(store),
      resources_(resources),
      router_(router),
      requirements_(requirements),
      containers_(containers),
      remover_(remover),
      told_(news),
      program_(std::filesystem::read_symlink("/proc/self/exe")),
      models_(store, kMostModels),
      news_(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK)),
      awake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (!news_ || !awake_) throw base::system_error("inotify, eventfd", errno);
  publish(read_world());
}

Endpoints::~Endpoints() {
  thread_.request_stop();
  wake();
  if (thread_.joinable()) thread_.join();
  for (auto& [id, known] : known_) known.stop.request_stop();
}

void Endpoints::start(Access server, std::chrono::seconds hung) {
  server_ = std::move(server);
  hung_ = hung;
  thread_ = base::start_thread("endpoints", [this](std::stop_token stop) { run(stop); });
}

void Endpoints::wake() {
  uint64_t one = 1;
  [[maybe_unused]] ssize_t told = ::write(awake_.get(), &one, sizeof one);  // full: it is awake already
}

void Endpoints::run(std::stop_token stop) {
  while (!stop.stop_requested()) {
    try {
      while (!stop.stop_requested() && pass()) {}
    } catch (const std::exception& error) {  // a file system's and a full memory's too: the thread goes on
      base::log(base::Level::error, "endpoints_not_looked_at", {{"error", error.what()}});
      due_ = kLook;
    }
    wait(stop);
  }
}

/// Until somebody wakes it, a journal grows or ends, or the time has come.
void Endpoints::wait(std::stop_token stop) {
  pollfd fds[] = {{awake_.get(), POLLIN, 0}, {news_.get(), POLLIN, 0}};
  if (stop.stop_requested()) return;
  ::poll(fds, 2, due_);
  uint64_t count;
  if (fds[0].revents) [[maybe_unused]]
    ssize_t got = ::read(awake_.get(), &count, sizeof count);
  // News come in crowds: one look for all of them.
  if (fds[1].revents && !fds[0].revents) ::poll(fds, 1, kSettle);
  char events[4096];
  while (::read(news_.get(), events, sizeof events) > 0) {}
}

Endpoints::World Endpoints::read_world() {
  records::ListQuery all{
      .sort = records::SortBy::name, .descending = false, .limit = 100'000, .bodies = true};
  return store_.database().read([&](store::Connection& c) {
    return World{resources_.list(c, records::kEndpoint, all).resources,
                 resources_.list(c, records::kReplica, all).resources};
  });
}

bool Endpoints::pass() {
  World world = read_world();
  due_ = kLook;
  bool acted = false;
  for (Resource& endpoint : world.endpoints) {
    std::vector<Resource*> replicas;
    for (Resource& replica : world.replicas)
      if (text(replica.body, "Endpoint") == endpoint.name) replicas.push_back(&replica);
    if (endpoint.status == "Failed" && replicas.empty()) continue;
    try {
      acted |= tend(endpoint, replicas);
    } catch (const std::exception& error) {
      base::log(base::Level::error, "endpoint_not_tended",
                {{"endpoint", endpoint.name}, {"error", error.what()}});
    }
  }
  if (acted) publish(read_world());
  return acted;
}

bool Endpoints::tend(Resource& endpoint, std::vector<Resource*>& replicas) {
  plan::Endpoint view = look(endpoint, replicas);
  auto actions = plan::decide(view);
  bool acted = false;
  for (const auto& action : actions) {
    if (action.what == plan::EndpointAction::What::start &&
        std::ranges::count_if(known_, [](const auto& one) {
          return one.second.preparing && !one.second.installing;
        }) >= static_cast<ptrdiff_t>(kAtOnce))
      continue;
    act(endpoint, action);
    acted = true;
  }
  return acted;
}

plan::Endpoint Endpoints::look(const Resource& endpoint, const std::vector<Resource*>& replicas) {
  plan::Endpoint view{.status = status_of(endpoint)};
  for (const Json& variant : *endpoint.body.find("Variants")->array()) {
    std::string name = text(variant, "VariantName");
    const Setback& setback = setbacks_[endpoint.name + "/" + name];
    double pause = std::chrono::duration<double>(setback.until - base::steady_now()).count();
    if (pause > 0) due_ = std::min(due_, static_cast<int>(pause * 1000) + 1);
    view.variants.push_back({.name = name,
                             .wanted = static_cast<int>(integer(variant, "InitialInstanceCount", 1)),
                             .startup_limit = static_cast<double>(
                                 integer(variant, "ContainerStartupHealthCheckTimeoutInSeconds", 240)),
                             .pause = pause});
  }
  for (Resource* replica : replicas) view.instances.push_back(look(*replica));
  return view;
}

namespace {

/// When its program was started, whatever its preparation took; before that, when it was wanted.
base::WallTime begin_of(const Resource& replica, const AttemptFolder& place) {
  struct stat task {};
  if (::stat(place.task().c_str(), &task) != 0) return replica.created;
  return base::WallTime(
      std::chrono::microseconds(int64_t{task.st_mtim.tv_sec} * 1'000'000 + task.st_mtim.tv_nsec / 1000));
}

}  // namespace

plan::Instance Endpoints::look(Resource& replica) {
  using Status = plan::Instance::Status;
  Known& known = known_[replica.name];
  AttemptFolder place = folder(replica.name);
  plan::Instance out{
      .id = replica.name,
      .variant = text(replica.body, "Variant"),
      .status = replica.status == "Ready"      ? Status::ready
                : replica.status == "Stopping" ? Status::stopping
                                               : Status::starting,
      .age = std::chrono::duration<double>(base::wall_now() - begin_of(replica, place)).count()};
  if (known.preparing) {
    const std::string* trouble = known.preparing->result();
    if (!trouble) {
      out.preparing = true;  // its thread wakes this one when it has done
      return out;
    }
    known.trouble = *trouble;
    known.preparing.reset();
  }
  out.trouble = known.trouble;
  out.alive = is_alive(place);
  out.begun = was_begun(place);
  if (out.alive && !known.watched)
    known.watched =
        ::inotify_add_watch(news_.get(), place.journal().c_str(), IN_MODIFY | IN_CLOSE_WRITE) >= 0;
  if (out.begun) take_journal(replica, known);
  for (const auto& line : known.last_lines) out.last_words += (out.last_words.empty() ? "" : " | ") + line;
  if (out.status == Status::starting && out.alive) {
    out.healthy = answers(known, static_cast<uint16_t>(integer(replica.body, "Port", 0)));
    due_ = std::min(due_, std::clamp(static_cast<int>(out.age * 100), 5, 250));
  }
  if (out.status == Status::ready && out.alive)
    out.hung = hangs(known, static_cast<uint16_t>(integer(replica.body, "Port", 0)));
  if (out.status == Status::stopping && out.alive) {
    if (known.stopping_since == base::SteadyTime()) known.stopping_since = base::steady_now();
    bool idle = !known.replica || known.replica->outstanding == 0;
    if (!known.asked_to_stop && (idle || base::steady_now() > known.stopping_since + kDrain)) {
      ask_to_stop(place);
      known.asked_to_stop = true;
    }
    due_ = std::min(due_, 20);
  }
  return out;
}

void Endpoints::publish(const World& world) {
  Routes routes;
  for (const Resource& endpoint : world.endpoints) {
    if (endpoint.status != "InService") continue;
    auto& variants = routes[records::key_of(records::kEndpoint, endpoint.name)];
    for (const Json& variant : *endpoint.body.find("Variants")->array()) {
      const Json* weight = variant.find("InitialVariantWeight");
      VariantRoute& route = variants.emplace_back();
      route.name = text(variant, "VariantName");
      if (weight)
        route.weight = weight->integer() ? static_cast<double>(*weight->integer()) : *weight->real();
      for (const Resource& row : world.replicas) {
        if (row.status != "Ready" || text(row.body, "Endpoint") != endpoint.name ||
            text(row.body, "Variant") != route.name)
          continue;
        auto& replica = known_[row.name].replica;
        if (!replica) {
          replica = std::make_shared<Replica>();
          replica->id = row.name;
          replica->port = static_cast<uint16_t>(integer(row.body, "Port", 0));
        }
        route.replicas.push_back(replica);
      }
    }
  }
  router_.publish(std::move(routes));
}

void Endpoints::act(Resource& endpoint, const plan::EndpointAction& action) {
  using What = plan::EndpointAction::What;
  static constexpr std::string_view kWords[] = {"instance_started", "instance_ready",      "instance_stopped",
                                                "instance_gone",    "endpoint_in_service", "endpoint_failed",
                                                "endpoint_deleted"};
  base::log(action.reason.empty() ? base::Level::info : base::Level::warning,
            kWords[static_cast<size_t>(action.what)],
            {{"endpoint", endpoint.name}, {"of", action.of}, {"reason", action.reason}});
  switch (action.what) {
    case What::start: return start_instance(endpoint, action.of);
    case What::ready: return set_status(records::kReplica, action.of, "Ready");
    case What::stop:
      known_[action.of].stop.request_stop();
      return set_status(records::kReplica, action.of, "Stopping");
    case What::forget: return forget(action.of, endpoint.name, !action.reason.empty());
    case What::in_service: return put_in_service(endpoint.name);
    case What::fail: return fail(endpoint, action.reason);
    case What::remove:
      store_.database().write(
          [&](store::Connection& c) { resources_.remove(c, records::kEndpoint, endpoint.name); });
      std::erase_if(setbacks_, [&](const auto& one) { return one.first.starts_with(endpoint.name + "/"); });
      told_.announce();
  }
}

void Endpoints::set_status(const records::Kind& kind, const std::string& name, std::string_view status) {
  store_.database().write([&](store::Connection& c) {
    Resource now = resources_.get(c, kind, name);
    resources_.set_status(c, kind, now, status);
  });
  told_.announce();
}

/// Who reads InService may invoke at once, so the routes come first.
void Endpoints::put_in_service(const std::string& name) {
  World world = read_world();
  for (Resource& endpoint : world.endpoints)
    if (endpoint.name == name && endpoint.status == "Creating") endpoint.status = "InService";
  publish(world);
  store_.database().write([&](store::Connection& c) {
    Resource now = resources_.get(c, records::kEndpoint, name);
    if (now.status == "Creating") resources_.set_status(c, records::kEndpoint, now, "InService");
  });
  told_.announce();
}

void Endpoints::fail(const Resource& endpoint, const std::string& reason) {
  store_.database().write([&](store::Connection& c) {
    Resource now = resources_.get(c, records::kEndpoint, endpoint.name);
    if (now.status != "Creating") return;  // it is deleted meanwhile
    now.body.set("FailureReason", base::utf8_beginning(reason, records::kLongestReason));
    resources_.update(c, now);
    resources_.set_status(c, records::kEndpoint, now, "Failed");
  });
  told_.announce();
}

void Endpoints::forget(const std::string& id, const std::string& endpoint, bool failed) {
  std::string variant;
  remover_.remove(folder(id));
  store_.database().write([&](store::Connection& c) {
    if (auto row = resources_.find(c, records::kReplica, id)) {
      variant = text(row->body, "Variant");
      if (const std::string& trouble = known_[id].trouble; !trouble.empty()) say_trouble(c, *row, trouble);
      records::forget_attempts(c, row->id);
      resources_.remove(c, records::kReplica, id);
    }
  });
  known_.erase(id);
  if (!failed) return;
  Setback& setback = setbacks_[endpoint + "/" + variant];
  if (base::steady_now() > setback.until + kMostPause) setback.count = 0;  // it went well for long enough
  auto pause = std::chrono::milliseconds(500) * (1 << std::min(setback.count++, 7));
  setback.until = base::steady_now() + std::min<std::chrono::milliseconds>(pause, kMostPause);
}

/// Whether /ping has answered well. Asked by a thread of its own, which wakes this one: a program may take its time, and
/// the others do not wait for it.
bool Endpoints::answers(Known& known, uint16_t port) {
  if (known.pinging && !known.pinging->result()) return false;
  if (known.pinging && *known.pinging->result()) return true;
  known.pinging = std::make_unique<base::Work<bool>>([port] { return ping(port); }, [this] { wake(); });
  return false;
}

/// Whether a ready one has given no answer, to /ping or to a request, for too long: longer than any request may take.
bool Endpoints::hangs(Known& known, uint16_t port) {
  auto now = base::steady_now();
  uint64_t answered = known.replica ? known.replica->answered.load() : 0;
  const bool* good = known.pinging ? known.pinging->result() : nullptr;
  if (known.heard == base::SteadyTime() || answered != known.answered || (good && *good)) known.heard = now;
  known.answered = answered;
  if (good != nullptr) known.pinging.reset();
  if (!known.pinging && now >= known.asked + hung_ / 10) {
    known.asked = now;
    known.pinging = std::make_unique<base::Work<bool>>([port] { return ping(port); }, [this] { wake(); });
  }
  return now > known.heard + hung_;
}

}  // namespace textmill::fleet
