#include "nn/timing.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>

#include "base/error.h"
#include "nn/quantized.h"

namespace textmill::nn {
namespace {

constexpr int kWidths[] = {256, 768};                // of the stream; four times that between up and down
constexpr int kRows[] = {1, 4, 16, 64, 192, 512};    // of all sequences together
constexpr int kLengths[] = {16, 64, 128, 256, 512};  // of a sequence, for attention
constexpr int kAttentionWidth = 768, kHeadDim = 64;
constexpr double kSecondsAPoint = 0.02;
constexpr size_t kColdBytes =
    24 << 20;  // of one probe's weights, so that they come from memory as a model's do

void fill(Weight& weight, float scale) {
  auto values = weight.own();
  for (size_t i = 0; i < values.size(); i++)
    values[i] = scale * static_cast<float>(static_cast<int>(i * 37 % 101) - 50);
}

/// Up, activation, down, residual and norm, as an encoder's layer has them.
struct Block {
  explicit Block(int width)
      : up(width, 4 * width), down(4 * width, width), norm(NormKind::layer, width, 1e-12) {
    for (Linear* linear : {&up, &down}) {
      fill(linear->weight, 1e-3F);
      fill(linear->bias, 1e-3F);
    }
    fill(norm.bias, 1e-3F);
    std::ranges::fill(norm.weight.own(), 1.0F);
  }
  void quantize() {
    for (Linear* linear : {&up, &down}) {
      held.push_back(quantize_weight(linear->weight));
      linear->weight.borrow(held.back().values, held.back().scales);
    }
  }

  Linear up, down;
  Norm norm;
  std::vector<QuantizedWeight> held;
};

/// The median time of a run, after one that fetches memory.
double seconds_of(Cpu& engine, const Batch& batch) {
  using Clock = std::chrono::steady_clock;
  std::vector<double> times;
  double sum = 0;
  for (int i = 0; i < 4 || (sum < kSecondsAPoint && i < 50); i++) {
    auto begin = Clock::now();
    engine.run(batch);
    double time = std::chrono::duration<double>(Clock::now() - begin).count();
    if (i == 0) continue;
    times.push_back(time);
    sum += time;
  }
  std::ranges::nth_element(times, times.begin() + std::ssize(times) / 2);
  return times[times.size() / 2];
}

Plan plan_of(Recorder& r, Format format) {
  return make_plan(r.finish(), {.format = format, .patterns = cpu_patterns()});
}

/// Seconds a FLOP of a plan that reads `inputs`, for sequences of these lengths.
double cost_of(Cpu& engine, const Plan& plan, Space space, std::span<const Tensor> inputs,
               const std::vector<int32_t>& lengths) {
  Batch batch;
  batch.set_rows(space, lengths);
  int rows = std::accumulate(lengths.begin(), lengths.end(), 0);
  for (Tensor input : inputs) {
    std::vector<float> values(static_cast<size_t>(rows) * plan.recording.tensors[input.id].cols);
    for (size_t i = 0; i < values.size(); i++) values[i] = static_cast<float>(i % 17) * 0.1F - 0.8F;
    batch.set_input(input, values);
  }
  batch.derive(plan.recording);
  return seconds_of(engine, batch) / static_cast<double>(plan.flops(batch));
}

/// Seconds a FLOP of a stack of blocks, for each of kRows.
std::vector<double> measure_products(int width, Format format, bool in_8_bits, kernel::Pool& pool) {
  size_t bytes = size_t{8} * width * width * (in_8_bits ? 1 : format == Format::bf16 ? 2 : 4);
  std::vector<Block> blocks;
  blocks.reserve(kColdBytes / bytes + 1);
  for (size_t i = 0; i < blocks.capacity(); i++) {
    blocks.emplace_back(width);
    if (in_8_bits) blocks.back().quantize();
  }
  Recorder r;
  Space rows = r.space("rows");
  Tensor input = r.input(rows, width, "x"), x = input;
  for (Block& block : blocks) {
    Tensor h = r.linear(r.activate(Activation::gelu, r.linear(x, block.up)), block.down);
    x = r.norm(r.add(x, h), block.norm);
  }
  r.output(x);
  Plan plan = plan_of(r, format);
  Cpu engine(plan, pool);
  std::vector<double> costs;
  for (int count : kRows) costs.push_back(cost_of(engine, plan, rows, {{input}}, {count}));
  return costs;
}

/// Seconds a FLOP of attention, for each of kLengths.
std::vector<double> measure_attention(Format format, kernel::Pool& pool) {
  Recorder r;
  Space rows = r.space("rows");
  Tensor inputs[3];
  for (Tensor& input : inputs) input = r.input(rows, kAttentionWidth, "x");
  r.output(r.attend(inputs[0], {.key = inputs[1], .value = inputs[2]}, {.head_dim = kHeadDim}));
  Plan plan = plan_of(r, format);
  Cpu engine(plan, pool);
  std::vector<double> costs;
  for (int length : kLengths) {
    std::vector<int32_t> lengths(kLengths[std::size(kLengths) - 1] / length, length);
    costs.push_back(cost_of(engine, plan, rows, inputs, lengths));
  }
  return costs;
}

std::vector<double> logarithms(const auto& values) {
  std::vector<double> logs;
  for (double value : values) logs.push_back(std::log(value));
  return logs;
}

/// The value at x of the line through (xs, ys), level beyond its ends.
double interpolate(const std::vector<double>& xs, const std::vector<double>& ys, double x) {
  size_t right = std::ranges::lower_bound(xs, x) - xs.begin();
  if (right == 0) return ys.front();
  if (right == xs.size()) return ys.back();
  double share = (x - xs[right - 1]) / (xs[right] - xs[right - 1]);
  return std::lerp(ys[right - 1], ys[right], share);
}

}  // namespace

double Timing::Curve::at(double row) const { return interpolate(rows, cost, row); }

double Timing::at(const Curves& curves, double width, double rows) {
  std::vector<double> widths, costs;
  for (const Curve& curve : curves) {
    widths.push_back(curve.width);
    costs.push_back(curve.at(std::log(rows)));
  }
  return std::exp(interpolate(widths, costs, std::log(width)));
}

Timing::Timing(Format format, bool in_8_bits, kernel::Pool& pool) {
  for (int width : kWidths) {
    auto curve = [&](bool quantized) {
      return Curve{std::log(width), logarithms(kRows),
                   logarithms(measure_products(width, format, quantized, pool))};
    };
    in_floats_.push_back(curve(false));
    if (in_8_bits) in_8_bits_.push_back(curve(true));
  }
  attention_ = {std::log(kAttentionWidth), logarithms(kLengths), logarithms(measure_attention(format, pool))};
}

double Timing::seconds(const Plan& plan, const Batch& batch) const {
  double sum = 0;
  for (const Step& step : plan.steps) {
    TEXTMILL_CHECK(step.phase == Phase::forward);
    auto flops = static_cast<double>(plan.flops(step, batch));
    if (flops == 0) continue;
    const Rows& rows = batch.rows(plan.recording.tensors[step.op.inputs[0]].space);
    if (step.op.kind == Kind::attend) {
      double pair = 4.0 * plan.recording.tensors[step.op.inputs[0]].cols;
      sum += flops * std::exp(attention_.at(std::log(flops / pair / rows.count)));
      continue;
    }
    const Weight& weight = *plan.recording.weights[step.op.weights[0]];
    bool quantized = weight.dtype() == Dtype::i8 && !in_8_bits_.empty();
    double width = static_cast<double>(std::min(weight.rows, weight.cols));
    sum += flops * at(quantized ? in_8_bits_ : in_floats_, width, rows.count);
  }
  return sum;
}

}  // namespace textmill::nn
