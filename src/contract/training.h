#pragma once

#include <map>
#include <string>
#include <vector>

#include "contract/layout.h"

namespace textmill::contract {

/// Input data of a training job.
struct Channel {
  base::Path path;           // a file, or a folder
  std::string content_type;  // as the job's description says; may be empty
  std::string input_mode = "File", distribution = "FullyReplicated", record_wrapper = "None";
};

/// The machines of a job. By default one.
struct Resources {
  std::string current_host = "algo-1";
  std::string current_instance_type = "local";
  std::vector<std::string> hosts = {"algo-1"};
  std::string network_interface_name = "lo";

  size_t rank() const;  // of the current host among the hosts
};

/// What a training job is given.
struct TrainingInput {
  std::map<std::string, std::string> hyperparameters;
  /// Hyperparameters that tools set for themselves: sagemaker_program, _tuning_objective_metric, ...
  std::map<std::string, std::string> tool_hyperparameters;
  std::map<std::string, Channel> channels;
  Resources resources;

  /// Null if there is no such channel.
  const Channel* channel(const std::string& name) const;
};

/// Reads what the platform laid out. A hyperparameter that the SDK wrote as JSON ("\"bert\"") is its value; null is none.
/// A channel that holds one file is that file. Paths are real ones (links followed), so that errors name what the user
/// knows. Throws invalid naming the file and the member; files that are not there stand for their defaults.
TrainingInput read_training_input(const Layout& layout);

/// The files of configuration alone: hyperparameters, channels, resources.
void write_configuration(const Layout& layout, const TrainingInput& input);

/// The environment of a training container.
std::map<std::string, std::string> training_environment(const Layout& layout, const std::string& job_name,
                                                        const std::string& job_arn,
                                                        const std::string& region);

}  // namespace textmill::contract
