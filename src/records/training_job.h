#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "records/attempts.h"
#include "records/resources.h"

namespace textmill::records {

/// A training job as a row: status is TrainingJobStatus; the body holds what it was created with, and what
/// DescribeTrainingJob shows of its course. Members that begin with an underscore are ours alone.
class TrainingJobs {
 public:
  explicit TrainingJobs(const Resources& resources) : resources_(resources) {}

  /// The body of a new one: Starting.
  static void begin(format::Json& body, base::WallTime now);

  /// Enters a secondary status, which ends the one before. The same one again only changes its message.
  void enter(format::Json& body, std::string_view secondary, std::string_view message,
             base::WallTime when) const;

  /// Asked to stop: InProgress becomes Stopping; Stopping stays. Throws invalid in SageMaker's words when it is over.
  Resource stop(store::Connection& connection, std::string_view name) const;

  struct Finished {
    std::string status, secondary, reason;
  };
  /// The one end of a job. Its attempt is closed with it.
  void finish(store::Connection& connection, Resource& job, const Finished& finished) const;

  /// InProgress and Stopping.
  std::vector<Resource> live(store::Connection& connection) const;

  static bool is_live(std::string_view status) { return status == "InProgress" || status == "Stopping"; }

 private:
  const Resources& resources_;
};

/// "s3://bucket/prefix/job/output/model.tar.gz", where the model of a job goes.
std::string model_artifact(const format::Json& body, std::string_view job);

}  // namespace textmill::records
