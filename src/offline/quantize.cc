#include "offline/quantize.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <numeric>
#include <set>

#include "base/error.h"
#include "base/hash.h"
#include "base/log.h"
#include "offline/batches.h"
#include "tasks/inference.h"
#include "tasks/quantizable.h"
#include "tasks/unpad.h"

namespace textmill::offline {
namespace {

namespace fs = std::filesystem;
using base::Error, base::Kind;
using format::Json, format::JsonView;

constexpr int64_t kFormatVersion = 1;  // of the journal and of pareto.json
constexpr size_t kCalibrationRows = 64;
constexpr size_t kBatchRows = 64;
constexpr size_t kTimedRows = 48;  // one at a time; a latency is the median

struct Row {
  tasks::PackedItem item;
  int label = -1;
};

/// The rows of a search, tokenized.
struct Rows {
  std::vector<Row> evaluation;
  std::vector<tasks::PackedItem> calibration;
};

/// What one choice of layers gave.
struct Trial {
  std::string name;
  int kept = 0;              // layers in floating point: so many of those with the most noise
  std::vector<int> answers;  // a label a row
  double latency_ms = 0;
  int64_t bytes = 0;
};

class Search {
 public:
  Search(const QuantizeOptions& options, std::stop_token stop)
      : options_(options),
        stop_(std::move(stop)),
        folder_(options.model),
        tokenizer_(folder_.find_tokenizer()),
        max_length_(
            folder_.max_length(options.encoder.max_length, tokenizer_ ? &*tokenizer_ : nullptr).tokens),
        format_(tasks::choose_format(options.encoder.engine)),
        pool_(tasks::choose_threads(options.encoder.engine)) {
    if (folder_.quantization()) {
      throw Error(Kind::invalid, fmt::format("{}: is quantized already ({})", options.model.string(),
                                             folder_.quantization().scheme));
    }
  }

  Json run();

 private:
  void read_rows();
  tasks::PackedItem pack(const data::Example& row, const data::DatasetReader& reader) const;
  Json header() const;
  std::string rows_sha256() const;
  void open_journal();
  void note(const Trial& trial);
  const Trial& trial(int kept);
  Trial evaluate(std::string name, int kept, nn::Format format);
  std::vector<bool> choice(int kept) const;
  tasks::Paired paired(const Trial& trial) const;
  const tasks::Loss& loss(const Trial& trial);
  bool met(int kept) { return loss(trial(kept)).within >= options_.confidence; }
  int fewest_kept();
  Json result(int chosen, bool met);

  const QuantizeOptions& options_;
  std::stop_token stop_;
  tasks::ModelFolder folder_;
  std::optional<text::Tokenizer> tokenizer_;
  int max_length_;
  nn::Format format_;
  nn::kernel::Pool pool_;
  std::optional<tasks::Quantizable> model_;
  std::optional<int> positive_;
  Rows rows_;
  std::vector<int> order_;  // of layers, the most noise first
  Trial reference_;
  std::map<int, Trial> trials_;        // by layers kept
  std::map<int, tasks::Loss> losses_;  // of trials, once somebody asked
  Json journal_;
};

const char* layout_name(std::optional<nn::PackedLayout> layout) {
  return !layout ? "textmill" : layout == nn::PackedLayout::awq ? "awq" : "gptq";
}

tasks::PackedItem Search::pack(const data::Example& row, const data::DatasetReader& reader) const {
  if (!row.input_ids.empty()) return tasks::unpad(row, reader, folder_.architecture(), max_length_);
  if (!tokenizer_) folder_.tokenizer();  // throws what is missing
  auto encoding =
      tokenizer_->encode(row.text, row.text_pair, {.max_length = static_cast<size_t>(max_length_)});
  return {std::move(encoding.ids), std::move(encoding.type_ids)};
}

void Search::read_rows() {
  if (options_.positive) positive_ = label_id(folder_.labels(), *options_.positive, "--positive");
  data::DatasetReader reader(options_.data, options_.columns, true, data::Inputs::texts_or_ids);
  base::log(base::Level::info, "data", {{"schema", reader.schema().describe()}});
  for (data::Example row; reader.next(row);) {
    rows_.evaluation.push_back({pack(row, reader), label_id(folder_.labels(), *row.label, reader.where())});
  }
  if (!options_.calibration.empty()) {
    data::DatasetReader calibration(options_.calibration, options_.columns, false,
                                    data::Inputs::texts_or_ids);
    for (data::Example row; rows_.calibration.size() < kCalibrationRows && calibration.next(row);)
      rows_.calibration.push_back(pack(row, calibration));
  } else {
    size_t rows = std::min(kCalibrationRows, (rows_.evaluation.size() + 1) / 2);
    for (size_t i = 0; i < rows; i++) rows_.calibration.push_back(rows_.evaluation[i].item);
  }
  if (!options_.allow_overlap) {
    std::set<std::vector<int32_t>> seen;
    for (const auto& item : rows_.calibration) seen.insert(item.input_ids);
    std::erase_if(rows_.evaluation, [&](const Row& row) { return seen.contains(row.item.input_ids); });
  }
  if (rows_.evaluation.empty()) {
    throw Error(Kind::invalid,
                options_.data.string() + ": no row is left to evaluate beside the calibration rows");
  }
}

/// What must be equal for trials of an earlier run to count.
Json Search::header() const {
  return Json::object({{"model_sha256", folder_.checksum()},
                       {"rows_sha256", rows_sha256()},
                       {"scheme", options_.quantizable.scheme->name},
                       {"group_size", options_.quantizable.group},
                       {"layout", layout_name(options_.quantizable.layout)},
                       {"precision", tasks::name(format_)}});
}

/// Of all rows as the model sees them, so of whatever chose them: files, columns, the longest sequence.
std::string Search::rows_sha256() const {
  base::Sha256 sum;
  auto add = [&](const std::vector<int32_t>& numbers) {
    int64_t size = std::ssize(numbers);
    sum.update(std::as_bytes(std::span(&size, 1)));
    sum.update(std::as_bytes(std::span(numbers)));
  };
  auto add_item = [&](const tasks::PackedItem& item) {
    add(item.input_ids);
    add(item.type_ids);
  };
  for (const tasks::PackedItem& item : rows_.calibration) add_item(item);
  for (const Row& row : rows_.evaluation) {
    add_item(row.item);
    add({row.label});
  }
  return sum.hex_digest();
}

void Search::open_journal() {
  base::Path path = options_.output / "quantize.journal.json";
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
    for (int64_t answer : entry.at("answers").integers(0, std::ssize(folder_.labels()) - 1))
      trial.answers.push_back(static_cast<int>(answer));
    if (trial.answers.size() != rows_.evaluation.size()) entry.at("answers").fail("one a row");
    (trial.kept < 0 ? reference_ : trials_[trial.kept]) = trial;
  }
  base::log(base::Level::info, "resumed", {{"trials", std::ssize(trials_) + !reference_.answers.empty()}});
  journal_ = std::move(found);
}

void Search::note(const Trial& trial) {
  Json entry = Json::object({{"name", trial.name},
                             {"kept", trial.kept},
                             {"latency_ms", trial.latency_ms},
                             {"bytes", trial.bytes},
                             {"answers", Json::array(trial.answers)}});
  Json::Array trials = *journal_.find("trials")->array();
  trials.push_back(std::move(entry));
  journal_.set("trials", std::move(trials));
  base::write_file_durably(options_.output / "quantize.journal.json", format::to_text(journal_));
}

std::vector<bool> Search::choice(int kept) const {
  std::vector<bool> quantized(model_->layers(), true);
  for (int i = 0; i < kept; i++) quantized[order_[i]] = false;
  return quantized;
}

/// Runs all rows with the model as it is held.
Trial Search::evaluate(std::string name, int kept, nn::Format format) {
  Trial trial{.name = std::move(name), .kept = kept, .bytes = model_->bytes()};
  tasks::Inference inference(model_->model(), format, pool_);
  tasks::PackedBatch batch;
  size_t labels = folder_.labels().size();
  for (size_t first = 0; first < rows_.evaluation.size(); first += kBatchRows) {
    if (stop_.stop_requested()) throw Error(Kind::cancelled, "stopped; the same command goes on from here");
    batch.clear();
    size_t end = std::min(first + kBatchRows, rows_.evaluation.size());
    for (size_t i = first; i < end; i++)
      batch.add(rows_.evaluation[i].item.input_ids, rows_.evaluation[i].item.type_ids);
    auto logits = inference.run(batch);
    for (size_t i = 0; i < end - first; i++)
      trial.answers.push_back(tasks::best_label(logits.subspan(i * labels, labels)));
  }
  std::vector<double> times;
  for (size_t i = 0; i < std::min(kTimedRows, rows_.evaluation.size()); i++) {
    batch.clear();
    batch.add(rows_.evaluation[i].item.input_ids, rows_.evaluation[i].item.type_ids);
    auto start = std::chrono::steady_clock::now();
    inference.run(batch);
    times.push_back(
        std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count());
  }
  std::nth_element(times.begin(), times.begin() + std::ssize(times) / 2, times.end());
  trial.latency_ms = times[times.size() / 2];
  note(trial);
  return trial;
}

const Trial& Search::trial(int kept) {
  auto found = trials_.find(kept);
  if (found == trials_.end()) {
    model_->hold(choice(kept), true);
    std::string name = kept == 0 ? fmt::format("all layers in {} bits", options_.quantizable.scheme->bits)
                                 : fmt::format("{} layers in {}", kept, tasks::name(format_));
    found = trials_.emplace(kept, evaluate(name, kept, format_)).first;
    tasks::Loss measured = loss(found->second);
    base::log(base::Level::info, "trial",
              {{"trial", name},
               {tasks::name(options_.metric), measured.candidate},
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
    pairs.add(rows_.evaluation[i].label, reference_.answers[i], trial.answers[i]);
  return pairs;
}

const tasks::Loss& Search::loss(const Trial& trial) {
  auto found = losses_.find(trial.kept);
  if (found == losses_.end()) {
    tasks::Loss measured = paired(trial).loss(options_.metric, options_.relative, options_.max_loss);
    found = losses_.emplace(trial.kept, measured).first;
  }
  return found->second;
}

/// The fewest layers in floating point that keep the goal, if more of them never lose more; all, if none do.
int Search::fewest_kept() {
  int all = static_cast<int>(model_->layers());
  if (met(0)) return 0;
  if (!met(all)) return all;
  int misses = 0, meets = all;
  while (meets - misses > 1) {
    int middle = std::midpoint(misses, meets);
    (met(middle) ? meets : misses) = middle;
  }
  return meets;
}

Json Search::run() {
  read_rows();
  fs::create_directories(options_.output);
  base::FileLock lock(options_.output / ".lock");
  open_journal();
  model_.emplace(folder_, options_.quantizable, rows_.calibration, pool_);
  order_.resize(model_->layers());
  std::iota(order_.begin(), order_.end(), 0);
  std::stable_sort(order_.begin(), order_.end(),
                   [&](int a, int b) { return model_->noise(a) > model_->noise(b); });
  if (reference_.answers.empty()) {
    model_->hold(std::vector<bool>(model_->layers()), false);
    reference_ = evaluate("f32", -1, nn::Format::f32);
  }
  int chosen = fewest_kept();
  bool reached = met(chosen);
  if (!reached) {  // the nearest
    for (const auto& [kept, trial] : trials_) {
      if (loss(trial).loss < loss(trials_.at(chosen)).loss) chosen = kept;
    }
  }
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
                                   {"agreement", paired(trial).agreement()},
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
                       {"goal", Json::object({{"metric", tasks::name(options_.metric)},
                                              {"max_loss", options_.max_loss},
                                              {"relative", options_.relative},
                                              {"confidence", options_.confidence}})},
                       {"loss", loss.loss},
                       {"gap", std::max(0.0, loss.loss - options_.max_loss)},
                       {"rows", rows_.evaluation.size()},
                       {"calibration_rows", rows_.calibration.size()},
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
