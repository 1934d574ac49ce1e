#include "serve/request.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "base/error.h"
#include "base/spelling.h"
#include "base/utf8.h"
#include "format/csv.h"
#include "format/json.h"

namespace textmill::serve {
namespace {

using format::Json, format::JsonView;

/// How the answer to a request looks.
struct AnswerForm {
  enum class Dialect {
    single,       // {"inputs": "..."}: one list of labels
    list,         // {"inputs": [...]}: the best label of each, or with top_k a list of each
    predictions,  // {"instances": [...]}: logits
  };
  Dialect dialect = Dialect::single;
  std::optional<int> top_k;
  std::optional<tasks::ScoreFunction> scores;  // instead of the model's
  bool csv = false;                            // lines "label,score", as Accept asks
};

struct Invocation {
  std::vector<tasks::PackedItem> items;
  AnswerForm form;
  size_t characters = 0;

  void add(const Model& model, std::string_view text, std::optional<std::string_view> pair,
           const tasks::Truncation& truncation) {
    items.push_back(model.encode(text, pair, truncation));
    characters += count_characters(text) + count_characters(pair.value_or(""));
  }
};

[[noreturn]] void fail(const std::string& message) { throw base::Error(base::Kind::invalid, message); }

/// The media type without its parameters, in lower case.
std::string media_type(std::string_view field) {
  std::string type(field.substr(0, field.find(';')));
  std::erase(type, ' ');
  return base::lower_case(std::move(type));
}

/// The media type of the body, which is UTF-8: another charset fails as 415.
std::string body_type(const CallRequest& request, int& failing) {
  failing = 415;
  std::string field = base::lower_case(std::string(request.content_type));
  std::erase_if(field, [](char c) { return c == ' ' || c == '\t' || c == '"'; });
  constexpr std::string_view kCharset = ";charset=";
  if (size_t at = field.find(kCharset); at != std::string::npos) {
    std::string_view rest = std::string_view(field).substr(at + kCharset.size());
    std::string_view charset = rest.substr(0, rest.find(';'));
    if (charset != "utf-8" && charset != "utf8" && charset != "us-ascii")
      fail(fmt::format("Content-Type: charset {} is not read, only utf-8", charset));
  }
  return field.substr(0, field.find(';'));
}

// ---- {"inputs": ..., "parameters": {...}}

void read_text(const JsonView& input, const tasks::Truncation& truncation, const Model& model,
               Invocation& to) {
  if (input.value().string()) return to.add(model, input.string(), {}, truncation);
  if (input.value().array()) {
    auto pair = input.strings();
    if (pair.size() != 2) input.fail("a pair of texts");
    return to.add(model, pair[0], pair[1], truncation);
  }
  if (!input.value().object()) input.fail("a text, a pair of texts, or {\"text\", \"text_pair\"}");
  input.refuse_unknown({"text", "text_pair"});
  auto pair = input.find("text_pair");
  to.add(model, input.at("text").string(),
         pair ? std::optional<std::string_view>(pair->string()) : std::nullopt, truncation);
}

tasks::ScoreFunction read_function(const JsonView& name) {
  std::string lower = base::lower_case(name.string());
  if (lower == "softmax") return tasks::ScoreFunction::softmax;
  if (lower == "sigmoid") return tasks::ScoreFunction::sigmoid;
  if (lower == "none") return tasks::ScoreFunction::none;
  name.fail("softmax, sigmoid or none");
}

/// The parameters of Hugging Face's pipeline and of its tokenizer; gives the last one's max_length.
std::optional<int> read_parameters(const JsonView& parameters, AnswerForm& form) {
  parameters.refuse_unknown(
      {"top_k", "return_all_scores", "function_to_apply", "truncation", "max_length", "padding"});
  if (auto top_k = parameters.find("top_k")) form.top_k = static_cast<int>(top_k->integer(1, 1'000'000));
  bool null_top_k = parameters.value().find("top_k") && !form.top_k;  // Hugging Face's way to ask for all
  if (parameters.get_boolean("return_all_scores", false) || null_top_k) form.top_k = 1'000'000;
  if (auto function = parameters.find("function_to_apply")) form.scores = read_function(*function);
  // What is too long is always cut, the longer text of a pair first. Padding is never needed, whatever it says.
  auto truncation = parameters.find("truncation");
  if (truncation && !truncation->value().boolean() && truncation->string() != "longest_first")
    truncation->fail("a boolean or \"longest_first\"");
  auto max_length = parameters.find("max_length");
  return max_length ? std::optional(static_cast<int>(max_length->integer(1, INT32_MAX))) : std::nullopt;
}

void read_inputs(const JsonView& request, const Model& model, size_t most, int& failing,
                 Invocation& invocation) {
  request.refuse_unknown({"inputs", "parameters", "options"});
  tasks::Truncation truncation;
  if (auto parameters = request.find("parameters"))
    truncation.max_length = read_parameters(*parameters, invocation.form);
  JsonView inputs = request.at("inputs");
  if (!inputs.value().array()) {
    read_text(inputs, truncation, model, invocation);
    return;
  }
  invocation.form.dialect = AnswerForm::Dialect::list;
  check_count(inputs.value().array()->size(), most, failing);
  for (const JsonView& input : inputs.array()) read_text(input, truncation, model, invocation);
}

// ---- {"instances": [{"input_ids", "attention_mask", "token_type_ids"}]}

void read_instances(const JsonView& request, const Model& model, size_t most, int& failing,
                    Invocation& invocation) {
  request.refuse_unknown({"instances", "signature_name"});
  invocation.form.dialect = AnswerForm::Dialect::predictions;
  auto instances = request.at("instances").array();
  check_count(instances.size(), most, failing);
  for (const JsonView& instance : instances) {
    instance.refuse_unknown({"input_ids", "attention_mask", "token_type_ids"});
    auto numbers = [&](const char* name) {
      auto member = instance.find(name);
      auto values = member ? member->integers(INT32_MIN, INT32_MAX) : std::vector<int64_t>();
      if (member && values.empty()) member->fail("as many numbers as input_ids");
      return values;
    };
    std::vector<int64_t> ids = instance.at("input_ids").integers(INT32_MIN, INT32_MAX);
    auto mask = numbers("attention_mask"), types = numbers("token_type_ids");
    try {
      invocation.items.push_back(model.unpad(ids, mask, types));
    } catch (const base::Error& error) {  // it names the field
      throw base::Error(error.kind(), fmt::format("{}: {}", instance.where(), error.what()));
    }
  }
}

/// The first line that Hugging Face's containers ask for, or ours.
bool is_csv_header(const std::vector<std::string_view>& fields) {
  if (fields.size() == 1) return fields[0] == "inputs" || fields[0] == "text";
  return fields.size() == 2 && fields[0] == "text" && fields[1] == "text_pair";
}

void read_csv(std::string_view body, const Model& model, size_t most, int& failing, Invocation& invocation) {
  invocation.form.dialect = AnswerForm::Dialect::list;
  std::vector<std::pair<std::string, std::optional<std::string>>> texts;
  bool header = false;
  if (constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF"; body.starts_with(kByteOrderMark))
    body.remove_prefix(kByteOrderMark.size());
  format::CsvReader records(body, "body", format::kCsv);
  while (records.next()) {
    const auto& fields = records.fields();
    if (texts.empty() && is_csv_header(fields) && !std::exchange(header, true)) continue;
    if (fields.size() > 2) {
      failing = 422;
      fail(fmt::format("{}: {} fields, expected a text, or a pair of texts", records.where(), fields.size()));
    }
    texts.emplace_back(fields[0], fields.size() == 2 ? std::optional<std::string>(fields[1]) : std::nullopt);
  }
  failing = 422;
  check_count(texts.size(), most, failing);
  for (const auto& [text, pair] : texts) invocation.add(model, text, pair, {});
}

// ---- answers

Json labelled(const std::string& label, float score) {
  return Json::object({{"label", label}, {"score", static_cast<double>(score)}});
}

/// The labels of the `count` highest scores, highest first; of equal ones the first.
std::vector<int> best(std::span<const float> scores, size_t count) {
  std::vector<int> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  count = std::min(count, order.size());
  std::partial_sort(order.begin(), order.begin() + static_cast<ptrdiff_t>(count), order.end(),
                    [&](int a, int b) { return scores[a] != scores[b] ? scores[a] > scores[b] : a < b; });
  order.resize(count);
  return order;
}

Json ranked(std::span<const float> scores, const Model& model, size_t count) {
  Json::Array list;
  for (int label : best(scores, count)) list.push_back(labelled(model.labels[label], scores[label]));
  return list;
}

/// JSON in one of its dialects.
void read_json(const CallRequest& request, const Model& model, int& failing, Invocation& invocation) {
  Json value = read_json_body(request, failing);
  failing = 422;
  JsonView view(value, "body");
  if (!value.object()) view.fail("an object with \"inputs\" or \"instances\"");
  if (value.find("instances")) {
    read_instances(view, model, request.max_inputs, failing, invocation);
  } else {
    read_inputs(view, model, request.max_inputs, failing, invocation);
  }
}

Answer write_answer(const AnswerForm& form, std::span<const float> logits, const Model& model) {
  Json::Array rows;
  std::string lines;
  for (auto here : rows_of(logits, model.width)) {
    if (form.dialect == AnswerForm::Dialect::predictions) {
      rows.push_back(Json::array(here));
      continue;
    }
    std::vector<float> scores = tasks::scores(here, form.scores.value_or(model.scores));
    int top = best(scores, 1)[0];
    if (form.csv) {
      lines += fmt::format("{},{}\n", format::csv_field(model.labels[top]), scores[top]);
    } else if (form.top_k || form.dialect == AnswerForm::Dialect::single) {
      rows.push_back(ranked(scores, model, static_cast<size_t>(form.top_k.value_or(1))));
    } else {
      rows.push_back(labelled(model.labels[top], scores[top]));
    }
  }
  if (form.dialect == AnswerForm::Dialect::predictions)
    return {to_text(Json::object({{"predictions", rows}}))};
  if (form.csv) return {lines, "text/csv; charset=utf-8"};
  return {to_text(form.dialect == AnswerForm::Dialect::single ? rows[0] : Json(rows))};
}

/// text-embeddings-inference's word for a text or a pair: "a", ["a"], ["a", "b"].
void read_sequence(const JsonView& input, const Model& model, const tasks::Truncation& truncation,
                   Call& call) {
  auto texts = input.value().string() ? std::vector{input.string()} : input.strings();
  if (texts.empty() || texts.size() > 2) input.fail("a text, or a pair of texts");
  for (const auto& text : texts) call.characters += count_characters(text);
  auto pair = texts.size() == 2 ? std::optional<std::string_view>(texts[1]) : std::nullopt;
  call.items.push_back(model.encode(texts[0], pair, truncation));
}

}  // namespace

Call read_invocation(const CallRequest& request, const Model& model, int& failing) {
  if (model.embeds()) return read_embed(request, model, failing);
  Invocation invocation;
  std::string type = body_type(request, failing);
  invocation.form.csv = media_type(request.accept) == "text/csv";
  if (type == "text/csv") {
    failing = 400;
    read_csv(request.body, model, request.max_inputs, failing, invocation);
  } else if (type == "text/plain") {
    failing = 400;
    if (auto bad = base::invalid_utf8(request.body)) fail(fmt::format("body: byte {} is not UTF-8", *bad));
    failing = 422;
    invocation.add(model, request.body, {}, {});
  } else {
    read_json(request, model, failing, invocation);
  }
  return {std::move(invocation.items),
          [form = invocation.form, &model](std::span<const float> logits) {
            return write_answer(form, logits, model);
          },
          invocation.characters};
}

Call read_predict(const CallRequest& request, const Model& model, int& failing) {
  Json value = read_json_body(request, failing);
  failing = 424;
  if (model.embeds()) fail("the model is no classifier: it embeds; ask /embed");
  failing = 422;
  JsonView view(value, "body");
  view.refuse_unknown({"inputs", "truncate", "truncation_direction", "raw_scores", "parameters", "options"});
  for (const char* name : {"parameters", "options"}) {  // which Hugging Face's clients add, empty
    auto given = view.find(name);
    if (!given || given->value().is_null()) continue;
    for (const auto& [member, value] : given->object())
      if (!value.value().is_null()) value.fail("nothing: /predict takes none; /invocations does");
  }
  tasks::Truncation truncation = read_truncation(view);
  bool raw = view.get_boolean("raw_scores", false);
  JsonView inputs = view.at("inputs");
  const Json::Array* list = inputs.value().array();
  bool batch = list && (list->empty() || list->front().array());
  Call call;
  if (batch) {
    auto sequences = inputs.array();
    check_count(sequences.size(), request.max_inputs, failing);
    for (const JsonView& sequence : sequences) read_sequence(sequence, model, truncation, call);
  } else {
    read_sequence(inputs, model, truncation, call);
  }
  call.answer = [&model, raw, batch](std::span<const float> logits) -> Answer {
    Json::Array lists;
    for (auto row : rows_of(logits, model.width)) {
      lists.push_back(ranked(raw ? std::vector(row.begin(), row.end()) : tasks::scores(row, model.scores),
                             model, row.size()));
    }
    return {to_text(batch ? Json(lists) : lists[0])};
  };
  return call;
}

// ---- what dialects share

Json read_json_body(const CallRequest& request, int& failing) {
  std::string type = body_type(request, failing);
  if (!type.empty() && type != "application/json") {
    fail(fmt::format("Content-Type {}: expected application/json, or at /invocations text/csv or text/plain",
                     request.content_type));
  }
  failing = 400;
  return format::parse_json(request.body, "body");
}

void check_count(size_t inputs, size_t most, int& failing) {
  if (inputs == 0) throw NoInputs(base::Kind::invalid, "body: no inputs: expected one at least");
  if (inputs <= most) return;
  failing = 413;
  fail(fmt::format("body: {} inputs, at most {} in one request", inputs, most));
}

size_t count_characters(std::string_view text) {
  return std::ranges::count_if(text, [](char c) { return (c & 0xC0) != 0x80; });
}

std::vector<std::span<const float>> rows_of(std::span<const float> outputs, int width) {
  std::vector<std::span<const float>> rows;
  for (size_t at = 0; at < outputs.size(); at += static_cast<size_t>(width)) {
    auto row = outputs.subspan(at, static_cast<size_t>(width));
    if (!tasks::is_finite(row)) {
      throw base::Error(base::Kind::internal,
                        fmt::format("input {}: the model's outputs are not finite", rows.size()));
    }
    rows.push_back(row);
  }
  return rows;
}

tasks::Truncation read_truncation(const JsonView& request) {
  bool cut = request.get_boolean("truncate", true);
  std::string direction = base::lower_case(request.get_string("truncation_direction", "right"));
  if (direction != "right" && direction != "left") {
    request.at("truncation_direction").fail("\"left\" or \"right\"");
  }
  if (!cut) return {.too_long = tasks::TooLong::refuse};
  return {.too_long = direction == "left" ? tasks::TooLong::cut_begin : tasks::TooLong::cut_end};
}

}  // namespace textmill::serve
