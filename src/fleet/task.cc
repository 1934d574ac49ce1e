#include "fleet/task.h"

#include <fmt/format.h>

#include "base/error.h"
#include "format/json.h"

namespace textmill::fleet {

using format::Json;
using format::JsonView;

namespace {

constexpr int64_t kFormat =
    3;  // 1: without containers; 2: without pipes, hosts had the addresses of all others'
constexpr std::string_view kPacks[] = {"nothing", "archives", "files"};

Json pairs(const std::map<std::string, std::string>& map) {
  Json out = Json::Object();
  for (const auto& [name, value] : map) out.set(name, value);
  return out;
}

std::map<std::string, std::string> pairs(const JsonView& view) {
  std::map<std::string, std::string> out;
  for (const auto& [name, value] : view.object()) out[name] = value.string();
  return out;
}

Json paths(const std::vector<base::Path>& list) {
  Json::Array out;
  for (const auto& path : list) out.emplace_back(path.string());
  return out;
}

std::vector<base::Path> paths(const JsonView& view) {
  auto texts = view.strings();
  return {texts.begin(), texts.end()};
}

Json channels(const std::map<std::string, contract::Channel>& map) {
  Json out = Json::Object();
  for (const auto& [name, channel] : map)
    out.set(name, Json::object({{"content_type", channel.content_type},
                                {"mode", channel.input_mode},
                                {"distribution", channel.distribution},
                                {"wrapper", channel.record_wrapper}}));
  return out;
}

std::map<std::string, contract::Channel> channels(const JsonView& view) {
  std::map<std::string, contract::Channel> out;
  for (const auto& [name, channel] : view.object())
    out[name] = {.path = {},
                 .content_type = channel.at("content_type").string(),
                 .input_mode = channel.at("mode").string(),
                 .distribution = channel.at("distribution").string(),
                 .record_wrapper = channel.at("wrapper").string()};
  return out;
}

Json input(const contract::TrainingInput& input) {
  return Json::object({{"hyperparameters", pairs(input.hyperparameters)},
                       {"channels", channels(input.channels)},
                       {"instance_type", input.resources.current_instance_type}});
}

Json::Array pipes(const std::vector<PipedChannel>& pipes) {
  Json::Array out;
  for (const PipedChannel& pipe : pipes) {
    Json row = Json::object({{"name", pipe.name}, {"record_io", pipe.record_io}, {"gzip", pipe.gzip}});
    if (pipe.seed) row.set("seed", *pipe.seed);
    out.push_back(std::move(row));
  }
  return out;
}

PipedChannel pipe_of(const JsonView& view) {
  PipedChannel out{.name = view.at("name").string(),
                   .record_io = view.at("record_io").boolean(),
                   .gzip = view.at("gzip").boolean()};
  if (auto seed = view.find("seed")) out.seed = seed->integer();
  return out;
}

Task::Pack pack_of(const JsonView& view) {
  for (size_t i = 0; i < std::size(kPacks); ++i)
    if (view.string() == kPacks[i]) return static_cast<Task::Pack>(i);
  view.fail("nothing, archives or files");
}

}  // namespace

const char* Task::needs_walls() const {
  if (!container.empty()) return "a container: this system lets us make no root of its own for it";
  return own_network ? "EnableNetworkIsolation: this system lets us make no network without a way out"
                     : nullptr;
}

std::vector<std::string> AttemptFolder::inputs(const std::string& host) const {
  std::vector<std::string> names;
  if (std::filesystem::exists(path / host / "input"))
    for (const auto& entry : std::filesystem::directory_iterator(path / host / "input"))
      names.push_back(entry.path().filename());
  return names;
}

void write_task(const base::Path& file, const Task& task) {
  Json::Array metrics;
  for (const auto& metric : task.metrics)
    metrics.push_back(Json::object({{"name", metric.name}, {"regex", metric.regex}}));
  Json limits = Json::object({{"cpus", task.limits.cpus},
                              {"memory", task.limits.memory},
                              {"file", task.limits.file},
                              {"processes", task.limits.processes}});
  Json json = Json::object({{"format", kFormat},
                            {"name", task.name},
                            {"command", Json::array(task.command)},
                            {"environment", pairs(task.environment)},
                            {"hosts", Json::array(task.hosts)},
                            {"number", task.number},
                            {"training", task.training},
                            {"input", input(task.input)},
                            {"pipes", pipes(task.pipes)},
                            {"grace", task.grace.count()},
                            {"most", task.most.count()},
                            {"metrics", std::move(metrics)},
                            {"limits", std::move(limits)},
                            {"hidden", paths(task.hidden)},
                            {"visible", paths(task.visible)},
                            {"own_network", task.own_network},
                            {"container", task.container.string()},
                            {"checkpoints", task.checkpoints.string()},
                            {"tensorboard", task.tensorboard.string()},
                            {"pack", kPacks[static_cast<size_t>(task.pack)]},
                            {"notes", Json::array(task.notes)}});
  base::write_file_durably(file, format::to_pretty_text(json));
}

Task read_task(const base::Path& file) {
  Json json = format::read_json(file);
  JsonView in(json, file.string());
  if (in.at("format").integer(1) > kFormat)
    throw base::Error(base::Kind::conflict, file.string() + ": written by a newer version");
  Task task{.name = in.at("name").string(),
            .command = in.at("command").strings(),
            .environment = pairs(in.at("environment")),
            .hosts = in.at("hosts").strings(),
            .number = in.get_integer("number", 0, 0, INT64_MAX),
            .training = in.at("training").boolean(),
            .grace = std::chrono::seconds(in.at("grace").integer(0)),
            .most = std::chrono::seconds(in.at("most").integer(0)),
            .limits = {in.at("limits.cpus").number(), in.at("limits.memory").integer(0),
                       in.at("limits.file").integer(0), in.at("limits.processes").integer(0)},
            .hidden = paths(in.at("hidden")),
            .visible = paths(in.at("visible")),
            .own_network = in.at("own_network").boolean(),
            .container = in.get_string("container", ""),
            .checkpoints = in.at("checkpoints").string(),
            .tensorboard = in.get_string("tensorboard", ""),
            .pack = pack_of(in.at("pack")),
            .notes = in.at("notes").strings()};
  task.input.hyperparameters = pairs(in.at("input.hyperparameters"));
  task.input.channels = channels(in.at("input.channels"));
  if (auto rows = in.find("pipes"))
    for (const JsonView& row : rows->array()) task.pipes.push_back(pipe_of(row));
  task.input.resources.current_instance_type = in.at("input.instance_type").string();
  task.input.resources.hosts = task.hosts;
  for (const auto& metric : in.at("metrics").array())
    task.metrics.push_back({metric.at("name").string(), metric.at("regex").string()});
  if (task.command.empty() || task.hosts.empty())
    throw base::Error(base::Kind::invalid, file.string() + ": no command, or no host");
  return task;
}

}  // namespace textmill::fleet
