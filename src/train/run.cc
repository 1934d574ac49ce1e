#include "train/run.h"

#include <fmt/format.h>

#include <filesystem>
#include <memory>

#include "base/error.h"
#include "base/log.h"
#include "base/machine.h"
#include "base/time.h"
#include "base/version.h"
#include "nn/kernel/cpu_features.h"
#include "tasks/inference.h"
#include "tasks/model_folder.h"
#include "tasks/scores.h"
#include "train/card.h"
#include "train/checkpoint.h"
#include "train/load.h"
#include "train/progress.h"
#include "train/schedule.h"
#include "train/state.h"
#include "train/trainer.h"

namespace textmill::train {
namespace {

namespace fs = std::filesystem;
using base::Error;
using base::Kind;
using base::Path;
using format::Json;

constexpr size_t kKeptCheckpoints = 2;
constexpr std::string_view kLastWritten = "README.md";  // of a run's output
constexpr int64_t kEvaluationTokens = 4096;             // of a batch

/// Adds the time it lives to a sum.
class Timed {
 public:
  explicit Timed(double& sum) : sum_(sum) {}
  ~Timed() { sum_ += base::seconds_since(start_); }

 private:
  double& sum_;
  base::SteadyTime start_ = base::steady_now();
};

class Run {
 public:
  Run(const TrainPaths& paths, Path checkpoints, const TrainOptions& options, std::stop_token stop);
  /// All that can be wrong with the arguments is found here, before anything is written. False if it was stopped.
  bool prepare();
  /// For whoever locks the output only now. Throws in_use or exists if another run has been there since prepare().
  void look_again() const;
  Outcome train();

 private:
  std::optional<Path> find_checkpoint() const;
  void refuse_others_files() const;
  bool load_data();
  void load_model();
  Json recipe() const;
  void resume();
  bool one_step();
  bool end_epoch();
  std::optional<tasks::Scores> evaluate();
  void settle();
  void checkpoint(bool is_best);
  Outcome stopped();
  void finish();
  std::string base_name() const;
  Spent spent() const;
  Json record() const;

  const TrainPaths& paths_;
  const Path checkpoints_;
  const TrainOptions& options_;
  std::stop_token stop_;
  Spent resumed_from_;
  base::SteadyTime start_ = base::steady_now();
  nn::Format format_;
  nn::kernel::Pool pool_;
  tasks::ModelFolder base_;
  tasks::MaxLength max_length_;
  LoadedText train_, validation_;
  std::unique_ptr<models::TextClassifier> model_;
  std::unique_ptr<Trainer> trainer_;
  std::unique_ptr<tasks::Inference> inference_;
  std::unique_ptr<Progress> progress_;
  Steps steps_;
  std::vector<uint32_t> order_;
  RunState state_;
  std::optional<Path> checkpoint_;                          // the newest one
  int64_t checkpointed_ = 0, resumed_at_ = 0;               // steps
  Spent here_{.started = base::iso8601(base::wall_now())};  // in this process
};

Run::Run(const TrainPaths& paths, Path checkpoints, const TrainOptions& options, std::stop_token stop)
    : paths_(paths),
      checkpoints_(std::move(checkpoints)),
      options_(options),
      stop_(std::move(stop)),
      format_(tasks::choose_format({options.format, options.threads})),
      pool_(tasks::choose_threads({options.format, options.threads})),
      base_(paths.model) {}

bool Run::prepare() {
  checkpoint_ = find_checkpoint();
  if (!load_data()) return false;
  load_model();
  if (checkpoint_) resume();
  return true;
}

void Run::look_again() const {
  if (find_checkpoint())
    throw Error(Kind::in_use, checkpoints_.string() + ": another run began in it meanwhile");
}

Outcome Run::train() {
  remove_newer_checkpoints(checkpoints_, state_.step);
  prune_checkpoints(checkpoints_, kKeptCheckpoints);  // of runs that were killed before they could
  progress_ = std::make_unique<Progress>(steps_, state_.step);
  while (true) {
    bool epoch_ended = state_.step > 0 && state_.step % steps_.per_epoch() == 0;
    bool evaluated = std::ssize(*state_.epochs.array()) == state_.step / steps_.per_epoch();
    if (epoch_ended && !evaluated && !end_epoch()) return stopped();
    if (state_.step == steps_.total()) break;
    if (stop_.stop_requested() || !one_step()) return stopped();
    bool due = options_.checkpoint_every > 0 && state_.step % options_.checkpoint_every == 0;
    if (due && state_.step % steps_.per_epoch() != 0) checkpoint(false);  // an epoch's end has one anyway
  }
  finish();
  return Outcome::finished;
}

/// Throws exists if a file that a run writes, or that would become part of its model, is there, though no run is.
void Run::refuse_others_files() const {
  auto found = tasks::model_file_in(paths_.output);
  for (const char* name : {"README.md", "run.json", "metrics.jsonl"})
    if (!found && fs::exists(paths_.output / name)) found = name;
  if (found)
    throw Error(Kind::exists, fmt::format("{} holds {}, which is of no run: another --output leaves it alone",
                                          paths_.output.string(), *found));
}

/// The newest good checkpoint, if the options ask for it. Fresh runs start in fresh folders.
std::optional<Path> Run::find_checkpoint() const {
  const bool has_model = nn::holds_model(paths_.output);
  if (!options_.resume && (has_model || has_checkpoints(checkpoints_))) {
    throw Error(
        Kind::exists,
        fmt::format("{} holds an earlier run: --resume continues it, another --output leaves it alone",
                    paths_.output.string()));
  }
  if (auto found = newest_checkpoint(checkpoints_)) return found->path;
  if (has_model) {
    throw Error(Kind::exists, fmt::format("{} holds a model and no checkpoint to resume; another --output "
                                          "leaves it alone",
                                          paths_.output.string()));
  }
  refuse_others_files();
  if (options_.resume) {
    base::log(base::Level::info, "no_checkpoint",
              {{"folder", checkpoints_.string()}, {"start", "from the beginning"}});
  }
  return {};
}

/// False if it was stopped.
bool Run::load_data() {
  auto found = base_.find_tokenizer();
  const text::Tokenizer* tokenizer = found ? &*found : nullptr;
  max_length_ = base_.max_length(options_.max_length, tokenizer);
  tasks::log_engine(format_, pool_.threads(), max_length_);
  Timed timed(here_.tokenize);
  auto load = [&](const Path& path, const data::Columns& columns, const KnownLabels& known, LoadedText& to) {
    auto loaded = load_text(path, columns, known, base_, tokenizer, max_length_.tokens, pool_, stop_);
    if (!loaded) return false;
    to = std::move(*loaded);
    base::log(base::Level::info, "data",
              {{"path", path.string()},
               {"schema", *to.source.find("schema")->string()},
               {"rows", to.examples.size()},
               {"labels", to.labels.size()}});
    return true;
  };
  KnownLabels of_model{base_.has_head() ? base_.labels() : std::vector<std::string>{}};
  if (!load(paths_.train, {options_.text, options_.text_pair, options_.label}, of_model, train_))
    return false;
  if (train_.labels.size() < 2) {
    throw Error(Kind::invalid, fmt::format("{}: all rows have the label {}; nothing to tell apart",
                                           paths_.train.string(), train_.labels[0]));
  }
  KnownLabels of_training{train_.labels, true};
  if (!paths_.validation.empty() && !load(paths_.validation, train_.columns, of_training, validation_))
    return false;
  steps_ = {.rows = train_.examples.size(),
            .rows_per_step = static_cast<uint32_t>(options_.batch_size * options_.gradient_accumulation),
            .epochs = options_.epochs};
  return true;
}

void Run::load_model() {
  models::BertConfig architecture = base_.architecture();
  architecture.labels = static_cast<int>(train_.labels.size());
  if (options_.dropout) {
    architecture.dropout = architecture.attention_dropout = architecture.head_dropout = *options_.dropout;
  }
  bool keep_head = base_.has_head() && base_.labels() == train_.labels &&
                   base_.score_function() == tasks::ScoreFunction::softmax;
  model_ = keep_head ? base_.load(architecture) : base_.load_with_fresh_head(architecture, options_.seed);
  TrainingPlan plan = make_training_plan(*model_, format_);
  check_memory(plan, train_.examples, options_, base::available_memory());
  for (nn::Weight* weight : nn::fields(*model_)) weight->own();
  trainer_ = std::make_unique<Trainer>(std::move(plan), options_, pool_);
  state_.recipe = recipe();
}

/// All that decides the bytes of the result.
Json Run::recipe() const {
  Json json = to_json(options_);
  json.set("precision", tasks::name(format_));
  json.set("cpu", nn::kernel::name(nn::kernel::choose_path()));
  json.set("max_length", max_length_.tokens);
  json.set("model", base_.checksum());
  json.set("train", fmt::format("{:08x}", train_.examples.checksum()));
  json.set("validation", fmt::format("{:08x}", validation_.examples.checksum()));
  return json;
}

void Run::resume() {
  state_ = read_state(*checkpoint_, state_.recipe);
  restore_trainer(*checkpoint_, state_, *trainer_, *model_);
  resumed_at_ = checkpointed_ = state_.step;
  resumed_from_ = state_.spent;
  base::log(base::Level::info, "resumed", {{"checkpoint", checkpoint_->string()}, {"step", state_.step}});
}

/// False if it was stopped midway; then nothing has changed.
bool Run::one_step() {
  int64_t step = state_.step;
  int epoch = steps_.epoch_of(step);
  if (order_.empty() || step % steps_.per_epoch() == 0)
    order_ = epoch_order(options_.seed, epoch, steps_.rows);
  auto rows = steps_.rows_of(step, order_);
  double rate = LinearSchedule(options_.learning_rate, options_.warmup_ratio, steps_.total()).at(step);
  std::optional<StepResult> result;
  {
    Timed timed(here_.steps);
    result = trainer_->step(train_.examples, rows, step, rate, stop_);
  }
  if (!result) return false;
  state_.epoch_loss += result->loss;
  state_.history += format::to_text(Json::object({{"epoch", epoch + 1},
                                                  {"step", step + 1},
                                                  {"loss", result->loss},
                                                  {"learning_rate", rate},
                                                  {"gradient_norm", result->gradient_norm}})) +
                    "\n";
  progress_->step(step, result->loss, rows.size(), here_.tokenize + here_.steps);
  here_.rows += static_cast<int64_t>(rows.size());
  state_.step++;
  return true;
}

/// Evaluates, records the epoch and writes a checkpoint. False if it was stopped midway; then nothing has changed.
bool Run::end_epoch() {
  int epoch = static_cast<int>(state_.step / steps_.per_epoch());
  Json record = Json::object({{"epoch", epoch},
                              {"step", state_.step},
                              {"loss", state_.epoch_loss / static_cast<double>(steps_.per_epoch())}});
  bool is_best = false;
  if (validation_.examples.size() > 0) {
    auto scores = evaluate();
    if (!scores) return false;
    Best now{epoch, scores->accuracy(), scores->mean_loss()};
    is_best = !state_.best || now.better_than(*state_.best);
    if (is_best) state_.best = now;
    record.set("validation", tasks::to_json(*scores, train_.labels));
    progress_->line(
        fmt::format("epoch={} validation_accuracy={:.4f} validation_macro_f1={:.4f} validation_loss={:.4f}",
                    epoch, scores->accuracy(), scores->macro_f1(), scores->mean_loss()));
  }
  state_.epochs.array()->push_back(std::move(record));
  state_.epoch_loss = 0;
  checkpoint(is_best);
  return true;
}

/// What the optimizer still owes to seldom used rows is its work, and so of its time.
void Run::settle() {
  Timed timed(here_.steps);
  trainer_->settle();
}

std::optional<tasks::Scores> Run::evaluate() {
  settle();
  Timed timed(here_.evaluate);
  if (inference_)
    inference_->refresh();
  else
    inference_ = std::make_unique<tasks::Inference>(*model_, format_, pool_);
  tasks::Scores scores(static_cast<int>(train_.labels.size()));
  tasks::PackedBatch batch;
  const Examples& examples = validation_.examples;
  for (uint32_t first = 0, row = 0; row < examples.size(); first = row) {
    if (stop_.stop_requested()) return {};
    batch.clear();
    for (; row < examples.size() &&
           (row == first || batch.tokens() + examples.length(row) <= kEvaluationTokens);
         row++) {
      batch.add(examples.input_ids(row), examples.type_ids(row));
    }
    auto logits = inference_->run(batch);
    for (uint32_t i = first; i < row; i++) {
      scores.add(examples.label(i), logits.subspan((i - first) * train_.labels.size(), train_.labels.size()));
    }
  }
  return scores;
}

void Run::checkpoint(bool is_best) {
  settle();
  Timed timed(here_.checkpoint);
  state_.spent = spent();
  checkpoint_ = save_checkpoint(checkpoints_, state_, *trainer_, *model_, is_best, checkpoint_);
  checkpointed_ = state_.step;
  progress_->clear();
  base::log(base::Level::info, "checkpoint", {{"step", state_.step}});
  prune_checkpoints(checkpoints_, kKeptCheckpoints);
}

Outcome Run::stopped() {
  if (checkpointed_ != state_.step) checkpoint(false);
  progress_->clear();
  base::log(base::Level::info, "stopped", {{"step", state_.step}, {"resume", "--resume"}});
  return Outcome::stopped;
}

void Run::finish() {
  if (resumed_at_ == steps_.total() && nn::holds_model(paths_.output) &&
      fs::exists(paths_.output / kLastWritten)) {
    base::log(base::Level::info, "finished_before", {{"output", paths_.output.string()}});
    return;
  }
  load_best(*checkpoint_, state_, *model_);
  if (fs::exists(paths_.output)) base::remove_unfinished(paths_.output);
  tasks::write_model_folder(paths_.output, base_, *model_, train_.labels, max_length_.tokens, train_.names);
  Json run = record();
  base::write_file_durably(paths_.output / "metrics.jsonl", state_.history);
  base::write_file_durably(paths_.output / "run.json", format::to_pretty_text(run));
  base::write_file_durably(paths_.output / kLastWritten, model_card(run));
}

/// Its folder; in a container that is just the channel, so where its configuration says that it comes from.
std::string Run::base_name() const {
  const Json* name = paths_.checkpoints.empty() ? nullptr : base_.config().find("_name_or_path");
  return name && name->string() && !name->string()->empty() ? *name->string() : base::name_of(paths_.model);
}

/// In this process and those before it, as far as their last checkpoint.
Spent Run::spent() const {
  Spent all = resumed_from_;
  all.total += base::seconds_since(start_);
  all.tokenize += here_.tokenize;
  all.steps += here_.steps;
  all.evaluate += here_.evaluate;
  all.checkpoint += here_.checkpoint;
  all.rows += here_.rows;
  if (all.started.empty()) all.started = here_.started;
  return all;
}

Json Run::record() const {
  Spent all = spent();
  double work = all.tokenize + all.steps;
  Json recipe = state_.recipe;
  const models::BertConfig& used = model_->body.config;
  recipe.set("dropout", used.dropout);
  recipe.set("attention_dropout", used.attention_dropout);
  recipe.set("head_dropout", used.head_dropout);
  Json json = Json::object({{"format", 1},
                            {"textmill", base::version()},
                            {"task", options_.task},
                            {"base_model", base_name()},
                            {"recipe", recipe},
                            {"labels", Json::array(train_.labels)},
                            {"train", train_.source}});
  if (!paths_.validation.empty()) json.set("validation", validation_.source);
  json.set("steps", state_.step);
  json.set("epochs", state_.epochs);
  if (state_.best) json.set("best_epoch", state_.best->epoch);
  json.set("threads", pool_.threads());
  json.set("started", all.started);
  json.set("resumed_at_step", resumed_at_);
  json.set("seconds", to_json(all));
  json.set("samples_per_second", work > 0 ? static_cast<double>(all.rows) / work : 0);
  return json;
}

}  // namespace

Outcome train(const TrainPaths& paths, const TrainOptions& options, std::stop_token stop) {
  check(options);
  std::error_code code;
  if (fs::equivalent(paths.output, paths.model, code)) {
    throw Error(Kind::invalid,
                fmt::format("{} is the model to start from; another --output leaves it as it is",
                            paths.output.string()));
  }
  Path checkpoints = paths.checkpoints.empty() ? paths.output / "checkpoints" : paths.checkpoints;
  std::optional<base::FileLock> lock;
  auto take = [&] {
    if (!fs::create_directories(checkpoints, code) && code)
      throw base::system_error(checkpoints.string(), code.value());
    lock.emplace(checkpoints / ".lock");
  };
  if (fs::exists(checkpoints, code)) take();
  Run run(paths, checkpoints, options, std::move(stop));
  if (!run.prepare()) return Outcome::stopped;
  if (!lock) {  // nothing was there, and nothing is wrong with the arguments
    take();
    run.look_again();
  }
  return run.train();
}

}  // namespace textmill::train
