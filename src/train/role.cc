#include "train/role.h"

#include <fmt/format.h>

#include "base/error.h"
#include "base/log.h"
#include "contract/training.h"
#include "train/run.h"

namespace textmill::train {
namespace {

base::Path channel(const contract::TrainingInput& input, const char* name) {
  const contract::Channel* channel = input.channel(name);
  if (channel) return channel->path;
  throw base::Error(base::Kind::invalid, fmt::format("the job has no channel {}", name));
}

Outcome run(const contract::Layout& layout, std::stop_token stop) {
  auto input = contract::read_training_input(layout);
  TrainOptions options;
  options.resume = true;  // a job that is started again goes on
  for (const auto& [name, value] : input.hyperparameters) set_option(options, name, value);
  TrainPaths paths{.model = channel(input, "model"),
                   .train = channel(input, "train"),
                   .output = layout.model(),
                   .checkpoints = layout.checkpoints()};
  if (input.channel("validation")) paths.validation = channel(input, "validation");
  return train(paths, options, std::move(stop));
}

}  // namespace

int run_training_job(std::stop_token stop) {
  auto layout = contract::Layout::from_environment();
  try {
    return run(layout, std::move(stop)) == Outcome::finished ? contract::kCompleted : contract::kStopped;
  } catch (const base::Error& error) {
    base::log(base::Level::error, "training_failed",
              {{"kind", base::name(error.kind())}, {"message", error.what()}});
    return contract::report_failure(layout, error);
  }
}

}  // namespace textmill::train
