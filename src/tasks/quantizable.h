#pragma once

#include <span>
#include <string>
#include <vector>

#include "nn/kernel/pool.h"
#include "nn/quantized.h"
#include "tasks/model_folder.h"
#include "tasks/packed.h"

namespace textmill::tasks {

/// A classifier whose matrices can be held as they are stored or in 8 bits (nn/quantized.h), each by itself: what a search
/// tries. What belongs to the head stays as it is.
class Quantizable {
 public:
  /// `folder` must outlive it. Throws invalid naming the weight if one has a number that is not finite.
  explicit Quantizable(const ModelFolder& folder);

  models::TextClassifier& model() { return *model_; }
  /// The weights of the body's linear layers, in the order of the checkpoint.
  size_t layers() const { return layers_.size(); }
  const std::string& layer(size_t i) const { return layers_[i].weight->name; }

  /// Holds layer i in 8 bits if in_8_bits[i], and the embedding tables if `tables`. Plans made before are stale.
  void hold(const std::vector<bool>& in_8_bits, bool tables);

  /// Of each layer, with the inputs it has in f32 when `items` run: |y8 - y|² / |y|², y8 being its output in 8 bits.
  std::vector<double> noise(std::span<const PackedItem> items, nn::kernel::Pool& pool);

  /// Of the weights as they are held, scales included.
  int64_t bytes();

 private:
  struct Matrix {
    nn::Weight* weight;
    nn::QuantizedWeight in_8_bits;
    nn::Dtype dtype;
    std::span<const std::byte> stored;

    void hold(bool quantized) const;
  };
  static double noise_of(const Matrix& layer, std::span<const float> x, nn::kernel::Pool& pool);

  std::unique_ptr<models::TextClassifier> model_;
  std::vector<Matrix> layers_, tables_;
};

}  // namespace textmill::tasks
