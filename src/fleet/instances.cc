#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <random>
#include <set>

#include "base/error.h"
#include "base/hash.h"
#include "contract/layout.h"
#include "contract/serving.h"
#include "fleet/attempt.h"
#include "fleet/endpoints.h"
#include "fleet/images.h"
#include "fleet/job_task.h"
#include "fleet/journal.h"
#include "fleet/serving.h"
#include "records/attempts.h"
#include "store/logs.h"

// How an instance of an endpoint is laid out and started, and what it says.

namespace textmill::fleet {

using base::Path;
using format::Json;
using records::Resource;

namespace {

// Below the ports that the kernel gives to outgoing connections.
constexpr int kFirstPort = 20'000, kPorts = 12'000;
constexpr size_t kLastLines = 8;

/// "i-0123456789abcdef0"
std::string new_id() {
  std::string bytes = store::random_bytes(9);
  return "i-" + base::hex(bytes).substr(0, 17);
}

bool is_free(int port) {
  base::Descriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
}

/// One that nobody listens at and that is in none of `taken`.
uint16_t free_port(const std::set<int64_t>& taken) {
  std::random_device random;
  for (int i = 0; i < 200; ++i) {
    int port = kFirstPort + static_cast<int>(random() % kPorts);
    if (!taken.contains(port) && is_free(port)) return static_cast<uint16_t>(port);
  }
  throw base::Error(base::Kind::unavailable, "no free port was found for an instance");
}

std::string text(const Json& body, std::string_view member) {
  const Json* value = body.find(member);
  return value && value->string() ? *value->string() : std::string();
}

int64_t integer(const Json& body, std::string_view member) {
  const Json* value = body.find(member);
  return value && value->integer() ? *value->integer() : 0;
}

const Json& variant_of(const Resource& endpoint, const std::string& variant) {
  for (const Json& one : *endpoint.body.find("Variants")->array())
    if (text(one, "VariantName") == variant) return one;
  throw base::Error(base::Kind::internal,
                    fmt::format("endpoint {} has no variant {}", endpoint.name, variant));
}

/// The log group's resource; made by whoever speaks first.
int64_t group_of(store::Connection& c, const records::Resources& resources, const std::string& endpoint) {
  std::string name = "/aws/sagemaker/Endpoints/" + endpoint;
  auto group = resources.find(c, records::kLogGroup, name);
  return group ? group->id
               : resources.create(c, records::kLogGroup, {.name = name, .body = Json::object({})}).id;
}

int64_t stream_of(store::Connection& c, int64_t group, const std::string& name) {
  if (!store::find_log_stream(c, group, name)) store::create_log_stream(c, group, name);
  return store::find_log_stream(c, group, name)->id;
}

}  // namespace

/// Commits to it first: whatever dies after that, the row says what to look for.
void Endpoints::start_instance(const Resource& endpoint, const std::string& variant) {
  std::string id = new_id();
  std::set<int64_t> taken;
  for (const Resource& one : read_world().replicas) taken.insert(integer(one.body, "Port"));
  uint16_t port = free_port(taken);
  std::string token;
  store_.database().write([&](store::Connection& c) {
    auto row = resources_.create(c, records::kReplica,
                                 {.name = id,
                                  .body = Json::object({{"Endpoint", endpoint.name},
                                                        {"Variant", variant},
                                                        {"Port", port},
                                                        {"Offset", 0},
                                                        {"Next", 0}})});
    token = records::open_attempt(c, row.id).token;  // its credentials end with it
    stream_of(c, group_of(c, resources_, endpoint.name), variant + "/" + id);
  });
  Known& known = known_[id];
  known.preparing = std::make_unique<base::Work<std::string>>(
      [=, this, &known] { return prepare(known, id, endpoint, variant, port, token); }, [this] { wake(); });
}

std::string Endpoints::prepare(Known& known, const std::string& id, const Resource& endpoint,
                               const std::string& variant, uint16_t port, const std::string& token) {
  try {
    const Json& row = variant_of(endpoint, variant);
    const Json& container = *row.find("Container");
    AttemptFolder place = folder(id);
    Path model;
    std::filesystem::create_directories(place.path / id / "input");
    if (std::string url = text(container, "ModelDataUrl"); !url.empty()) {
      model = models_.path(models_.unpack(url));
      std::filesystem::create_directory_symlink(model, place.input(id, "model"));
    }
    Task task{.name = endpoint.name + "/" + variant,
              .hosts = {id},
              .training = false,
              .grace = std::chrono::seconds(contract::kServingGraceSeconds),
              .hidden = hidden_paths(store_.folder(), server_.key),
              .visible = system_paths(),
              .own_network = row.find(kIsolated) != nullptr,
              .pack = Task::Pack::nothing,
              .notes = {}};
    if (std::string type = text(row, "InstanceType"); !type.empty())
      task.limits = limits_of(type, 0, this_machine(), task.notes);
    const Json* caller = endpoint.body.find("_Caller");
    task.environment = (task.own_network ? Access() : server_)
                           .environment(resources_.account(), caller ? *caller : Json(), token);
    task.environment["SAGEMAKER_REGION"] = resources_.account().region;
    const Json* said = container.find("Environment");
    const Json environment = said ? *said : Json::object({});
    for (const auto& [name, value] : *environment.object()) task.environment[name] = *value.string();
    // Whatever the model says: this is where we look for it.
    task.environment["SAGEMAKER_BIND_TO_PORT"] = std::to_string(port);
    task.environment["SAGEMAKER_SAFE_PORT_RANGE"] = fmt::format("{}-{}", port, port);
    Path code = model / "code";
    if (std::string source = text(environment, "SAGEMAKER_SUBMIT_DIRECTORY"); source.starts_with("s3://")) {
      code = models_.path(models_.unpack(source));
      std::filesystem::create_directory_symlink(code, place.input(id, "code"));
    }
    add_program(known, task, place,
                {.image = text(container, "Image"),
                 .model = model,
                 .code = code,
                 .script = text(environment, "SAGEMAKER_PROGRAM"),
                 .program = program_,
                 .data_folder = store_.folder()});
    if (!server_.certificate.empty()) task.visible.push_back(server_.certificate);
    models_.trim();
    write_task(place.task(), task);
    if (!known.stop.stop_requested()) start_runner(place);
    return {};
  } catch (const base::Error& error) {
    using enum base::Kind;
    bool users = error.kind() == invalid || error.kind() == not_found || error.kind() == limit;
    return fmt::format("{}: {}", users ? "ClientError" : "InternalServerError",
                       shown(error.what(), store_.folder()));
  } catch (const std::exception& error) {
    return "InternalServerError: " + shown(error.what(), store_.folder());
  }
}

/// What it runs and what that needs: the files of a container, or the packages of a script.
void Endpoints::add_program(Known& known, Task& task, const AttemptFolder& place,
                            const ServingRequest& request) {
  auto takes_time = [&] {  // others may be laid out meanwhile
    known.installing = true;
    wake();
  };
  if (!find_image(request.image)) {
    takes_time();
    task.visible.clear();
    task.command =
        container_command(containers_.use(request.image, task, place, known.stop.get_token()), "serve");
    return;
  }
  auto program = serving_program(request);
  task.command = program.command;
  task.visible.insert(task.visible.end(), program.visible.begin(), program.visible.end());
  const Path wanted = request.code / "requirements.txt";
  if (program.environment.empty() ||
      !std::filesystem::is_regular_file(std::filesystem::symlink_status(wanted)))
    return;
  takes_time();
  add_requirements(task, requirements_.install(program.environment, base::read_file(wanted, 1 << 20), task,
                                               known.stop.get_token()));
}

/// Whose program never ran has nothing else in its log.
void Endpoints::say_trouble(store::Connection& c, const Resource& replica, const std::string& trouble) {
  auto now =
      std::chrono::duration_cast<std::chrono::milliseconds>(base::wall_now().time_since_epoch()).count();
  std::vector<store::LogEvent> line{
      {.time = now, .ingested = now, .message = "This instance could not be started: " + trouble}};
  int64_t group = group_of(c, resources_, text(replica.body, "Endpoint"));
  store::LogBatch(line).append_to(c, stream_of(c, group, text(replica.body, "Variant") + "/" + replica.name));
}

/// What its program said goes into the logs, together with how far its journal was read.
void Endpoints::take_journal(Resource& replica, Known& known) {
  while (true) {
    JournalPlace before{integer(replica.body, "Offset"), integer(replica.body, "Next")}, place = before;
    auto events = read_journal(folder(replica.name).journal(), place);
    if (events.empty()) return;
    std::vector<store::LogEvent> lines;
    int64_t now =
        std::chrono::duration_cast<std::chrono::milliseconds>(base::wall_now().time_since_epoch()).count();
    for (const auto& event : events) {
      std::string said = event.what == "log"   ? event.text("text")
                         : event.what == "end" ? event.text("text")
                                               : "";
      if (said.empty()) continue;
      if (event.what == "log") lines.push_back({.time = event.time, .ingested = now, .message = said});
      if (event.body.find("note") || (!known.last_lines.empty() && known.last_lines.back() == said)) continue;
      known.last_lines.push_back(said);
      if (known.last_lines.size() > kLastLines) known.last_lines.pop_front();
    }
    replica.body.set("Offset", place.offset);
    replica.body.set("Next", place.next);
    store_.database().write([&](store::Connection& c) {
      resources_.update(c, replica);
      if (lines.empty()) return;
      int64_t group = group_of(c, resources_, text(replica.body, "Endpoint"));
      std::ranges::stable_sort(lines, {}, &store::LogEvent::time);
      store::LogBatch(lines).append_to(
          c, stream_of(c, group, text(replica.body, "Variant") + "/" + replica.name));
    });
    forget_journal(folder(replica.name).journal(), before, place);
    told_.announce();
  }
}

}  // namespace textmill::fleet
