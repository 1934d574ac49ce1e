#include "contract/training.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "format/json.h"

namespace textmill::contract {

using base::Error;
using base::Kind;
using base::Path;
using format::Json;
using format::JsonView;

namespace {

std::optional<Json> read_config(const Path& path) {
  if (!std::filesystem::exists(path)) return std::nullopt;
  return format::read_json(path, size_t{16} << 20);
}

/// "..." with no bare quote inside.
bool is_json_string(std::string_view text) {
  if (text.size() < 2 || text[0] != '"') return false;
  size_t at = 1;
  for (; at < text.size() && text[at] != '"'; ++at) at += text[at] == '\\';
  return at == text.size() - 1;
}

/// A hyperparameter as the program should see it; nothing for null.
std::optional<std::string> decoded(const JsonView& value) {
  if (!value.value().string()) {  // the platform writes strings only; people write numbers
    if (value.value().is_null()) return std::nullopt;
    if (value.value().array() || value.value().object()) value.fail("a string");
    return to_text(value.value());
  }
  const std::string& text = value.string();
  if (text == "null") return std::nullopt;
  if (!is_json_string(text)) return text;
  return JsonView(format::parse_json(text, value.where()), value.where()).string();
}

bool is_for_tools(const std::string& name) { return name.starts_with("sagemaker_") || name.starts_with("_"); }

/// The channel's data: its only file, or its folder.
Path data_path(const Path& folder) {
  std::vector<Path> entries;
  if (std::filesystem::is_directory(folder)) {
    for (const auto& entry : std::filesystem::directory_iterator(folder)) entries.push_back(entry.path());
  }
  bool one_file = entries.size() == 1 && std::filesystem::is_regular_file(entries[0]);
  return std::filesystem::canonical(one_file ? entries[0] : folder);
}

void read_channels(const Layout& layout, TrainingInput& input) {
  std::map<std::string, std::string> types;
  if (auto config = read_config(layout.input_data_config())) {
    for (const auto& [name, channel] : JsonView(*config, layout.input_data_config().string()).object()) {
      std::string mode = channel.get_string("TrainingInputMode", "File");
      if (mode != "File" && mode != "FastFile") channel.at("TrainingInputMode").fail("File or FastFile");
      types[name] = channel.get_string("ContentType", "");
    }
  } else if (std::filesystem::is_directory(layout.channel(""))) {
    for (const auto& entry : std::filesystem::directory_iterator(layout.channel("")))
      types[entry.path().filename()];
  }
  for (auto& [name, type] : types) {
    if (!std::filesystem::exists(layout.channel(name))) {
      throw Error(Kind::invalid,
                  fmt::format("channel {}: {} is not there", name, layout.channel(name).string()));
    }
    input.channels[name] = {data_path(layout.channel(name)), type};
  }
}

Resources read_resources(const Layout& layout) {
  Resources out;
  auto config = read_config(layout.resource_config());
  if (!config) return out;
  JsonView in(*config, layout.resource_config().string());
  out.current_host = in.at("current_host").string();
  out.hosts = in.at("hosts").strings();
  out.current_instance_type = in.get_string("current_instance_type", out.current_instance_type);
  out.network_interface_name = in.get_string("network_interface_name", out.network_interface_name);
  if (std::find(out.hosts.begin(), out.hosts.end(), out.current_host) == out.hosts.end()) {
    in.at("current_host").fail("one of the hosts");
  }
  return out;
}

Json resource_config(const Resources& resources) {
  constexpr const char* kGroup = "homogeneousCluster";
  Json hosts = Json::array(resources.hosts);
  Json group = Json::object({{"instance_group_name", kGroup},
                             {"instance_type", resources.current_instance_type},
                             {"hosts", hosts}});
  return Json::object({{"current_host", resources.current_host},
                       {"current_instance_type", resources.current_instance_type},
                       {"current_group_name", kGroup},
                       {"hosts", hosts},
                       {"instance_groups", Json::Array{group}},
                       {"network_interface_name", resources.network_interface_name}});
}

void write_config(const Path& path, const Json& value) {
  std::filesystem::create_directories(path.parent_path());
  base::write_file_durably(path, to_pretty_text(value));
}

}  // namespace

size_t Resources::rank() const {
  return static_cast<size_t>(std::find(hosts.begin(), hosts.end(), current_host) - hosts.begin());
}

const Channel* TrainingInput::channel(const std::string& name) const {
  auto found = channels.find(name);
  return found == channels.end() ? nullptr : &found->second;
}

TrainingInput read_training_input(const Layout& layout) {
  TrainingInput input;
  if (auto config = read_config(layout.hyperparameters())) {
    for (const auto& [name, value] : JsonView(*config, layout.hyperparameters().string()).object()) {
      auto text = decoded(value);
      if (text) (is_for_tools(name) ? input.tool_hyperparameters : input.hyperparameters)[name] = *text;
    }
  }
  read_channels(layout, input);
  input.resources = read_resources(layout);
  return input;
}

void write_configuration(const Layout& layout, const TrainingInput& input) {
  Json hyperparameters = Json::Object();
  for (const auto* group : {&input.hyperparameters, &input.tool_hyperparameters}) {
    for (const auto& [name, value] : *group) hyperparameters.set(name, value);
  }
  Json channels = Json::Object();
  for (const auto& [name, channel] : input.channels) {
    Json entry = Json::object({{"TrainingInputMode", channel.input_mode},
                               {"S3DistributionType", channel.distribution},
                               {"RecordWrapperType", channel.record_wrapper}});
    if (!channel.content_type.empty()) entry.set("ContentType", channel.content_type);
    channels.set(name, entry);
  }
  write_config(layout.hyperparameters(), hyperparameters);
  write_config(layout.input_data_config(), channels);
  write_config(layout.resource_config(), resource_config(input.resources));
}

std::map<std::string, std::string> training_environment(const Layout& layout, const std::string& job_name,
                                                        const std::string& job_arn,
                                                        const std::string& region) {
  std::map<std::string, std::string> out = {
      {"TRAINING_JOB_NAME", job_name}, {"TRAINING_JOB_ARN", job_arn}, {"AWS_REGION", region}};
  if (layout.root() != Layout::kDefaultRoot) out[Layout::kRootVariable] = layout.root().string();
  return out;
}

}  // namespace textmill::contract
