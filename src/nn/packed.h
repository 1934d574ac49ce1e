#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "nn/safetensors.h"

namespace textmill::nn {

/// How a quantized checkpoint stores a linear layer's weight [out, in]: in tensors named after the layer, LAYER.qweight and
/// others, in place of LAYER.weight. docs/decisions/weight-formats.md has them, byte by byte.
enum class PackedLayout : uint8_t {
  awq,  // AutoAWQ's "gemm": weight = scale · (value - zero), 4 bits
  gptq,  // AutoGPTQ's: the same in 2, 3, 4 or 8 bits, zeros stored one lower, groups in any order of the columns
  gptq_v2,   // GPTQModel's: zeros as they are
  bnb_4bit,  // bitsandbytes: a table's number (nf4, fp4) · the largest magnitude of a block
  bnb_8bit,  // bitsandbytes' LLM.int8: value · the largest magnitude of the row / 127
};

struct PackedFormat {
  PackedLayout layout = PackedLayout::gptq;
  int bits = 4;
  int group = 128;  // columns that share a scale; 0: all of them
};

/// What awq and gptq store, a number an element. weight = scale · (value - zero), divided by its column's scale if there are
/// any: textmill's own addition to gptq, LAYER.column_scale.
struct GroupedWeight {
  int rows = 0, cols = 0, groups = 0, bits = 4;
  std::vector<uint8_t> values;       // [rows, cols]
  std::vector<uint16_t> scales;      // [groups, rows], f16
  std::vector<uint8_t> zeros;        // [groups, rows]
  std::vector<int32_t> group_of;     // [cols]
  std::vector<float> column_scales;  // [cols], or none

  float read(int row, int col) const;
};

/// A matrix in one of these layouts, read row by row: it is never held whole in f32.
class Packed {
 public:
  struct Part {
    std::string name;  // behind the layer's: "qweight"
    StoredTensor tensor;
  };
  using Find = std::function<const StoredTensor*(const std::string& part)>;

  /// The matrix [rows, cols] in the tensors that `find` gives, which must outlive it; null if the first of them is not
  /// there. Throws invalid naming `layer` and the part that is missing, has another dtype or shape, or points outside.
  static std::shared_ptr<const Packed> load(const PackedFormat& format, int64_t rows, int64_t cols,
                                            const Find& find, const std::string& layer);
  /// In awq or gptq; gptq holds no zero of 0. Throws invalid naming `layer` if the layout cannot hold such a shape.
  static std::shared_ptr<const Packed> pack(const GroupedWeight& weight, const PackedFormat& format,
                                            const std::string& layer);

  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }
  std::span<const Part> parts() const { return parts_; }
  /// What awq and gptq are made of: of each column its group, and perhaps a divisor. None of the other layouts.
  struct Codes {
    int bits = 4, groups = 0;
    const int32_t* group_of = nullptr;  // [cols]
    const float* divisors = nullptr;    // [cols]
  };
  std::optional<Codes> codes() const;
  /// A row's codes [cols], and its scales and zeros [groups].
  void read_codes(int64_t row, uint8_t* codes, float* scales, float* zeros) const;
  int64_t bytes() const;
  /// Rows [first, first + count), exactly as the layout defines them: products of f32, in bitsandbytes' 4 bits rounded to
  /// the dtype that the layer had.
  void read(int64_t first, int64_t count, float* out) const;

 private:
  Packed(const PackedFormat& format, int64_t rows, int64_t cols, std::string layer)
      : format_(format), rows_(rows), cols_(cols), layer_(std::move(layer)) {}

  [[noreturn]] void fail(const std::string& part, const std::string& what) const;
  int64_t groups() const { return format_.group > 0 ? (cols_ + format_.group - 1) / format_.group : 1; }
  /// Checks it and adds it to the parts; any of `dtypes`.
  StoredTensor take(const Find& find, const std::string& name, std::vector<std::string_view> dtypes,
                    const std::vector<int64_t>& shape);
  void check_shape() const;
  void load_groups(const Find& find);
  void load_4bit(const Find& find);
  void read_row_of_groups(int64_t row, float* out) const;
  void read_row_of_4bit(int64_t row, float* out) const;

  PackedFormat format_;
  int64_t rows_, cols_;
  std::string layer_;
  std::vector<Part> parts_;
  std::vector<std::vector<std::byte>> owned_;  // what parts view, if nobody else holds it

  // Of awq and gptq.
  const uint32_t *values_ = nullptr, *zeros_ = nullptr;
  const int32_t* group_of_ = nullptr;
  std::vector<int32_t> groups_in_order_;  // what group_of_ is where the layout has no list
  const float* column_scales_ = nullptr;
  StoredTensor scales_;
  // Of bitsandbytes.
  const uint8_t* bytes_ = nullptr;
  const float *table_ = nullptr, *row_scales_ = nullptr;
  std::vector<float> block_scales_;
  int64_t block_ = 0;
  std::string dtype_;
};

}  // namespace textmill::nn
