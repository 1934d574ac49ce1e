#include "tasks/model_folder.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <set>

#include "base/checksum.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/log.h"
#include "format/archive.h"
#include "nn/checkpoint.h"
#include "tasks/columns.h"
#include "tasks/labels.h"

namespace textmill::tasks {
namespace {

namespace fs = std::filesystem;
using base::Error;
using base::Kind;
using base::Path;
using format::Json;
using format::JsonView;

constexpr const char* kTokenizerFiles[] = {"tokenizer.json",    "tokenizer_config.json",
                                           "vocab.txt",         "special_tokens_map.json",
                                           "added_tokens.json", "vocab.json",
                                           "merges.txt",        "sentencepiece.bpe.model"};
constexpr const char* kSentenceConfig = "sentence_bert_config.json";

/// transformers' class with a classification head.
struct Architecture {
  const char *model_type, *name;
};
constexpr Architecture kArchitectures[] = {{"bert", "BertForSequenceClassification"},
                                           {"distilbert", "DistilBertForSequenceClassification"},
                                           {"roberta", "RobertaForSequenceClassification"},
                                           {"xlm-roberta", "XLMRobertaForSequenceClassification"},
                                           {"camembert", "CamembertForSequenceClassification"}};

/// transformers' class of the folder, if it ends in a head that is not built. Those of pretraining go with the body: they
/// answer nothing that is asked here, and their encoders are what people embed with.
std::string read_other_head(const JsonView& config) {
  auto list = config.find("architectures");
  auto names = list ? list->strings() : std::vector<std::string>{};
  size_t at = names.empty() ? std::string::npos : names[0].rfind("For");
  if (at == std::string::npos) return {};
  std::string task = names[0].substr(at);
  bool built = task == "ForSequenceClassification" || task == "ForMaskedLM" || task == "ForPreTraining";
  return built ? "" : names[0];
}

std::vector<std::string> read_labels(const JsonView& config, int count) {
  std::vector<std::string> labels(count);
  for (int id = 0; id < count; id++) labels[id] = fmt::format("LABEL_{}", id);
  auto names = config.find("id2label");
  if (!names) return labels;
  for (const auto& [key, label] : names->object()) {
    size_t id = 0;
    for (char c : key) id = c >= '0' && c <= '9' && id < labels.size() ? id * 10 + (c - '0') : labels.size();
    if (key.empty() || id >= labels.size()) label.fail(fmt::format("ids from 0 to {}", count - 1));
    labels[id] = label.value().integer() ? to_text(label.value()) : label.string();
  }
  std::set<std::string_view> seen;
  for (const std::string& label : labels)
    if (!seen.insert(label).second) names->fail(fmt::format("a name for each label; two are '{}'", label));
  return labels;
}

/// If it is there.
void copy_file(const ModelFolder& from, const Path& name, const Path& to) {
  Path file = from.folder() / name;
  if (!fs::exists(file)) return;
  fs::create_directories((to / name).parent_path());
  base::write_file_durably(to / name, base::MappedFile(file).text());
}

void copy_tokenizer(const ModelFolder& from, const Path& to) {
  for (const char* name : kTokenizerFiles) copy_file(from, name, to);
}

std::vector<Path> weight_files(const Path& folder) {
  std::vector<Path> files;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() == ".safetensors") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

/// "bert": what a bare encoder's checkpoint leaves out of the names.
std::string body_name(std::span<nn::Weight* const> weights) {
  return weights[0]->name.substr(0, weights[0]->name.find('.'));
}

/// As the tensors' names have them: "encoder.layer.N.".
int count_layers(const nn::Safetensors& stored) {
  constexpr std::string_view kLayer = ".layer.";
  int layers = 0;
  for (const auto& [name, tensor] : stored.tensors()) {
    size_t at = name.find(kLayer);
    if (at != std::string::npos) layers = std::max(layers, std::atoi(name.c_str() + at + kLayer.size()) + 1);
  }
  return layers;
}

/// Without those of the head.
std::vector<nn::Weight*> body_fields(models::TextClassifier& model) {
  auto body = nn::fields(model), head = nn::fields(model.head);
  std::erase_if(body,
                [&](auto* weight) { return std::find(head.begin(), head.end(), weight) != head.end(); });
  return body;
}

constexpr const char* kNotBuilt = "the tokenizer of this model type is not built";

Error no_tokenizer(const Path& model, const char* why) {
  return {
      Kind::invalid,
      fmt::format("{}: {}; give input_ids: JSON lines {{\"input_ids\": [0, ...], \"label\": ...}}, or to a "
                  "server {{\"instances\": [{{\"input_ids\": [0, ...]}}]}}",
                  model.string(), why)};
}

/// The configuration of a classifier with these labels, as transformers writes it.
Json config_for(Json config, const std::vector<std::string>& labels, const data::Columns& columns) {
  std::string type = JsonView(config, "config.json").at("model_type").string();
  for (const auto& [model_type, name] : kArchitectures) {
    if (type == model_type) config.set("architectures", Json::array(std::vector{name}));
  }
  // What transformers once wrote of the folder that it had loaded: it names the base of the base.
  std::erase_if(*config.object(), [](const auto& member) { return member.name == "_name_or_path"; });
  Json maps = label_maps(labels);
  for (auto& [name, map] : *maps.object()) config.set(name, std::move(map));
  config.set("problem_type", "single_label_classification");
  set_columns(config, columns);
  if (config.find("num_labels")) config.set("num_labels", labels.size());
  for (const char* dtype : {"dtype", "torch_dtype"}) {
    if (config.find(dtype)) config.set(dtype, "float32");
  }
  return config;
}

}  // namespace

ModelFolder::ModelFolder(const Path& path) : path_(path), folder_(path) {
  if (!fs::exists(path)) throw Error(Kind::not_found, path.string() + ": no such model folder or archive");
  if (!fs::is_directory(path)) {
    unpacked_ = std::make_unique<base::TemporaryFolder>("textmill-model");
    format::extract_archive(path, unpacked_->path());
    folder_ = unpacked_->path();
  }
  if (!fs::exists(folder_ / "config.json")) {
    throw Error(Kind::invalid, path.string() + ": holds no config.json, so it is no model folder");
  }
  config_ = format::read_json(folder_ / "config.json");
  JsonView config(config_, (path / "config.json").string());
  architecture_ = models::bert_config(config);
  labels_ = read_labels(config, architecture_.labels);
  quantization_ = read_quantization(config, folder_);
  problem_type_ = config.get_string("problem_type", "");
  if (!nn::holds_model(folder_)) {
    const char* other = fs::exists(folder_ / "pytorch_model.bin")
                            ? " (pytorch_model.bin is not read: save it again with transformers)"
                            : "";
    throw Error(Kind::invalid, fmt::format("{}: holds no model.safetensors{}", path.string(), other));
  }
  stored_ = std::make_unique<nn::Safetensors>(folder_);
  models::ClassifierHead head(architecture_);
  nn::fields(head);  // names the weights
  other_head_ = read_other_head(config);
  has_head_ = other_head_.empty() && stored_->find(head.out.weight.name) != nullptr;
  if (int stored = count_layers(*stored_); stored > architecture_.layers)
    base::log(base::Level::warning, "unread_layers",
              {{"model", path.string()}, {"stored", stored}, {"num_hidden_layers", architecture_.layers}});
}

ScoreFunction ModelFolder::score_function() const {
  if (problem_type_ == "regression") return ScoreFunction::none;
  bool chooses_one = problem_type_ != "multi_label_classification" && labels_.size() > 1;
  return chooses_one ? ScoreFunction::softmax : ScoreFunction::sigmoid;
}

std::string ModelFolder::checksum() const {
  base::Sha256 sum;
  sum.update(base::read_file(folder_ / "config.json"));
  for (const Path& file : weight_files(folder_)) sum.update(base::MappedFile(file).text());
  return sum.hex_digest();
}

std::optional<nn::PackedCache> ModelFolder::packed_cache() const {
  if (unpacked_) return {};
  // What packed numbers mean stands in the configuration.
  std::string config = format::to_text(config_);
  uint64_t sum = base::crc64nvme(std::as_bytes(std::span(config)));
  std::vector<Path> files = weight_files(folder_);
  if (Path gptq = folder_ / "quantize_config.json"; fs::exists(gptq)) files.push_back(gptq);
  for (const Path& file : files) sum = base::crc64nvme(base::MappedFile(file).bytes(), sum);
  return nn::PackedCache{folder_, sum};
}

void ModelFolder::require_built_head() const {
  if (other_head_.empty()) return;
  throw Error(Kind::invalid,
              fmt::format("{}: architectures: \"{}\": its head is not built; `textmill train` makes a "
                          "text classifier of its encoder",
                          (path_ / "config.json").string(), other_head_));
}

std::unique_ptr<models::TextClassifier> ModelFolder::load() const {
  require_built_head();
  if (!has_head_) {
    throw Error(Kind::invalid,
                path_.string() + ": a bare encoder, without a classification head; train it first");
  }
  return load_all(architecture_);
}

SentenceModules ModelFolder::sentence_modules() const {
  return has_head_ ? SentenceModules{} : read_sentence_modules(folder_);
}

std::unique_ptr<models::TextClassifier> ModelFolder::load_encoder() const {
  require_built_head();
  if (has_head_) return load_all(architecture_);
  auto model = std::make_unique<models::TextClassifier>(architecture_);
  auto body = body_fields(*model);
  nn::require_weights(nn::load_weights(body, *stored_, body_name(body), quantization_.packing), *stored_);
  return model;
}

void ModelFolder::require_trainable() const {
  if (!quantization_) return;
  throw Error(Kind::invalid, fmt::format("{}: is quantized ({}); train the model that it was made from",
                                         path_.string(), quantization_.scheme));
}

std::unique_ptr<models::TextClassifier> ModelFolder::load(const models::BertConfig& architecture) const {
  require_trainable();
  return load_all(architecture);
}

std::unique_ptr<models::TextClassifier> ModelFolder::load_all(const models::BertConfig& architecture) const {
  auto model = std::make_unique<models::TextClassifier>(architecture);
  auto weights = nn::fields(*model);
  nn::require_weights(nn::load_weights(weights, *stored_, body_name(weights), quantization_.packing),
                      *stored_);
  return model;
}

std::unique_ptr<models::TextClassifier> ModelFolder::load_with_fresh_head(
    const models::BertConfig& architecture, uint64_t seed) const {
  require_trainable();
  auto model = std::make_unique<models::TextClassifier>(architecture);
  auto body = body_fields(*model), head = nn::fields(model->head);
  nn::require_weights(nn::load_weights(body, *stored_, body_name(body)), *stored_);

  std::vector<nn::Weight*> fresh{&model->head.out.weight, &model->head.out.bias};
  std::erase_if(head,
                [&](auto* weight) { return std::find(fresh.begin(), fresh.end(), weight) != fresh.end(); });
  for (nn::Weight* weight : nn::load_weights(head, *stored_, body_name(body))) fresh.push_back(weight);
  JsonView config(config_, (path_ / "config.json").string());
  nn::initialize_weights(fresh, config.get_number("initializer_range", 0.02), seed);

  std::vector<std::string> names;
  for (const nn::Weight* weight : fresh) names.push_back(weight->name);
  base::log(base::Level::info, "fresh_weights",
            {{"model", path_.string()}, {"tensors", fmt::format("{}", fmt::join(names, ", "))}});
  return model;
}

std::optional<text::Tokenizer> ModelFolder::find_tokenizer() const {
  bool known = architecture_.family != models::BertConfig::Family::roberta &&
               (fs::exists(folder_ / "tokenizer.json") || fs::exists(folder_ / "vocab.txt"));
  if (!known) return {};
  text::Tokenizer tokenizer = text::Tokenizer::load(folder_);
  if (tokenizer.vocab_size() > architecture_.vocab) {
    throw Error(Kind::invalid,
                fmt::format("{}: the tokenizer has {} tokens, but vocab_size in config.json is {}",
                            path_.string(), tokenizer.vocab_size(), architecture_.vocab));
  }
  return tokenizer;
}

text::Tokenizer ModelFolder::tokenizer() const {
  auto tokenizer = find_tokenizer();
  if (tokenizer) return std::move(*tokenizer);
  bool roberta = architecture_.family == models::BertConfig::Family::roberta;
  throw no_tokenizer(path_, roberta ? kNotBuilt : "holds neither tokenizer.json nor vocab.txt");
}

text::Tokenizer load_tokenizer(const Path& folder) {
  if (Path file = folder / "config.json"; fs::exists(file)) {
    Json config = format::read_json(file);
    std::string type = JsonView(config, file.string()).get_string("model_type", "");
    if (models::bert_family(type) == models::BertConfig::Family::roberta)
      throw no_tokenizer(folder, kNotBuilt);
  }
  return text::Tokenizer::load(folder);
}

MaxLength ModelFolder::max_length(std::optional<int> flag, const text::Tokenizer* tokenizer) const {
  int most = architecture_.max_length();
  if (flag && *flag > most) {
    throw Error(Kind::invalid,
                fmt::format("max-length {}: {} has only {} positions", *flag, path_.string(), most));
  }
  if (flag) return {*flag, "max-length"};
  auto at_most = [&](int64_t tokens, const char* source) {
    return MaxLength{static_cast<int>(std::min<int64_t>(tokens, most)), source};
  };
  if (Path file = folder_ / kSentenceConfig; fs::exists(file)) {
    Json json = format::read_json(file);
    if (auto found = JsonView(json, (path_ / kSentenceConfig).string()).find("max_seq_length")) {
      return at_most(found->integer(1), kSentenceConfig);
    }
  }
  if (tokenizer && tokenizer->file_max_length()) return at_most(*tokenizer->file_max_length(), "tokenizer");
  return at_most(most, "config.json");
}

std::optional<std::string> model_file_in(const Path& folder) {
  std::vector<const char*> names{"config.json", kSentenceConfig, "modules.json"};
  names.insert(names.end(), std::begin(kTokenizerFiles), std::end(kTokenizerFiles));
  for (const char* name : names)
    if (fs::exists(folder / name)) return name;
  return {};
}

void write_quantized_folder(const Path& to, const ModelFolder& base, models::TextClassifier& model,
                            const Json& quantization) {
  fs::create_directories(to);
  copy_tokenizer(base, to);
  copy_file(base, kSentenceConfig, to);
  for (const Path& file : base.sentence_modules().files) copy_file(base, file, to);
  Json config = base.config();
  config.set("quantization_config", quantization);
  base::write_file_durably(to / "config.json", format::to_pretty_text(config));
  auto weights = base.has_head() ? nn::fields(model) : body_fields(model);
  nn::save_model(weights, to);
}

void write_model_folder(const Path& to, const ModelFolder& base, models::TextClassifier& model,
                        const std::vector<std::string>& labels, int max_length,
                        const data::Columns& columns) {
  fs::create_directories(to);
  copy_tokenizer(base, to);
  base::write_file_durably(to / kSentenceConfig,
                           format::to_pretty_text(Json::object({{"max_seq_length", max_length}})));
  base::write_file_durably(to / "config.json",
                           format::to_pretty_text(config_for(base.config(), labels, columns)));
  auto weights = nn::fields(model);
  for (nn::Weight* weight : weights) weight->own();  // so that it is f32
  nn::save_model(weights, to);
}

}  // namespace textmill::tasks
