#include "train/options.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>

#include "base/error.h"

namespace textmill::train {
namespace {

using base::Error;
using base::Kind;

using O = TrainOptions;
using V = const OptionValue&;

[[noreturn]] void refuse(V v, std::string_view expected) {
  throw Error(Kind::invalid, fmt::format("{}: '{}' is not {}", v.option, v.text, expected));
}

template <class T>
T number(V v, T least, T most, std::string_view expected) {
  T value{};
  auto [end, error] = std::from_chars(v.text.data(), v.text.data() + v.text.size(), value);
  bool whole = error == std::errc{} && end == v.text.data() + v.text.size();
  if (!whole || !(value >= least && value <= most)) refuse(v, expected);
  return value;
}

constexpr int kMany = 1 << 30;
int positive(V v) { return number(v, 1, kMany, "a whole number of at least 1"); }
int count(V v) { return number(v, 0, kMany, "a whole number of at least 0"); }
double fraction(V v) { return number(v, 0.0, 1.0, "a number from 0 to 1"); }
double amount(V v) { return number(v, 0.0, 1e6, "a number from 0 to 1000000"); }
double probability(V v) { return number(v, 0.0, std::nextafter(1.0, 0.0), "a number from 0 to below 1"); }

nn::Format format(V v) {
  if (v.text == "f32") return nn::Format::f32;
  if (v.text == "bf16") return nn::Format::bf16;
  refuse(v, "bf16 or f32");
}

bool yes(V v) {
  if (v.text.empty() || v.text == "true" || v.text == "1") return true;
  if (v.text == "false" || v.text == "0") return false;
  refuse(v, "true or false");
}

void set_task(O& o, V v) {
  if (v.text != "text-classification") refuse(v, "a task; known: text-classification");
  o.task = v.text;
}

constexpr OptionRow kRows[] = {
    {"task", "TASK", "what to learn: text-classification", set_task},
    {"text", "COLUMN",
     "column of the text, by name or number (guessed, and printed); in JSON lines it may hold input ids",
     [](O& o, V v) { o.text = v.text; }},
    {"text-pair", "COLUMN", "column of the second text, for pairs", [](O& o, V v) { o.text_pair = v.text; }},
    {"label", "COLUMN", "column of the label", [](O& o, V v) { o.label = v.text; }},
    {"epochs", "N", "times through the data (3)", [](O& o, V v) { o.epochs = positive(v); }},
    {"batch-size", "N", "rows of a batch (16)", [](O& o, V v) { o.batch_size = positive(v); }},
    {"gradient-accumulation", "N", "batches of one step of the optimizer (1)",
     [](O& o, V v) { o.gradient_accumulation = positive(v); }},
    {"learning-rate", "X", "the highest; warmed up to, then linearly to 0 (5e-5)",
     [](O& o, V v) { o.learning_rate = amount(v); }},
    {"warmup-ratio", "X", "part of all steps that warms up (0.1)",
     [](O& o, V v) { o.warmup_ratio = fraction(v); }},
    {"weight-decay", "X", "AdamW's, of matrices; biases and norms have none (0.01)",
     [](O& o, V v) { o.weight_decay = amount(v); }},
    {"max-grad-norm", "X", "clip the gradient's norm; 0: no clipping (1)",
     [](O& o, V v) { o.max_grad_norm = amount(v); }},
    {"dropout", "X", "every dropout of the model (its configuration's)",
     [](O& o, V v) { o.dropout = probability(v); }},
    {"max-length", "N", "tokens of a sequence; more are cut off (the model's)",
     [](O& o, V v) { o.max_length = positive(v); }},
    {"precision", "bf16|f32",
     "of products and activations; weights are f32 (bf16 where the CPU has its dot product)",
     [](O& o, V v) { o.format = format(v); }},
    {"seed", "N", "of the order, dropout and fresh weights (42)",
     [](O& o, V v) { o.seed = number<uint64_t>(v, 0, UINT64_MAX, "a whole number of at least 0"); }},
    {"threads", "N", "0: all; does not change the result (0)",
     [](O& o, V v) { o.threads = number(v, 0, 1024, "a whole number from 0 to 1024"); }},
    {"checkpoint-every", "STEPS", "0: at the end of each epoch (0)",
     [](O& o, V v) { o.checkpoint_every = count(v); }},
    {"resume", "", "continue from the newest good checkpoint", [](O& o, V v) { o.resume = yes(v); }},
};

}  // namespace

std::span<const OptionRow> option_rows() { return kRows; }

format::Json to_json(const TrainOptions& o) {
  auto json = format::Json::object({{"epochs", o.epochs},
                                    {"batch_size", o.batch_size},
                                    {"gradient_accumulation", o.gradient_accumulation},
                                    {"learning_rate", o.learning_rate},
                                    {"warmup_ratio", o.warmup_ratio},
                                    {"weight_decay", o.weight_decay},
                                    {"max_grad_norm", o.max_grad_norm},
                                    {"seed", o.seed}});
  if (o.dropout) json.set("dropout", *o.dropout);
  return json;
}

void check(const TrainOptions& options) {
  if (!options.text_pair.empty() && options.text.empty()) {
    throw Error(Kind::invalid, "text-pair: needs text, the column of the first text");
  }
  if (static_cast<int64_t>(options.batch_size) * options.gradient_accumulation > kMany) {
    throw Error(Kind::invalid, fmt::format("batch-size {} times gradient-accumulation {} is too large",
                                           options.batch_size, options.gradient_accumulation));
  }
}

}  // namespace textmill::train
