#include <fmt/format.h>

#include <set>

#include "api/stored.h"
#include "fleet/inputs.h"
#include "fleet/layout.h"
#include "fleet/output.h"
#include "records/training_job.h"
#include "wire/times.h"

namespace textmill::api {

namespace {

using records::kTrainingJob;
using records::Resource;

constexpr int64_t kMostRuntime = 28 * 86'400, kUsualRuntime = 86'400;
constexpr int64_t kMostInstances = 20;

base::Error invalid(const std::string& message) { return {base::Kind::invalid, message}; }

const Value& part(const Value& structure, std::string_view member) {
  static const Value kNone;
  const Value* value = structure.find(member);
  return value ? *value : kNone;
}

int64_t integer_in(const Value& structure, std::string_view member, int64_t absent) {
  const Value& value = part(structure, member);
  return value.integer() ? *value.integer() : absent;
}

void check_algorithm(const Value& body) {
  const Value& algorithm = part(body, "AlgorithmSpecification");
  if (algorithm.is_null() || !algorithm.find("TrainingImage"))
    throw invalid("AlgorithmSpecification needs a TrainingImage; other algorithms are not served.");
  if (algorithm.find("AlgorithmName"))
    throw invalid(
        "AlgorithmSpecification has an AlgorithmName beside its TrainingImage: one of them is meant.");
  std::vector<fleet::MetricDefinition> metrics;
  if (const Value* list = algorithm.find("MetricDefinitions"))
    for (const Value& metric : *list->array())
      metrics.push_back({text_in(metric, "Name"), text_in(metric, "Regex")});
  fleet::Metrics compiled(metrics);
}

/// Lines of JSON whose attributes go through a pipe as records.
void check_augmented(const Value& channel, const Value& source, const std::string& name,
                     const std::string& mode) {
  const Value* attributes = source.find("AttributeNames");
  if (!attributes || attributes->array()->empty())
    throw invalid(fmt::format("Channel {}: an AugmentedManifestFile needs AttributeNames.", name));
  if (mode != "Pipe" || text_in(channel, "RecordWrapperType") != "RecordIO")
    throw invalid(fmt::format(
        "Channel {}: an AugmentedManifestFile is served with InputMode Pipe and RecordWrapperType "
        "RecordIO.",
        name));
}

/// A pipe CHANNEL_0 beside a channel of that name.
void check_names_of_pipes(const Value& channels, const std::string& mode) {
  for (const Value& channel : *channels.array()) {
    if (text_in(channel, "InputMode", mode) != "Pipe") continue;
    std::string name = text_in(channel, "ChannelName"), begin = name + '_';
    for (const Value& other : *channels.array())
      if (std::string taken = text_in(other, "ChannelName");
          taken.starts_with(begin) && taken.find_first_not_of("0123456789", begin.size()) == taken.npos)
        throw invalid(fmt::format("The channel {} has the name of a pipe of channel {}.", taken, name));
  }
}

/// `mode`: of channels that say none.
void check_channel(const Value& channel, const std::string& mode, std::set<std::string>& names) {
  std::string name = text_in(channel, "ChannelName");
  if (!names.insert(name).second) throw invalid(fmt::format("Two channels are named {}.", name));
  if (name == "." || name == "..") throw invalid(fmt::format("A channel cannot be named {}.", name));
  const Value* source = part(channel, "DataSource").find("S3DataSource");
  if (!source) throw invalid(fmt::format("Channel {}: only an S3DataSource is served.", name));
  std::string type = text_in(*source, "S3DataType");
  if (type == "AugmentedManifestFile")
    check_augmented(channel, *source, name, text_in(channel, "InputMode", mode));
  else if (type != "S3Prefix" && type != "ManifestFile")
    throw invalid(fmt::format(
        "Channel {}: S3DataType {} is not served: use S3Prefix, ManifestFile or AugmentedManifestFile.", name,
        type));
  fleet::parse_s3_uri(text_in(*source, "S3Uri"));
}

void check_stopping(Value& body) {
  Value stopping = part(body, "StoppingCondition");
  if (!stopping.find("MaxRuntimeInSeconds")) stopping.set("MaxRuntimeInSeconds", kUsualRuntime);
  int64_t runtime = integer_in(stopping, "MaxRuntimeInSeconds", 0);
  if (runtime > kMostRuntime)
    throw invalid(fmt::format("MaxRuntimeInSeconds must not be greater than {}.", kMostRuntime));
  const Value& spot_member = part(body, "EnableManagedSpotTraining");
  bool spot = spot_member.boolean() && *spot_member.boolean(), waits = stopping.find("MaxWaitTimeInSeconds");
  if (spot && !waits)
    throw invalid("MaxWaitTimeInSeconds is required when EnableManagedSpotTraining is set to true.");
  if (!spot && waits)
    throw invalid(
        "MaxWaitTimeInSeconds can only be specified when EnableManagedSpotTraining is set to true.");
  if (waits && integer_in(stopping, "MaxWaitTimeInSeconds", 0) < runtime)
    throw invalid(
        "Invalid MaxWaitTimeInSeconds. It must be present and be greater than or equal to "
        "MaxRuntimeInSeconds");
  body.set("StoppingCondition", std::move(stopping));
}

void check_resources(const Value& body) {
  const Value& resources = part(body, "ResourceConfig");
  if (resources.is_null() || !resources.find("InstanceType"))
    throw invalid("ResourceConfig needs an InstanceType; instance groups and pools are not served.");
  if (const Value& groups = part(resources, "InstanceGroups"); groups.array() && !groups.array()->empty())
    throw invalid("ResourceConfig: InstanceGroups are not served: name one InstanceType and InstanceCount.");
  int64_t count = integer_in(resources, "InstanceCount", 1);
  if (count < 1 || count > kMostInstances)
    throw invalid(fmt::format("InstanceCount must be from 1 to {}.", kMostInstances));
}

/// A folder that is kept while the job runs.
void check_synced(const Value& body, const char* member, const char* uri, const char* usual) {
  const Value* config = body.find(member);
  if (!config) return;
  fleet::parse_s3_uri(text_in(*config, uri));
  std::string path = text_in(*config, "LocalPath", usual);
  if (*fleet::in_root(path).begin() == "input")
    throw invalid(
        fmt::format("{}: LocalPath {} lies among the inputs, of which nothing is kept.", member, path));
}

void check_job(Exchange& ex, store::Connection&, Value& body) {
  for (const char* unserved : {"ServerlessJobConfig", "MlflowConfig", "ModelPackageConfig"})
    if (body.find(unserved)) throw invalid(fmt::format("{} is not served.", unserved));
  check_algorithm(body);
  check_resources(body);
  check_stopping(body);
  std::set<std::string> names;
  std::string mode = text_in(part(body, "AlgorithmSpecification"), "TrainingInputMode");
  if (const Value* channels = body.find("InputDataConfig")) {
    for (const Value& channel : *channels->array()) check_channel(channel, mode, names);
    check_names_of_pipes(*channels, mode);
  }
  fleet::parse_s3_uri(text_in(part(body, "OutputDataConfig"), "S3OutputPath"));
  check_synced(body, "CheckpointConfig", "S3Uri", "/opt/ml/checkpoints");
  check_synced(body, "TensorBoardOutputConfig", "S3OutputPath", "/opt/ml/output/tensorboard");
  body.set("_Caller", caller_of(ex));
  records::TrainingJobs::begin(body, base::wall_now());
}

void summarize(const Resource& job, Value& summary) {
  for (const char* member : {"SecondaryStatus", "TrainingEndTime"})
    if (const Value* value = job.body.find(member)) summary.set(member, *value);
}

}  // namespace

/// What DescribeTrainingJob and Search show.
Value training_job_document(const Platform& platform, const Resource& job) {
  Value out =
      Value::object({{"TrainingJobName", job.name},
                     {"TrainingJobArn", platform.resources.arn(kTrainingJob, job.name)},
                     {"TrainingJobStatus", job.status},
                     {"CreationTime", wire::to_seconds(job.created)},
                     {"LastModifiedTime", wire::to_seconds(job.modified)},
                     {"ModelArtifacts",
                      Value::object({{"S3ModelArtifacts", records::model_artifact(job.body, job.name)}})}});
  for (const auto& [name, value] : *job.body.object())
    if (!name.starts_with('_') && name != "SessionChainingConfig")
      out.set(name, value);  // which is never shown
  // As the service fills it in; the SDK's attach() reads them.
  Value output = part(job.body, "OutputDataConfig");
  for (const auto& [name, usual] : {std::pair{"KmsKeyId", ""}, {"CompressionType", "GZIP"}})
    if (!output.find(name)) output.set(name, usual);
  out.set("OutputDataConfig", std::move(output));
  return out;
}

namespace {

constexpr Stored kStoredJob{.kind = kTrainingJob,
                            .name = "TrainingJobName",
                            .arn = "TrainingJobArn",
                            .list = "TrainingJobSummaries",
                            .check = check_job,
                            .status = "TrainingJobStatus",
                            .ascending = true,
                            .summarize = summarize};

Value create_job(Exchange& ex) {
  Value out = create(ex, kStoredJob);
  ex.platform.jobs.wake();
  return out;
}

Value describe_job(Exchange& ex) {
  auto job = ex.read([&](store::Connection& c) {
    return ex.platform.resources.get(c, kTrainingJob, ex.text("TrainingJobName"));
  });
  Value out = training_job_document(ex.platform, job);
  out.set("ProfilingStatus", "Disabled");
  return out;
}

Value list_jobs(Exchange& ex) {
  for (const char* nobody :
       {"WarmPoolStatusEquals", "TrainingPlanArnEquals"})  // no job has a warm pool or a plan
    if (ex.find(nobody)) return Value::object({{"TrainingJobSummaries", Value::Array()}});
  return list(ex, kStoredJob);
}

Value stop_job(Exchange& ex) {
  records::TrainingJobs jobs(ex.platform.resources);
  ex.write([&](store::Connection& c) { jobs.stop(c, ex.text("TrainingJobName")); });
  ex.platform.jobs.wake();
  return {};
}

Resource found(Exchange& ex, store::Connection& c) {
  auto job = ex.platform.resources.find(c, kTrainingJob, ex.text("TrainingJobName"));
  if (!job) throw wire::Fault("ResourceNotFound", 400, "Requested resource not found.");
  return *job;
}

Value delete_job(Exchange& ex) {
  ex.write([&](store::Connection& c) {
    Resource job = found(ex, c);
    if (records::TrainingJobs::is_live(job.status))
      throw wire::Fault(
          "ResourceInUse", 400,
          fmt::format("The training job is in status {}: it can be deleted once it has ended.", job.status));
    records::forget_attempts(c, job.id);
    ex.platform.resources.remove(c, kTrainingJob, job.name);
  });
  return {};
}

Value update_job(Exchange& ex) {
  std::string arn;
  ex.write([&](store::Connection& c) {
    Resource job = found(ex, c);
    for (const char* member : {"ProfilerConfig", "ProfilerRuleConfigurations", "RemoteDebugConfig"})
      if (const Value* value = ex.find(member)) job.body.set(member, *value);
    if (const Value* resources = ex.find("ResourceConfig")) {
      Value merged = part(job.body, "ResourceConfig");
      for (const auto& [name, value] : *resources->object()) merged.set(name, value);
      job.body.set("ResourceConfig", std::move(merged));
    }
    ex.platform.resources.update(c, job);
    arn = ex.platform.resources.arn(kTrainingJob, job.name);
  });
  return Value::object({{"TrainingJobArn", arn}});
}

constexpr Operation kOperations[] = {
    {"CreateTrainingJob", Role::write, create_job},
    {"DescribeTrainingJob", Role::read, describe_job},
    {"ListTrainingJobs", Role::read, list_jobs},
    {"StopTrainingJob", Role::write, stop_job},
    {"DeleteTrainingJob", Role::write, delete_job},
    {"UpdateTrainingJob", Role::write, update_job, Effect::stored},
};

}  // namespace

constexpr Family kTrainingJobs{"sagemaker", kOperations};

}  // namespace textmill::api
