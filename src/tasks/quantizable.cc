#include "tasks/quantizable.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "base/error.h"
#include "nn/checkpoint.h"
#include "nn/grouped.h"
#include "tasks/engine.h"

namespace textmill::tasks {
namespace {

using enum Scheme::Weights;

constexpr int64_t kCalibrationBytes = int64_t{1} << 30;  // of the layers' inputs

nn::PackedFormat format_of(const QuantizableOptions& options) {
  return {options.layout.value_or(nn::PackedLayout::gptq), options.scheme->bits, options.group};
}

void check(const QuantizableOptions& options) {
  if (!options.layout) return;
  bool is_awq = options.layout == nn::PackedLayout::awq;
  const char* reason =
      options.scheme->weights == channels ? "has no groups"
      : options.scheme->weights == awq
          ? "scales columns, and what comes before an encoder's layers cannot take the scales back"
      : is_awq && options.scheme->weights == gptq ? "orders its groups by columns"
      : is_awq && options.scheme->bits != 4       ? "has not 4 bits"
                                                  : nullptr;
  if (!reason) return;
  throw base::Error(base::Kind::invalid,
                    fmt::format("scheme {} {}: the layout {} cannot hold it; textmill can",
                                options.scheme->name, reason, is_awq ? "awq" : "gptq"));
}

void go_on(const std::stop_token& stop) {
  if (stop.stop_requested()) throw base::Error(base::Kind::cancelled, "stopped while calibrating");
}

}  // namespace

Quantizable::Quantizable(const ModelFolder& folder, const QuantizableOptions& options,
                         std::span<const PackedItem> items, nn::kernel::Pool& pool,
                         const std::stop_token& stop)
    : folder_(folder),
      options_(options),
      model_(folder.load_encoder()),
      pooling_(folder.sentence_modules().pooling) {
  check(options);
  nn::Plan plan = nn::make_plan(models::record_encoder(*model_, pooling_, {}).recording, {});
  auto body = nn::fields(model_->body);
  auto block_of = [&](const nn::Weight* weight) {
    auto after = std::ranges::find_if(model_->body.layers, [&](const models::EncoderLayer& layer) {
      return std::less<const void*>()(weight, &layer + 1);
    });
    return static_cast<int>(after - model_->body.layers.begin());
  };
  nn::fields(*model_);  // names the body's weights as the whole model's
  for (size_t w = 0; w < plan.uses.size(); w++) {
    if (plan.uses[w].product) linear_.push_back(plan.recording.weights[w]);
  }
  for (nn::Weight* weight : body) {
    auto at = std::find(plan.recording.weights.begin(), plan.recording.weights.end(), weight);
    if (at == plan.recording.weights.end()) continue;
    const nn::WeightUse& use = plan.uses[at - plan.recording.weights.begin()];
    Matrix matrix{.weight = weight, .dtype = weight->dtype(), .stored = weight->bytes()};
    if (use.product) {
      matrix.block = block_of(weight);
      layers_.push_back(std::move(matrix));
    } else if (use.gathered && !options.layout) {
      matrix.in_8_bits = nn::quantize_weight(*weight);
      tables_.push_back(std::move(matrix));
    }
  }
  calibrate(items, pool, stop);
}

void Quantizable::calibrate(std::span<const PackedItem> items, nn::kernel::Pool& pool,
                            const std::stop_token& stop) {
  auto [recording, inputs] = models::record_encoder(*model_, pooling_, {});
  int64_t columns = 0;  // of all that they read
  for (const nn::Op& op : recording.ops) {
    if (op.kind != nn::Kind::linear) continue;
    auto layer = std::find_if(layers_.begin(), layers_.end(), [&](const Matrix& matrix) {
      return matrix.weight == recording.weights[op.weights[0]];
    });
    if (layer == layers_.end()) continue;
    auto output = std::find(recording.outputs.begin(), recording.outputs.end(), op.inputs[0]);
    layer->reads = static_cast<int>(output - recording.outputs.begin());
    if (output != recording.outputs.end()) continue;
    recording.outputs.push_back(op.inputs[0]);
    columns += recording.tensors[op.inputs[0]].cols;
  }
  nn::Plan plan = nn::make_plan(std::move(recording), plan_options(nn::Format::f32));
  Engine engine(plan, pool);
  PackedBatch batch;
  int64_t left = kCalibrationBytes / std::max<int64_t>(1, sizeof(float) * columns);
  for (const PackedItem& item : items) {
    left -= std::ssize(item.input_ids);
    if (left < 0 && batch.sequences() > 0) break;
    batch.add(item.input_ids, item.type_ids);
  }
  calibrated_ = static_cast<size_t>(batch.sequences());
  engine.run(batch.fill(inputs, plan.recording));
  std::map<int, std::vector<Matrix*>> readers;
  for (Matrix& layer : layers_) {
    go_on(stop);
    layer.quantize(options_, engine.output(layer.reads), pool);
    readers[layer.reads].push_back(&layer);
  }
  for (auto& [output, layers] : readers) quantize_inputs(engine.output(output), layers, pool, stop);
}

/// What the layers that read `x` divide it by, or its step; then their noise.
void Quantizable::quantize_inputs(std::span<const float> x, std::span<Matrix*> readers,
                                  nn::kernel::Pool& pool, const std::stop_token& stop) {
  const Scheme& scheme = *options_.scheme;
  std::vector<const nn::Weight*> weights;
  for (Matrix* layer : readers) weights.push_back(layer->weight);
  auto noise = [&](const std::vector<float>& columns) {
    double sum = 0;
    for (Matrix* layer : readers) {
      go_on(stop);
      if (scheme.smooth) layer->in_8_bits = nn::quantize_weight(*layer->weight, columns);
      if (scheme.range) layer->in_8_bits.input_step = nn::input_range(x, *scheme.range) / 127;
      layer->measure_noise(x, pool);
      sum += layer->noise;
    }
    return sum;
  };
  if (!scheme.smooth) return void(noise({}));
  std::vector<float> best;
  double least = HUGE_VAL;
  for (int tenths = 0; tenths <= 10; tenths++) {
    std::vector<float> columns = nn::smoothing(x, weights, tenths / 10.0);
    if (double now = noise(columns); now < least) least = now, best = std::move(columns);
  }
  noise(best);
}

void Quantizable::Matrix::quantize(const QuantizableOptions& options, std::span<const float> x,
                                   nn::kernel::Pool& pool) {
  auto pack = [&](const nn::GroupedWeight& grouped) {
    packed = nn::Packed::pack(grouped, format_of(options), nn::layer_of(weight->name));
  };
  int bits = options.scheme->bits, group = options.group;
  switch (options.scheme->weights) {
    case channels: in_8_bits = nn::quantize_weight(*weight); return;
    case rounded: return pack(nn::round_to_groups(*weight, bits, group));
    case gptq: return pack(nn::gptq(*weight, x, bits, group, pool));
    case awq: return pack(nn::awq(*weight, x, bits, group, pool));
  }
}

void Quantizable::Matrix::hold_quantized(nn::Weight& in) const {
  if (packed) {
    in.borrow(packed);
  } else {
    in.borrow(in_8_bits.values, in_8_bits.scales, in_8_bits.input());
  }
}

void Quantizable::Matrix::measure_noise(std::span<const float> x, nn::kernel::Pool& pool) {
  nn::Weight exact(weight->rows, weight->cols), rounded(exact.rows, exact.cols);
  hold_exact(exact);
  hold_quantized(rounded);
  nn::Recorder r;
  nn::Space rows = r.space("rows");
  nn::Tensor input = r.input(rows, static_cast<int>(exact.cols), "x");
  r.output(r.linear(input, exact));
  r.output(r.linear(input, rounded));
  nn::Plan plan = nn::make_plan(r.finish(), plan_options(nn::Format::f32));
  Engine engine(plan, pool);
  nn::Batch batch;
  batch.set_rows(rows, std::vector{static_cast<int32_t>(std::ssize(x) / exact.cols)});
  batch.set_input(input, x);
  batch.derive(plan.recording);
  engine.run(batch);
  double error = 0, signal = 0;
  auto y = engine.output(0), yq = engine.output(1);
  for (size_t i = 0; i < y.size(); i++) {
    double difference = double{yq[i]} - y[i];
    error += difference * difference;
    signal += double{y[i]} * y[i];
  }
  noise = signal > 0 ? error / signal : 0;
}

void Quantizable::hold(const std::vector<bool>& quantized, bool tables) {
  for (size_t i = 0; i < layers_.size(); i++) {
    const Matrix& layer = layers_[i];
    quantized[i] ? layer.hold_quantized(*layer.weight) : layer.hold_exact(*layer.weight);
  }
  for (const Matrix& table : tables_) {
    tables ? table.hold_quantized(*table.weight) : table.hold_exact(*table.weight);
  }
}

int64_t Quantizable::bytes() {
  int64_t bytes = 0;
  for (const nn::Weight* weight : nn::fields(*model_)) bytes += weight->stored_bytes();
  return bytes;
}

void Quantizable::write(const base::Path& to) {
  std::vector<std::string> plain;  // linear layers as they were
  for (const nn::Weight* weight : linear_) {
    if (!weight->packed()) plain.push_back(nn::layer_of(weight->name));
  }
  std::optional<nn::PackedFormat> packing;
  if (options_.scheme->weights != channels) packing = format_of(options_);
  write_quantized_folder(to, folder_, *model_,
                         quantization_config(*options_.scheme, packing, !options_.layout, plain));
}

}  // namespace textmill::tasks
