#include "fleet/ingest.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>

#include "base/error.h"
#include "fleet/inputs.h"
#include "store/logs.h"
#include "store/objects.h"
#include "store/series.h"

namespace textmill::fleet {

using base::Path;
using format::Json;

namespace {

constexpr std::string_view kUploadFailure = "_UploadFailure";  // in a job's body
constexpr std::string_view kMetricSpace = "/aws/sagemaker/TrainingJobs";

std::string text(const Json& object, std::string_view name) {
  const Json* value = object.find(name);
  return value && value->string() ? *value->string() : "";
}

base::WallTime wall(int64_t milliseconds) { return base::WallTime(std::chrono::milliseconds(milliseconds)); }

std::string raw_of(std::string_view hex) {
  std::string out;
  for (size_t i = 0; i + 1 < hex.size(); i += 2)
    out += static_cast<char>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16));
  return out;
}

/// A change of the objects: bytes that come, or one that goes.
struct Change {
  S3Uri to;
  std::unique_ptr<store::Blobs::Staged> bytes;  // none: it goes
  std::string etag;
};

/// All that a piece of a journal says, made ready outside the transaction.
struct Taken {
  std::map<std::string, std::vector<store::LogEvent>> logs;  // by host
  std::vector<const Event*> metrics, phases;
  std::vector<Change> changes;
  const Event* end = nullptr;
};

class Ingestion {
 public:
  Ingestion(store::Store& store, const records::Resources& resources, const AttemptFolder& folder,
            const std::string& name, records::Attempt& attempt)
      : store_(store), resources_(resources), folder_(folder), name_(name), attempt_(attempt) {}

  bool run() {
    JournalPlace place{attempt_.offset, attempt_.next};
    events_ = read_journal(folder_.journal(), place);
    if (events_.empty()) return false;
    records::Resource job = store_.database().read(
        [&](store::Connection& c) { return resources_.get(c, records::kTrainingJob, name_); });
    sort_out(job.body);
    records::Attempt after = attempt_;
    after.offset = place.offset;
    after.next = place.next;
    // An end comes in on a full disk too: what the attempt holds is then freed.
    store_.database().write(
        [&](store::Connection& c) {
          job = resources_.get(c, records::kTrainingJob, name_);
          enter(c, job);
          after.end = end_.empty() ? after.end : end_;
          records::advance_attempt(c, after);
        },
        end_.empty() ? store::Purpose::grows : store::Purpose::frees);
    attempt_ = after;
    return true;
  }

 private:
  void sort_out(const Json& body) {
    auto now =
        std::chrono::duration_cast<std::chrono::milliseconds>(base::wall_now().time_since_epoch()).count();
    for (const Event& event : events_) {
      if (event.what == "log")
        taken_.logs[event.text("host")].push_back(
            {.time = event.time, .ingested = now, .message = event.text("text")});
      if (event.what == "metric") taken_.metrics.push_back(&event);
      if (event.what == "phase") taken_.phases.push_back(&event);
      if (event.what == "kept" || event.what == "gone") take_change(event, body);
      if (event.what == "end") taken_.end = &event;
    }
  }

  /// Where an object of the job's goes.
  S3Uri target(const Event& event, const Json& body) {
    std::string of = event.text("of"), name = event.text("name"), path;
    if (of == "checkpoint") {
      const Json* config = body.find("CheckpointConfig");
      if (!config) throw base::Error(base::Kind::internal, "a checkpoint of a job that keeps none");
      path = text(*config, "S3Uri");
      while (path.ends_with('/')) path.pop_back();
      return parse_s3_uri(fmt::format("{}/{}", path, name));
    }
    if (of == "tensorboard") {  // where the SageMaker SDK looks for it
      const Json* config = body.find("TensorBoardOutputConfig");
      if (!config) throw base::Error(base::Kind::internal, "TensorBoard's events of a job that keeps none");
      path = text(*config, "S3OutputPath");
      while (path.ends_with('/')) path.pop_back();
      return parse_s3_uri(fmt::format("{}/{}/tensorboard-output/{}", path, name_, name));
    }
    path = records::model_artifact(body, name_);
    path = path.substr(0, path.rfind("/output/"));
    bool plain = name != "model.tar.gz" && name != "output.tar.gz";
    return parse_s3_uri(fmt::format("{}/output/{}{}", path, plain ? of + "/" : "", name));
  }

  void take_change(const Event& event, const Json& body) {
    Change& change = taken_.changes.emplace_back();
    change.to = target(event, body);
    if (event.what == "gone") return;
    Path file = folder_.kept() / event.text("file");
    auto size = static_cast<uint64_t>(event.integer("size"));
    std::string hash = raw_of(event.text("sha256"));
    change.etag = event.text("md5");
    if (size <= store::Blobs::kMaxRow) {
      change.bytes =
          std::make_unique<store::Blobs::Staged>(store_.blobs().stage(base::read_file(file), hash));
    } else {
      auto name_it = [&](const Path& path) {
        std::error_code error;
        std::filesystem::create_hard_link(file, path, error);
        if (error) throw base::system_error("a kept file", error.value());
      };
      change.bytes = std::make_unique<store::Blobs::Staged>(store_.blobs().stage(hash, size, name_it));
    }
  }

  void enter(store::Connection& c, records::Resource& job) {
    enter_logs(c);
    enter_metrics(c, job.body);
    std::string failure = enter_objects(c);
    for (const Event* phase : taken_.phases) enter_phase(*phase, job);
    if (!failure.empty()) job.body.set(kUploadFailure, failure);
    if (taken_.end) {
      Json end = taken_.end->body;
      failure = text(job.body, kUploadFailure);
      if (!failure.empty() && text(end, "outcome") != "failed") {
        end.set("outcome", "failed");
        end.set("text", failure);
        end.set("by", "user");
      }
      end_ = format::to_text(end);
    }
    resources_.update(c, job);
  }

  void enter_logs(store::Connection& c) {
    if (taken_.logs.empty()) return;
    int64_t group = enter_log_group(c, resources_, kTrainingLogGroup);
    for (auto& [host, events] : taken_.logs) {
      std::string stream = log_stream_name(name_, host, attempt_.created);
      auto found = store::find_log_stream(c, group, stream);
      if (!found) {
        store::create_log_stream(c, group, stream);
        found = store::find_log_stream(c, group, stream);
      }
      std::ranges::stable_sort(events, {}, &store::LogEvent::time);
      store::LogBatch(events).append_to(c, found->id);
    }
  }

  void enter_metrics(store::Connection& c, Json& body) {
    if (taken_.metrics.empty()) return;
    std::map<std::string, Json> last;
    if (const Json* list = body.find("FinalMetricDataList"))
      for (const Json& metric : *list->array()) last[text(metric, "MetricName")] = metric;
    for (const Event* event : taken_.metrics) {
      std::string name = event->text("name");
      double value = event->number_at("value");
      int64_t series = store::enter_series(c, {.space = std::string(kMetricSpace),
                                               .name = name,
                                               .unit = "None",
                                               .dimensions = {{"TrainingJobName", name_}}});
      store::put_point(c, series, event->time / 1000, 60, store::Distribution::of(value));
      last[name] = Json::object(
          {{"MetricName", name}, {"Value", value}, {"Timestamp", static_cast<double>(event->time) / 1000}});
    }
    Json::Array list;
    for (auto& [name, metric] : last) list.push_back(std::move(metric));
    body.set("FinalMetricDataList", std::move(list));
  }

  /// What is wrong with where they should go; empty: nothing.
  std::string enter_objects(store::Connection& c) {
    std::string failure;
    for (const Change& change : taken_.changes) {
      auto bucket = store::find_bucket(c, change.to.bucket);
      if (!bucket) {
        failure = fmt::format("Data upload failed: the bucket {} does not exist", change.to.bucket);
      } else if (change.bytes) {
        store::put_object(c, bucket->id,
                          {.key = change.to.key,
                           .blob = store_.blobs().enter(c, *change.bytes),
                           .size = change.bytes->size(),
                           .etag = change.etag,
                           .modified = base::wall_now(),
                           .properties = "{}"});
      } else {
        store::delete_object(c, bucket->id, change.to.key);
      }
    }
    return failure;
  }

  void enter_phase(const Event& phase, records::Resource& job) {
    if (job.status != "InProgress") return;  // Stopping stays to the end
    records::TrainingJobs(resources_).enter(job.body, phase.text("phase"), "", wall(phase.time));
  }

  store::Store& store_;
  const records::Resources& resources_;
  const AttemptFolder& folder_;
  const std::string& name_;
  records::Attempt& attempt_;
  std::vector<Event> events_;
  Taken taken_;
  std::string end_;
};

}  // namespace

int64_t enter_log_group(store::Connection& connection, const records::Resources& resources,
                        std::string_view name) {
  if (auto group = resources.find(connection, records::kLogGroup, name)) return group->id;
  return resources.create(connection, records::kLogGroup, {.name = std::string(name), .body = Json::Object()})
      .id;
}

std::string log_stream_name(const std::string& job, const std::string& host, base::WallTime begun) {
  return fmt::format("{}/{}-{}", job, host,
                     std::chrono::duration_cast<std::chrono::seconds>(begun.time_since_epoch()).count());
}

bool ingest(store::Store& store, const records::Resources& resources, const AttemptFolder& folder,
            const std::string& job, records::Attempt& attempt) {
  return Ingestion(store, resources, folder, job, attempt).run();
}

}  // namespace textmill::fleet
