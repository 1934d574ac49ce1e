#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace textmill::nn {

class Packed;

/// How the numbers of a stored tensor are written (little endian); packed: in several tensors (nn/packed.h).
enum class Dtype : uint8_t { f32, f16, bf16, i8, packed };
size_t bytes_of(Dtype dtype);
const char* name(Dtype dtype);  // as safetensors writes it: "F32"

/// How a product in 8 bits takes its input: columns divided by these (none: as they are), then all rows by one step (0: each
/// by its own).
struct InputScales {
  std::span<const float> columns;
  float step = 0;

  explicit operator bool() const { return !columns.empty() || step > 0; }
  bool operator==(const InputScales& other) const;
};

/// Where a checkpoint keeps several weights in one tensor, this one's share: of the tensor's rows (a vector's
/// elements), in blocks of `block`, every `count`-th block from the `index`-th on. GPT-NeoX's query, key and
/// value lie so.
struct Share {
  int index = 0, count = 1;
  int64_t block = 0;
};

/// A parameter: `rows` x `cols` numbers, row-major, under the name that its checkpoint gives it. A product
/// computes x · Wᵀ, so a linear layer's weight is [out, in]; a bias, a norm's scale or a gate is a vector,
/// [1, n].
///
/// The values are either borrowed from what outlives them (a mapped safetensors file), in any Dtype, or
/// owned, in f32. In i8 a row has a scale that its values are multiplied by, and products with it run in 8
/// bits (nn/quantized.h). Packed ones are widened wherever they are read. An executor packs what it needs into copies of its own; `release()` then lets go of the
/// values. Gradients and optimizer state belong to whoever trains, by the weight's number in a Recording,
/// never to the weight.
///
/// Recordings point at weights: a weight must not move after its model was recorded.
class Weight {
 public:
  Weight() = default;  // absent, such as the bias of a layer that has none
  Weight(int64_t rows, int64_t cols) : rows(rows), cols(cols) {}
  static Weight vector(int64_t size);
  Weight(Weight&&) = default;
  Weight& operator=(Weight&&) = default;

  explicit operator bool() const { return rows > 0; }
  int64_t count() const { return rows * cols; }
  std::vector<int64_t> shape() const;  // of the checkpoint's tensor: one dimension for a vector

  bool has_values() const { return !bytes_.empty(); }
  Dtype dtype() const { return dtype_; }
  std::span<const std::byte> bytes() const { return bytes_; }
  std::span<const float> scales() const { return scales_; }  // of i8, one a row
  const InputScales& input() const { return input_; }        // of i8
  const Packed* packed() const { return packed_.get(); }     // or null
  int64_t stored_bytes() const;                              // of all that the values are made of

  /// Takes values that live elsewhere: count() numbers, aligned to their size, valid until the next borrow,
  /// own or release. Throws invalid naming the weight if there are more or fewer bytes than the shape asks
  /// for.
  void borrow(Dtype dtype, std::span<const std::byte> bytes);
  /// The same in i8, with a scale a row.
  void borrow(std::span<const int8_t> values, std::span<const float> scales, const InputScales& input = {});
  void borrow(std::shared_ptr<const Packed> packed);
  /// The values as owned f32, widened from what was borrowed, zero if there were none. The trainer's master
  /// copy.
  std::span<float> own();
  void release();
  /// Rows [first, first + count) widened to f32. The weight must have values.
  void read(int64_t first, int64_t count, float* out) const;

  std::string name;
  int64_t rows = 0, cols = 0;
  bool is_vector = false;
  Share share;
  bool trainable = true;  // set before planning: frozen weights get no gradient and save nothing

 private:
  Dtype dtype_ = Dtype::f32;
  std::span<const std::byte> bytes_;
  std::span<const float> scales_;
  InputScales input_;
  std::shared_ptr<const Packed> packed_;
  std::vector<float> owned_;
};

/// LoRA: adds scale · b · a · x to a linear layer (Hu et al. 2021). Attach it before recording.
struct Adapter {
  Adapter(int64_t in, int64_t out, int64_t rank, double scale) : a(rank, in), b(out, rank), scale(scale) {}
  Weight a, b;  // [rank, in], [out, rank]
  double scale;
};

/// Tensor parallelism: this rank holds some of the weight's output rows, or some of its input columns.
enum class Split : uint8_t { none, out, in };

struct Linear {
  Linear() = default;
  Linear(int64_t in, int64_t out, bool with_bias = true, Split split = Split::none);
  Weight weight, bias;
  Split split = Split::none;
  std::unique_ptr<Adapter> adapter;
};

enum class NormKind : uint8_t { layer, rms, l2 };  // l2 has no weight: x / max(|x|, 1e-12)

struct Norm {
  Norm() = default;
  Norm(NormKind kind, int64_t size, double eps);  // layer has a bias, rms has none
  NormKind kind = NormKind::layer;
  Weight weight, bias;
  double eps = 1e-12;
};

/// The list of a model's weights under their checkpoint names. A struct of weights has `void fields(const
/// Fields& f) { f("query", query); ... }`; visiting names each weight and collects it.
/// Who lists under the names that the weights have only reads them.
class Fields {
 public:
  explicit Fields(std::vector<Weight*>& list, std::string prefix = "")
      : list_(&list), prefix_(std::move(prefix)) {}

  void operator()(const std::string& name, Weight& weight) const;  // the whole name, ".weight" included
  void operator()(const std::string& name, Linear& linear) const;  // name.weight, .bias, .lora_A.weight, ...
  void operator()(const std::string& name, Norm& norm) const;
  template <class Part>
  void operator()(const std::string& name, Part& part) const {
    part.fields(at(name));
  }
  Fields at(const std::string& name) const { return Fields(*list_, join(name)); }

 private:
  std::string join(const std::string& name) const;
  std::vector<Weight*>* list_;
  std::string prefix_;
};

template <class Model>
std::vector<Weight*> fields(Model& model, const std::string& prefix = "") {
  std::vector<Weight*> list;
  model.fields(Fields(list, prefix));
  return list;
}

}  // namespace textmill::nn
