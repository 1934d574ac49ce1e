#pragma once

#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "nn/kernel/pool.h"
#include "nn/quantized.h"
#include "tasks/model_folder.h"
#include "tasks/packed.h"

namespace textmill::tasks {

/// What to make of a model.
struct QuantizableOptions {
  const Scheme* scheme = &schemes()[0];
  int group = 128;  // columns that share a scale, of schemes that have groups; 0: all
  std::optional<nn::PackedLayout>
      layout;  // gptq or awq: a checkpoint as those programs read it; else our own
};

/// An encoder whose matrices can be held as they are stored or quantized (nn/quantized.h, nn/grouped.h), each by itself:
/// what a search tries. What belongs to the head stays as it is, and in other programs' layouts the embedding tables do.
class Quantizable {
 public:
  /// `folder` must outlive it. Quantizes every matrix, by what the inputs of `items` are in f32 where the scheme asks for
  /// them: of as many, from the first, as 1 GiB holds the inputs of all layers for. Throws cancelled when asked to stop;
  /// invalid: a number that is not finite, naming the weight; a scheme or shape that the layout cannot hold.
  Quantizable(const ModelFolder& folder, const QuantizableOptions& options, std::span<const PackedItem> items,
              nn::kernel::Pool& pool, const std::stop_token& stop);

  /// How many of the items, from the first, it was calibrated with.
  size_t calibrated() const { return calibrated_; }
  models::TextClassifier& model() { return *model_; }
  std::optional<models::Pooling> pooling() const { return pooling_; }  // of one that embeds
  /// The weights of the body's linear layers, in the order of the checkpoint.
  size_t layers() const { return layers_.size(); }
  const std::string& layer(size_t i) const { return layers_[i].weight->name; }
  /// The encoder's layer that it is part of, from 0.
  int block(size_t i) const { return layers_[i].block; }
  /// Of each layer, with the inputs it has in f32: |yq - y|² / |y|², yq being its output when it is quantized.
  double noise(size_t i) const { return layers_[i].noise; }

  /// Holds layer i quantized if quantized[i], and the embedding tables if `tables`. Plans made before are stale.
  void hold(const std::vector<bool>& quantized, bool tables);
  /// Of the weights as they are held, scales included.
  int64_t bytes();
  /// Writes the folder of the model as it is held.
  void write(const base::Path& to);

 private:
  struct Matrix {
    nn::Weight* weight;
    nn::Dtype dtype;
    std::span<const std::byte> stored;
    int block = 0;
    double noise = 0;
    nn::QuantizedWeight in_8_bits;             // or
    std::shared_ptr<const nn::Packed> packed;  // if there is one

    int reads = -1;  // which of the calibration's outputs is its input

    void quantize(const QuantizableOptions& options, std::span<const float> x, nn::kernel::Pool& pool);
    void measure_noise(std::span<const float> x, nn::kernel::Pool& pool);
    void hold_exact(nn::Weight& in) const { in.borrow(dtype, stored); }
    void hold_quantized(nn::Weight& in) const;
  };
  void quantize_inputs(std::span<const float> x, std::span<Matrix*> readers, nn::kernel::Pool& pool,
                       const std::stop_token& stop);
  void calibrate(std::span<const PackedItem> items, nn::kernel::Pool& pool, const std::stop_token& stop);

  const ModelFolder& folder_;
  QuantizableOptions options_;
  std::unique_ptr<models::TextClassifier> model_;
  std::optional<models::Pooling> pooling_;
  std::vector<Matrix> layers_, tables_;
  size_t calibrated_ = 0;
  std::vector<const nn::Weight*> linear_;  // layers_ and those of the head
};

}  // namespace textmill::tasks
