#include "tasks/quantizable.h"

#include <algorithm>

#include "tasks/engine.h"

namespace textmill::tasks {

void Quantizable::Matrix::hold(bool quantized) const {
  if (quantized) {
    weight->borrow(in_8_bits.values, in_8_bits.scales);
  } else {
    weight->borrow(dtype, stored);
  }
}

Quantizable::Quantizable(const ModelFolder& folder) : model_(folder.load()) {
  nn::Plan plan = nn::make_plan(models::record_classifier(*model_, {}).recording, {});
  auto body = nn::fields(model_->body);
  nn::fields(*model_);  // names the body's weights as the whole model's
  for (nn::Weight* weight : body) {
    auto at = std::find(plan.recording.weights.begin(), plan.recording.weights.end(), weight);
    if (at == plan.recording.weights.end()) continue;
    const nn::WeightUse& use = plan.uses[at - plan.recording.weights.begin()];
    if (!use.product && !use.gathered) continue;
    auto& list = use.product ? layers_ : tables_;
    list.push_back({weight, nn::quantize_weight(*weight), weight->dtype(), weight->bytes()});
  }
}

void Quantizable::hold(const std::vector<bool>& in_8_bits, bool tables) {
  for (size_t i = 0; i < layers_.size(); i++) layers_[i].hold(in_8_bits[i]);
  for (const Matrix& table : tables_) table.hold(tables);
}

std::vector<double> Quantizable::noise(std::span<const PackedItem> items, nn::kernel::Pool& pool) {
  hold(std::vector<bool>(layers_.size()), false);
  auto [recording, inputs] = models::record_classifier(*model_, {});
  std::vector<int> reads(layers_.size(), -1);  // which output is the layer's input
  for (const nn::Op& op : recording.ops) {
    if (op.kind != nn::Kind::linear) continue;
    auto layer = std::find_if(layers_.begin(), layers_.end(), [&](const Matrix& matrix) {
      return matrix.weight == recording.weights[op.weights[0]];
    });
    if (layer == layers_.end()) continue;
    auto output = std::find(recording.outputs.begin(), recording.outputs.end(), op.inputs[0]);
    reads[layer - layers_.begin()] = static_cast<int>(output - recording.outputs.begin());
    if (output == recording.outputs.end()) recording.outputs.push_back(op.inputs[0]);
  }
  nn::Plan plan = nn::make_plan(std::move(recording), plan_options(nn::Format::f32));
  Engine engine(plan, pool);
  PackedBatch batch;
  for (const PackedItem& item : items) batch.add(item.input_ids, item.type_ids);
  engine.run(batch.fill(inputs, plan.recording));
  std::vector<double> noise;
  for (size_t i = 0; i < layers_.size(); i++)
    noise.push_back(noise_of(layers_[i], engine.output(reads[i]), pool));
  return noise;
}

double Quantizable::noise_of(const Matrix& layer, std::span<const float> x, nn::kernel::Pool& pool) {
  nn::Weight exact(layer.weight->rows, layer.weight->cols), rounded(exact.rows, exact.cols);
  exact.borrow(layer.dtype, layer.stored);
  rounded.borrow(layer.in_8_bits.values, layer.in_8_bits.scales);
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
  auto y = engine.output(0), y8 = engine.output(1);
  for (size_t i = 0; i < y.size(); i++) {
    double difference = double{y8[i]} - y[i];
    error += difference * difference;
    signal += double{y[i]} * y[i];
  }
  return signal > 0 ? error / signal : 0;
}

int64_t Quantizable::bytes() {
  int64_t bytes = 0;
  for (const nn::Weight* weight : nn::fields(*model_)) {
    bytes += static_cast<int64_t>(weight->bytes().size() + weight->scales().size_bytes());
  }
  return bytes;
}

}  // namespace textmill::tasks
