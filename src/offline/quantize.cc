#include "offline/quantize.h"

#include <fmt/format.h>

#include <algorithm>
#include <climits>
#include <filesystem>
#include <map>
#include <numeric>
#include <tuple>

#include "base/error.h"
#include "base/log.h"
#include "offline/batches.h"
#include "offline/trials.h"
#include "tasks/quantizable.h"

namespace textmill::offline {
namespace {

namespace fs = std::filesystem;
using base::Error, base::Kind;
using format::Json, format::JsonView;

constexpr int64_t kFormatVersion = 2;  // of the journal and of pareto.json; 1 had no embedders

/// What one choice of layers gave.
struct Trial {
  std::string name;
  int kept = 0;                 // layers in floating point: so many of those with the most noise
  std::vector<double> answers;  // Trials::answers
  double latency_ms = 0;
  int64_t bytes = 0;
};

class Search {
 public:
  Search(const QuantizeOptions& options, std::stop_token stop)
      : options_(options),
        stop_(std::move(stop)),
        folder_(options.model),
        format_(tasks::choose_format(options.encoder.engine)),
        pool_(tasks::choose_threads(options.encoder.engine)) {
    check_metric();
    folder_.require_built_head();
    if (folder_.quantization()) {
      throw Error(Kind::invalid, fmt::format("{}: is quantized already ({})", options.model.string(),
                                             folder_.quantization().scheme));
    }
  }

  Json run();

 private:
  bool embeds() const { return !folder_.has_head(); }
  /// Of items of a calibration.
  size_t rows_of(size_t items) const { return embeds() ? (items + 1) / 2 : items; }
  void check_metric();
  base::Path journal_file() const { return options_.output / "quantize.journal.json"; }
  Json header() const;
  void open_journal();
  std::vector<double> read_answers(const JsonView& view) const;
  void note(const Trial& trial);
  const Trial& trial(int kept, Prefix* next = nullptr);
  Trial evaluate(std::string name, int kept, nn::Format format, Prefix* next = nullptr);
  std::vector<bool> choice(int kept) const;
  int layers_before(int first, int end) const;
  tasks::Paired paired(const Trial& trial) const;
  double agreement(const Trial& trial) const;
  const tasks::Loss& loss(const Trial& trial);
  bool met(int kept, Prefix* next = nullptr) { return loss(trial(kept, next)).within >= options_.confidence; }
  double gap(const tasks::Loss& loss) const {
    return loss.loss > options_.max_loss + tasks::kLossRounding ? loss.loss - options_.max_loss : 0;
  }
  int fewest_kept();
  void check_reference();
  void warn_of_few_rows(const tasks::Loss& loss) const;
  Json result(int chosen, bool met);

  const QuantizeOptions& options_;
  std::stop_token stop_;
  tasks::ModelFolder folder_;
  nn::Format format_;
  nn::kernel::Pool pool_;
  tasks::Metric metric_ = tasks::Metric::accuracy;
  std::optional<tasks::Quantizable> model_;
  std::optional<int> positive_;
  SearchRows rows_;
  std::optional<Trials> runs_;
  Prefix prefix_;           // that all trials to come have
  std::vector<int> order_;  // of layers, the most noise first
  Trial reference_;
  std::map<int, Trial> trials_;        // by layers kept
  std::map<int, tasks::Loss> losses_;  // of trials, once somebody asked
  Json journal_;
};

const char* layout_name(std::optional<nn::PackedLayout> layout) {
  return !layout ? "textmill" : layout == nn::PackedLayout::awq ? "awq" : "gptq";
}

void Search::check_metric() {
  metric_ = options_.metric.value_or(embeds() ? tasks::Metric::spearman : tasks::Metric::accuracy);
  if (embeds() != (metric_ == tasks::Metric::spearman)) {
    throw Error(Kind::invalid,
                fmt::format("--metric {}: {} {}", tasks::name(metric_), options_.model.string(),
                            embeds() ? "has no classification head: it embeds, which spearman measures"
                                     : "is a classifier; spearman measures a folder without a head"));
  }
  // Of more labels than two none is the positive one.
  if (metric_ == tasks::Metric::f1 && !options_.positive && folder_.labels().size() != 2)
    metric_ = tasks::Metric::macro_f1;
}

/// What must be equal for trials of an earlier run to count.
Json Search::header() const {
  return Json::object({{"model_sha256", folder_.checksum()},
                       {"rows_sha256", sha256_of(rows_)},
                       {"scheme", options_.quantizable.scheme->name},
                       {"group_size", options_.quantizable.group},
                       {"layout", layout_name(options_.quantizable.layout)},
                       {"precision", tasks::name(format_)}});
}

void Search::open_journal() {
  base::Path path = journal_file();
  journal_ =
      Json::object({{"format_version", kFormatVersion}, {"search", header()}, {"trials", Json::Array()}});
  if (!fs::exists(path)) {
    if (fs::exists(options_.output / "config.json")) {
      throw Error(Kind::in_use, options_.output.string() + ": holds a model; give another output");
    }
    return;
  }
  Json found = format::read_json(path);
  JsonView view(found, path.string());
  if (view.at("format_version").integer(1) > kFormatVersion) {
    view.at("format_version").fail(fmt::format("at most {}", kFormatVersion));
  }
  if (view.at("search").value() != *journal_.find("search")) {
    view.at("search").fail("the same model, data and precision as now, or another output");
  }
  for (const JsonView& entry : view.at("trials").array()) {
    Trial trial{.name = entry.at("name").string(),
                .kept = static_cast<int>(entry.at("kept").integer(-1)),
                .latency_ms = entry.at("latency_ms").number(),
                .bytes = entry.at("bytes").integer(0)};
    trial.answers = read_answers(entry.at("answers"));
    if (trial.answers.size() != rows_.evaluation.size()) entry.at("answers").fail("one a row");
    (trial.kept < 0 ? reference_ : trials_[trial.kept]) = trial;
  }
  base::log(base::Level::info, "resumed", {{"trials", std::ssize(trials_) + !reference_.answers.empty()}});
  journal_ = std::move(found);
}

std::vector<double> Search::read_answers(const JsonView& view) const {
  std::vector<double> answers;
  if (embeds()) {
    for (const JsonView& answer : view.array()) answers.push_back(answer.number());
  } else {
    for (int64_t label : view.integers(0, std::ssize(folder_.labels()) - 1))
      answers.push_back(static_cast<double>(label));
  }
  return answers;
}

void Search::note(const Trial& trial) {
  std::vector<int64_t> labels(trial.answers.begin(), trial.answers.end());
  Json entry = Json::object({{"name", trial.name},
                             {"kept", trial.kept},
                             {"latency_ms", trial.latency_ms},
                             {"bytes", trial.bytes},
                             {"answers", embeds() ? Json::array(trial.answers) : Json::array(labels)}});
  Json::Array trials = *journal_.find("trials")->array();
  trials.push_back(std::move(entry));
  journal_.set("trials", std::move(trials));
  base::write_file_durably(journal_file(), format::to_text(journal_));
}

std::vector<bool> Search::choice(int kept) const {
  std::vector<bool> quantized(model_->layers(), true);
  for (int i = 0; i < kept; i++) quantized[order_[i]] = false;
  return quantized;
}

/// Runs all rows with the model as it is held; fills `next` (Trials::answers). The reference, in f32, comes before there is
/// a prefix.
Trial Search::evaluate(std::string name, int kept, nn::Format format, Prefix* next) {
  Trial trial{.name = std::move(name), .kept = kept, .bytes = model_->bytes()};
  trial.answers = runs_->answers(format, prefix_, next);
  trial.latency_ms = runs_->milliseconds_a_row(format);
  note(trial);
  return trial;
}

const Trial& Search::trial(int kept, Prefix* next) {
  auto found = trials_.find(kept);
  if (found == trials_.end()) {
    model_->hold(choice(kept), true);
    std::string name = kept == 0 ? fmt::format("all layers in {} bits", options_.quantizable.scheme->bits)
                                 : fmt::format("{} layers in {}", kept, tasks::name(format_));
    found = trials_.emplace(kept, evaluate(name, kept, format_, next)).first;
    tasks::Loss measured = loss(found->second);
    base::log(base::Level::info, "trial",
              {{"trial", name},
               {tasks::name(metric_), measured.candidate},
               {"loss", measured.loss},
               {"loss_95_low", measured.low},
               {"loss_95_high", measured.high},
               {"latency_ms", found->second.latency_ms}});
  }
  return found->second;
}

/// With the reference's answers.
tasks::Paired Search::paired(const Trial& trial) const {
  tasks::Paired pairs(static_cast<int>(folder_.labels().size()), positive_);
  for (size_t i = 0; i < rows_.evaluation.size(); i++)
    pairs.add(static_cast<int>(rows_.evaluation[i].target), static_cast<int>(reference_.answers[i]),
              static_cast<int>(trial.answers[i]));
  return pairs;
}

/// The share of labels that are the reference's; of an embedder the rank correlation of its cosines with those.
double Search::agreement(const Trial& trial) const {
  return embeds() ? tasks::spearman(reference_.answers, trial.answers) : paired(trial).agreement();
}

const tasks::Loss& Search::loss(const Trial& trial) {
  auto found = losses_.find(trial.kept);
  if (found == losses_.end()) {
    std::vector<double> targets;
    for (const SearchRow& row : rows_.evaluation) targets.push_back(row.target);
    tasks::Loss measured = embeds() ? tasks::rank_loss(targets, reference_.answers, trial.answers,
                                                       options_.relative, options_.max_loss)
                                    : paired(trial).loss(metric_, options_.relative, options_.max_loss);
    found = losses_.emplace(trial.kept, measured).first;
  }
  return found->second;
}

/// How many of the encoder's layers come before all of order_[first, end).
int Search::layers_before(int first, int end) const {
  int layers = INT_MAX;
  for (int i = first; i < end; i++) layers = std::min(layers, model_->block(order_[i]));
  return layers;
}

/// The fewest layers in floating point that keep the goal, if more of them never lose more; all, if none do. They need not: where
/// all miss it, parts are looked at. Trials differ in those between `misses` and `meets` alone: what comes before all of these
/// is run once.
int Search::fewest_kept() {
  int all = static_cast<int>(model_->layers());
  if (met(0)) return 0;
  int misses = 0, meets = 0;
  for (int kept : {all, all / 2, all / 4, all - all / 4}) {
    if (meets = kept; met(kept)) break;
    meets = 0;
  }
  if (meets == 0) return all;
  while (meets - misses > 1) {
    int middle = std::midpoint(misses, meets);
    Prefix next{.layers = std::max(layers_before(misses, middle), layers_before(middle, meets)),
                .states = {}};
    (met(middle, &next) ? meets : misses) = middle;
    if (!next.states.empty() && next.layers <= layers_before(misses, meets)) prefix_ = std::move(next);
  }
  return meets;
}

void Search::check_reference() {
  double value = loss(reference_).reference;
  if (!options_.relative || value > 0) return;
  throw Error(Kind::invalid,
              fmt::format("{} in f32 is {}: no share of it can be lost; give --max-loss-absolute",
                          tasks::name(metric_), value));
}

/// What was measured decides, unless --confidence asks for more: these rows cannot tell whether others would say the same.
void Search::warn_of_few_rows(const tasks::Loss& loss) const {
  if (loss.low > options_.max_loss || loss.high <= options_.max_loss) return;
  base::log(
      base::Level::warning, "too_few_rows",
      {{"rows", rows_.evaluation.size()},
       {"max_loss", options_.max_loss},
       {"loss_95_low", loss.low},
       {"loss_95_high", loss.high},
       {"within_goal", loss.within},
       {"reason", "the 95 % interval of the loss holds the goal: more rows decide, or --confidence 0.95"}});
}

Json Search::run() {
  if (options_.positive) positive_ = label_id(folder_.labels(), *options_.positive, "--positive");
  rows_ = read_search_rows(options_, folder_);
  fs::create_directories(options_.output);
  base::FileLock lock(options_.output / ".lock");
  open_journal();
  model_.emplace(folder_, options_.quantizable, rows_.calibration, pool_, stop_);
  order_.resize(model_->layers());
  if (!trials_.empty() && trials_.rbegin()->first > std::ssize(order_))
    throw Error(Kind::invalid, fmt::format("{}: a trial keeps {} layers, of a model that has {}",
                                           journal_file().string(), trials_.rbegin()->first, order_.size()));
  if (size_t used = model_->calibrated(); used < rows_.calibration.size()) {
    base::log(base::Level::warning, "calibration_cut",
              {{"rows", rows_of(used)},
               {"of", rows_of(rows_.calibration.size())},
               {"reason", "all layers' inputs are held at once, in 1 GiB"}});
  }
  runs_.emplace(model_->model(), model_->pooling(), rows_.evaluation, pool_, stop_);
  std::iota(order_.begin(), order_.end(), 0);
  std::stable_sort(order_.begin(), order_.end(),
                   [&](int a, int b) { return model_->noise(a) > model_->noise(b); });
  if (reference_.answers.empty()) {
    model_->hold(std::vector<bool>(model_->layers()), false);
    reference_ = evaluate("f32", -1, nn::Format::f32);
  }
  check_reference();
  int chosen = fewest_kept();
  bool reached = loss(trials_.at(chosen)).within >= options_.confidence;
  if (!reached) {
    auto distance = [&](int kept) {
      const tasks::Loss& of = loss(trials_.at(kept));
      return std::tuple(-of.within, gap(of), kept);
    };
    for (const auto& [kept, trial] : trials_) {
      if (distance(kept) < distance(chosen)) chosen = kept;
    }
  }
  warn_of_few_rows(loss(trials_.at(chosen)));
  Json found = result(chosen, reached);
  base::write_file_durably(options_.output / "pareto.json", format::to_pretty_text(found));
  base::write_file_durably(options_.output / "pareto.html", pareto_page(found));
  model_->hold(choice(chosen), true);
  model_->write(options_.output);
  return found;
}

/// No other trial is at least as good in all three, and better in one.
bool is_best(const Json& trial, const Json::Array& trials) {
  auto figure = [](const Json& of, const char* name) { return JsonView(of, "trial").at(name).number(); };
  return std::none_of(trials.begin(), trials.end(), [&](const Json& other) {
    double better = 0;
    for (auto [name, sign] : {std::pair{"value", 1.0}, {"latency_ms", -1.0}, {"bytes", -1.0}}) {
      double difference = sign * (figure(other, name) - figure(trial, name));
      if (difference < 0) return false;
      better += difference;
    }
    return better > 0;
  });
}

Json Search::result(int chosen, bool met) {
  Json::Array trials, layers;
  auto add = [&](const Trial& trial) {
    const tasks::Loss& loss = this->loss(trial);
    std::vector<std::string> kept;
    for (int i = 0; i < trial.kept; i++) kept.push_back(model_->layer(order_[i]));
    trials.push_back(Json::object({{"name", trial.name},
                                   {"value", loss.candidate},
                                   {"loss", loss.loss},
                                   {"loss_95", Json::array(std::vector{loss.low, loss.high})},
                                   {"within_goal", loss.within},
                                   {"agreement", agreement(trial)},
                                   {"latency_ms", trial.latency_ms},
                                   {"bytes", trial.bytes},
                                   {"in_floating_point", Json::array(kept)},
                                   {"chosen", trial.kept == chosen}}));
  };
  add(reference_);
  for (const auto& [kept, trial] : trials_) add(trial);
  for (Json& trial : trials) trial.set("pareto", is_best(trial, trials));
  for (int layer : order_)
    layers.push_back(Json::object({{"layer", model_->layer(layer)}, {"noise", model_->noise(layer)}}));
  const tasks::Loss& loss = this->loss(trials_.at(chosen));
  return Json::object({{"format_version", kFormatVersion},
                       {"met", met},
                       {"goal", Json::object({{"metric", tasks::name(metric_)},
                                              {"max_loss", options_.max_loss},
                                              {"relative", options_.relative},
                                              {"confidence", options_.confidence}})},
                       {"loss", loss.loss},
                       {"gap", gap(loss)},
                       {"within_goal", loss.within},
                       {"rows", rows_.evaluation.size()},
                       {"calibration_rows", rows_of(model_->calibrated())},
                       {"scheme", options_.quantizable.scheme->name},
                       {"precision", tasks::name(format_)},
                       {"threads", pool_.threads()},
                       {"trials", std::move(trials)},
                       {"layers", std::move(layers)}});
}

}  // namespace

Json quantize(const QuantizeOptions& options, std::stop_token stop) {
  return Search(options, std::move(stop)).run();
}

}  // namespace textmill::offline
