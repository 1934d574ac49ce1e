#include "fleet/job_task.h"

#include <fmt/format.h>

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <iterator>

#include "contract/layout.h"
#include "fleet/images.h"
#include "fleet/user.h"
#include "plan/instance_type.h"

namespace textmill::fleet {

using base::Path;
using format::Json;

namespace {

constexpr std::string_view kChannels = "/opt/ml/input/data/";

const Json kNone;

const Json& member(const Json& object, std::string_view name) {
  const Json* value = object.find(name);
  return value ? *value : kNone;
}

std::string text(const Json& object, std::string_view name, std::string_view absent = "") {
  const Json& value = member(object, name);
  return std::string(value.string() ? std::string_view(*value.string()) : absent);
}

int64_t integer(const Json& object, std::string_view name, int64_t absent) {
  const Json& value = member(object, name);
  return value.integer() ? *value.integer() : absent;
}

bool boolean(const Json& object, std::string_view name) {
  const Json& value = member(object, name);
  return value.boolean() && *value.boolean();
}

const Json::Array& list(const Json& object, std::string_view name) {
  static const Json::Array kEmpty;
  const Json& value = member(object, name);
  return value.array() ? *value.array() : kEmpty;
}

std::vector<std::string> texts(const Json& object, std::string_view name) {
  std::vector<std::string> out;
  for (const Json& value : list(object, name)) out.push_back(*value.string());
  return out;
}

std::map<std::string, std::string> pairs(const Json& object, std::string_view name) {
  std::map<std::string, std::string> out;
  if (const Json& value = member(object, name); value.object())
    for (const auto& [key, text] : *value.object()) out[key] = *text.string();
  return out;
}

std::vector<PipedChannel> pipes_of(const Json& body, const contract::TrainingInput& input) {
  std::vector<PipedChannel> out;
  for (const Json& channel : list(body, "InputDataConfig")) {
    const contract::Channel& read = input.channels.at(text(channel, "ChannelName"));
    if (read.input_mode != "Pipe") continue;
    PipedChannel& pipe = out.emplace_back(PipedChannel{.name = text(channel, "ChannelName"),
                                                       .record_io = read.record_wrapper == "RecordIO",
                                                       .gzip = text(channel, "CompressionType") == "Gzip"});
    if (const Json& shuffle = member(channel, "ShuffleConfig"); !shuffle.is_null())
      pipe.seed = integer(shuffle, "Seed", 0);
  }
  return out;
}

contract::TrainingInput input_of(const Json& body) {
  contract::TrainingInput input{.hyperparameters = pairs(body, "HyperParameters")};
  std::string mode = text(member(body, "AlgorithmSpecification"), "TrainingInputMode", "File");
  for (const Json& channel : list(body, "InputDataConfig")) {
    const Json& source = member(member(channel, "DataSource"), "S3DataSource");
    input.channels[text(channel, "ChannelName")] = {
        .path = {},
        .content_type = text(channel, "ContentType"),
        .input_mode = text(channel, "InputMode", mode),
        .distribution = text(source, "S3DataDistributionType", "FullyReplicated"),
        .record_wrapper = text(channel, "RecordWrapperType", "None")};
  }
  input.resources.current_instance_type = text(member(body, "ResourceConfig"), "InstanceType", "local");
  return input;
}

std::map<std::string, std::string> environment_of(const records::Resource& job,
                                                  const records::Attempt& attempt, const std::string& arn,
                                                  const records::Account& account,
                                                  const JobOptions& options) {
  auto out = contract::training_environment(contract::Layout(contract::Layout::kDefaultRoot), job.name, arn,
                                            account.region);
  const Access access = boolean(job.body, "EnableNetworkIsolation") ? Access() : options.server;
  for (auto& [name, value] : access.environment(account, member(job.body, "_Caller"), attempt.token))
    out[name] = value;
  for (auto& [name, value] : pairs(job.body, "Environment")) out[name] = value;
  return out;
}

/// Where what a program sees at CHANNEL/FILE comes from; empty: there is no such channel.
std::string in_channel(const Json& body, const std::string& path) {
  const std::string name = path.substr(0, path.find('/')), file = path.substr(name.size());
  for (const Json& channel : list(body, "InputDataConfig")) {
    if (text(channel, "ChannelName") != name) continue;
    std::string source = text(member(member(channel, "DataSource"), "S3DataSource"), "S3Uri");
    if (source.ends_with(file)) return source;
    return source.substr(0, source.find_last_not_of('/') + 1) + file;
  }
  return {};
}

}  // namespace

double cpus_of(const Json& body, double machine) {
  const Json& resources = member(body, "ResourceConfig");
  auto size = plan::instance_size(text(resources, "InstanceType"));
  double each = size ? std::min<double>(size->cpus, machine) : machine;
  return each * static_cast<double>(std::max<int64_t>(1, integer(resources, "InstanceCount", 1)));
}

JobTask job_task(const records::Resource& job, const records::Attempt& attempt, const std::string& arn,
                 const records::Account& account, const JobOptions& options, const MachineSize& machine,
                 const Path& data_folder) {
  const Json& body = job.body;
  const Json& algorithm = member(body, "AlgorithmSpecification");
  const Json& resources = member(body, "ResourceConfig");
  const std::string image = text(algorithm, "TrainingImage");
  const bool contained = find_image(image) == nullptr;
  auto program = contained ? TrainingProgram()
                           : training_program(image, texts(algorithm, "ContainerEntrypoint"),
                                              texts(algorithm, "ContainerArguments"), data_folder);
  auto most = std::chrono::seconds(integer(body, "_Most", 86400));
  Task task{.name = job.name,
            .command = program.command,
            .environment = environment_of(job, attempt, arn, account, options),
            .hosts = {},
            .number = attempt.id,
            .input = input_of(body),
            .grace = options.grace,
            .most = most,
            .metrics = program.metrics,
            .hidden = hidden_paths(data_folder, options.server.key),
            .visible = program.named,
            .own_network = boolean(body, "EnableNetworkIsolation")};
  task.pipes = pipes_of(body, task.input);
  std::erase_if(task.visible, [&](const Path& path) {
    return is_within(secret_paths(data_folder, options.server.key), path);  // nobody's key by its name
  });
  task.visible.insert(task.visible.end(), program.needed.begin(), program.needed.end());
  if (!contained) std::ranges::copy(system_paths(), std::back_inserter(task.visible));
  if (!options.server.certificate.empty()) task.visible.push_back(options.server.certificate);
  for (const Json& metric : list(algorithm, "MetricDefinitions"))
    task.metrics.push_back({text(metric, "Name"), text(metric, "Regex")});
  for (int64_t i = 1; i <= integer(resources, "InstanceCount", 1); ++i)
    task.hosts.push_back(fmt::format("algo-{}", i));
  task.limits = limits_of(task.input.resources.current_instance_type, integer(resources, "VolumeSizeInGB", 0),
                          machine, task.notes);
  if (const Json& waited = member(body, "_Waited"); waited.string()) task.notes.push_back(*waited.string());
  if (body.find("CheckpointConfig"))
    task.checkpoints = text(member(body, "CheckpointConfig"), "LocalPath", "/opt/ml/checkpoints");
  if (body.find("TensorBoardOutputConfig"))
    task.tensorboard =
        text(member(body, "TensorBoardOutputConfig"), "LocalPath", "/opt/ml/output/tensorboard");
  if (text(member(body, "OutputDataConfig"), "CompressionType") == "NONE") task.pack = Task::Pack::files;
  return {std::move(task), program.environment};
}

void use_container(Task& task, const Json& body, Containers& containers, const AttemptFolder& folder,
                   const std::stop_token& stop) {
  const Json& algorithm = member(body, "AlgorithmSpecification");
  const std::string name = text(algorithm, "TrainingImage");
  if (find_image(name)) return;
  const ContainerImage image = containers.use(name, task, folder, stop);
  task.command = container_command(image, "train", texts(algorithm, "ContainerEntrypoint"),
                                   texts(algorithm, "ContainerArguments"));
}

MachineSize this_machine() {
  return {static_cast<double>(::sysconf(_SC_NPROCESSORS_ONLN)),
          static_cast<int64_t>(::sysconf(_SC_PHYS_PAGES)) * ::sysconf(_SC_PAGESIZE)};
}

Limits limits_of(const std::string& type, int64_t volume, const MachineSize& machine,
                 std::vector<std::string>& notes) {
  Limits limits{.cpus = machine.cpus, .memory = machine.memory, .file = volume << 30};
  auto size = plan::instance_size(type);
  if (!size) {
    notes.push_back(fmt::format("The instance type {} is not known here: it gets the whole machine.", type));
    return limits;
  }
  if (size->gpus) notes.push_back(fmt::format("{} has GPUs: this runs on the CPU.", type));
  if (size->cpus > machine.cpus || size->memory > machine.memory)
    notes.push_back(
        fmt::format("{} is larger than this machine: it gets what there is, {:g} CPUs and {} MiB.", type,
                    std::min<double>(size->cpus, machine.cpus),
                    (size->memory ? std::min(size->memory, machine.memory) : machine.memory) >> 20));
  limits.cpus = std::min<double>(size->cpus, machine.cpus);
  if (size->memory) limits.memory = std::min(size->memory, machine.memory);
  return limits;
}

std::string source_of(const Json& body) {
  std::string source = text(member(body, "HyperParameters"), "sagemaker_submit_directory");
  if (source.empty()) source = text(member(body, "Environment"), "SAGEMAKER_SUBMIT_DIRECTORY");
  if (source.starts_with('"') && source.ends_with('"') && source.size() > 1)  // the SDK writes it as JSON
    source = source.substr(1, source.size() - 2);
  if (source.starts_with(kChannels)) source = in_channel(body, source.substr(kChannels.size()));
  return source.starts_with("s3://") ? source : "";
}

void add_requirements(Task& task, const Path& folder) {
  if (folder.empty()) return;
  task.visible.push_back(folder);
  task.environment["TEXTMILL_REQUIREMENTS"] = folder;
}

std::vector<Path> secret_paths(const Path& data_folder, const Path& server_key) {
  std::vector<Path> out{data_folder, "/run"};
  std::error_code error;
  if (Path real = std::filesystem::canonical(server_key, error); !error) out.push_back(real);
  if (const char* home = std::getenv("HOME"))
    for (const char* name : {".aws", ".ssh"}) out.push_back(Path(home) / name);
  return out;
}

std::vector<Path> hidden_paths(const Path& data_folder, const Path& server_key) {
  auto out = secret_paths(data_folder, server_key);
  if (program_user().other) out.insert(out.end(), {"/root", "/home"});
  return out;
}

bool is_within(const std::vector<Path>& folders, const Path& path) {
  auto real_of = [](const Path& one) {
    std::error_code error;  // where this user cannot look, no link can lead
    Path real = std::filesystem::weakly_canonical(one, error);
    return error ? one.lexically_normal() : real;
  };
  Path real = real_of(path);
  return std::ranges::any_of(folders, [&](const Path& folder) {
    Path relative = real.lexically_relative(real_of(folder));
    return !relative.empty() && *relative.begin() != "..";
  });
}

std::vector<Path> system_paths() {
  std::vector<Path> out;
  if (Path resolver = "/run/systemd/resolve"; std::filesystem::exists(resolver)) out.push_back(resolver);
  return out;
}

}  // namespace textmill::fleet
