#include "records/training_job.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/utf8.h"

namespace textmill::records {

using format::Json;

namespace {

double seconds(base::WallTime time) { return std::chrono::duration<double>(time.time_since_epoch()).count(); }

std::string text(const Json& object, std::string_view name) {
  const Json* value = object.find(name);
  return value && value->string() ? *value->string() : "";
}

/// What people read about a secondary status that says nothing itself.
std::string_view usual_message(std::string_view secondary) {
  static constexpr std::pair<std::string_view, std::string_view> kMessages[] = {
      {"Starting", "Preparing the instances for training"},
      {"Pending", "Waiting for capacity"},
      {"Downloading", "Downloading the training data"},
      {"Training", "Training in-progress"},
      {"Uploading", "Uploading generated training model"},
      {"Restarting", "Restarting the training job"},
      {"Stopping", "Stopping the training job"},
      {"Completed", "Training job completed"},
      {"Failed", "Training job failed"},
      {"Stopped", "Training job stopped"},
      {"MaxRuntimeExceeded", "Training job runtime exceeded MaxRuntimeInSeconds provided"},
      {"MaxWaitTimeExceeded", "Training job wait time exceeded MaxWaitTimeInSeconds provided"},
  };
  for (auto [name, message] : kMessages)
    if (name == secondary) return message;
  return "";
}

}  // namespace

void TrainingJobs::begin(Json& body, base::WallTime now) {
  body.set("SecondaryStatus", "Starting");
  body.set("SecondaryStatusTransitions",
           Json::Array{Json::object({{"Status", "Starting"},
                                     {"StartTime", seconds(now)},
                                     {"StatusMessage", usual_message("Starting")}})});
}

void TrainingJobs::enter(Json& body, std::string_view secondary, std::string_view message,
                         base::WallTime when) const {
  std::string said(message.empty() ? usual_message(secondary) : message);
  Json::Array list = *body.find("SecondaryStatusTransitions")->array();
  Json& last = list.back();
  double start = std::max(seconds(when), *last.find("StartTime")->real());
  if (text(last, "Status") == secondary) {
    last.set("StatusMessage", said);
  } else {
    last.set("EndTime", start);
    list.push_back(Json::object({{"Status", secondary}, {"StartTime", start}, {"StatusMessage", said}}));
  }
  if (secondary == "Downloading" && !body.find("TrainingStartTime")) body.set("TrainingStartTime", start);
  body.set("SecondaryStatusTransitions", std::move(list));
  body.set("SecondaryStatus", secondary);
}

Resource TrainingJobs::stop(store::Connection& connection, std::string_view name) const {
  Resource job = resources_.get(connection, kTrainingJob, name);
  if (job.status == "Stopping") return job;
  if (job.status != "InProgress")
    throw base::Error(
        base::Kind::invalid,
        fmt::format("The request was rejected because the training job is in status {}.", job.status));
  enter(job.body, "Stopping", "", base::wall_now());
  resources_.update(connection, job);
  resources_.set_status(connection, kTrainingJob, job, "Stopping");
  return job;
}

void TrainingJobs::finish(store::Connection& connection, Resource& job, const Finished& finished) const {
  auto now = base::wall_now();
  std::string reason = base::utf8_beginning(finished.reason, kLongestReason);
  enter(job.body, finished.secondary, reason, now);
  Json::Array list = *job.body.find("SecondaryStatusTransitions")->array();
  list.back().set("EndTime", *list.back().find("StartTime")->real());
  job.body.set("SecondaryStatusTransitions", std::move(list));
  if (!reason.empty()) job.body.set("FailureReason", reason);
  double end = seconds(now);
  job.body.set("TrainingEndTime", end);
  if (const Json* start = job.body.find("TrainingStartTime")) {
    auto whole = std::max<int64_t>(1, std::llround(std::ceil(end - *start->real())));
    job.body.set("TrainingTimeInSeconds", whole);
    job.body.set("BillableTimeInSeconds", whole);
  }
  resources_.update(connection, job);
  resources_.set_status(connection, kTrainingJob, job, finished.status);
  if (auto attempt = last_attempt(connection, job.id)) close_attempt(connection, attempt->id);
}

std::vector<Resource> TrainingJobs::live(store::Connection& connection) const {
  return resources_.live(connection, kTrainingJob);
}

std::string model_artifact(const Json& body, std::string_view job) {
  const Json* output = body.find("OutputDataConfig");
  std::string path = output ? text(*output, "S3OutputPath") : "";
  while (path.ends_with('/')) path.pop_back();
  bool plain = output && text(*output, "CompressionType") == "NONE";
  return fmt::format("{}/{}/output/{}", path, job, plain ? "model/" : "model.tar.gz");
}

}  // namespace textmill::records
