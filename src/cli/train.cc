#include <filesystem>

#include "base/error.h"
#include "base/signals.h"
#include "cli/commands.h"
#include "cli/engine.h"
#include "cli/parse.h"
#include "contract/training.h"
#include "train/run.h"

namespace textmill::cli {
namespace {

/// The exit status of a run; one that was stopped ends as the signal would have ended it.
int train(const train::TrainPaths& paths, const train::TrainOptions& options) {
  train::check(options);
  ignore_broken_pipes();
  base::StopSignals signals;
  train::Outcome outcome = train::train(paths, options, signals.token());
  return outcome == train::Outcome::stopped ? 128 + signals.signal() : 0;
}

void set_options(train::TrainOptions& options, const Values& values) {
  for (const train::OptionRow& row : train::option_rows())
    if (const Given* given = values.find(row.name)) row.set(options, {given->where, given->text});
}

int train_from_shell(const Values& values) {
  for (std::string_view name : {"model", "train", "output"}) values.require(name);
  train::TrainOptions options;
  set_options(options, values);
  return train(
      {values.text("model"), values.text("train"), values.text("validation"), values.text("output"), {}},
      options);
}

base::Path channel(const contract::TrainingInput& input, const std::string& name) {
  const contract::Channel* found = input.channel(name);
  return found ? found->path : base::Path();
}

/// The training container: hyperparameters and channels in, a model out. It goes on from what an earlier attempt left in
/// the checkpoints.
int train_in_container(const std::function<Values()>& surroundings) {
  contract::Layout layout = contract::Layout::from_environment();
  try {
    Values values = surroundings();
    contract::TrainingInput input = contract::read_training_input(layout);
    const Command& command = find_command("train", "train");
    for (const auto& [name, text] : input.hyperparameters) add_hyperparameter(command, values, name, text);
    check_choices(command, values);
    set_log(values, "json");
    train::TrainOptions options{.resume = true};
    set_options(options, values);
    for (const char* name : {"model", "train"})
      if (!input.channel(name))
        throw base::Error(base::Kind::invalid, (layout.channel(name)).string() + ": the channel is missing");
    return train({channel(input, "model"), channel(input, "train"), channel(input, "validation"),
                  layout.model(), layout.checkpoints()},
                 options);
  } catch (const base::Error& error) {
    contract::report_failure(layout, error);
    throw;
  } catch (const std::exception& error) {
    contract::report_failure(layout, base::Error(base::Kind::internal, error.what()));
    throw;
  }
}

}  // namespace

Command train_command() {
  Command command{
      "train",
      "fine-tune a model on labelled texts; without arguments, as a container under /opt/ml",
      {},
      {{"model", "DIR", "the model to start from: a Hugging Face folder, or a model.tar.gz of one", true},
       {"train", "F", "TSV, CSV, JSON lines or fastText lines, plain or compressed; or a folder", true},
       {"validation", "F", "the same, to choose the best epoch by", true},
       {"output", "DIR", "where the model goes, with its card, run.json and checkpoints", true}},
      train_from_shell,
      train_in_container};
  for (const train::OptionRow& row : train::option_rows())
    command.options.push_back({row.name, row.value, row.help});
  return command;
}

}  // namespace textmill::cli
