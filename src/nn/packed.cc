#include "nn/packed.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "format/json.h"
#include "nn/f16.h"
#include "nn/kernel/bf16.h"

namespace textmill::nn {

using base::Error, base::Kind;

namespace {

constexpr int kNibble[] = {0, 4, 1, 5, 2, 6, 3, 7};  // where AWQ keeps each of 8 output channels

// Of bitsandbytes, beside a weight in 4 bits.
const std::string kNf4State = "weight.quant_state.bitsandbytes__nf4",
                  kFp4State = "weight.quant_state.bitsandbytes__fp4";

template <class T>
const T* numbers(const StoredTensor& tensor) {
  return reinterpret_cast<const T*>(tensor.bytes.data());
}

/// `bits` bits from bit `at` on in words that lie `stride` apart.
uint32_t field(const uint32_t* words, int64_t stride, int64_t at, int bits) {
  const uint32_t* word = words + at / 32 * stride;
  int shift = static_cast<int>(at % 32);
  uint32_t value = *word >> shift;
  if (shift + bits > 32) value |= word[stride] << (32 - shift);
  return value & ((1U << bits) - 1);
}

void set_field(uint32_t* words, int64_t stride, int64_t at, int bits, uint32_t value) {
  uint32_t* word = words + at / 32 * stride;
  int shift = static_cast<int>(at % 32);
  *word |= value << shift;
  if (shift + bits > 32) word[stride] |= value >> (32 - shift);
}

/// Where a layout keeps a value: the first word of its run of bits, the words' distance, the first bit.
struct Place {
  int64_t word, stride, bit;
};

Place place_of_value(const PackedFormat& format, int64_t rows, int64_t row, int64_t col) {
  if (format.layout == PackedLayout::awq) return {col * (rows / 8) + row / 8, 1, 4 * kNibble[row % 8]};
  return {row, rows, col * format.bits};
}

Place place_of_zero(const PackedFormat& format, int64_t rows, int64_t row, int64_t group) {
  if (format.layout == PackedLayout::awq) return {group * (rows / 8) + row / 8, 1, 4 * kNibble[row % 8]};
  return {group * (rows * format.bits / 32), 1, row * format.bits};
}

/// What v1 adds to a stored zero, kept within the bits as AutoGPTQ does.
uint32_t zero_offset(const PackedFormat& format) { return format.layout == PackedLayout::gptq ? 1 : 0; }

/// As torch casts.
float rounded_to(const std::string& dtype, float x) {
  if (dtype == "float16") return widen_f16(narrow_f16(x));
  return dtype == "bfloat16" ? kernel::widen(kernel::to_bf16(x)) : x;
}

float number_at(const StoredTensor& tensor, int64_t i) {
  if (tensor.dtype == "F16") return widen_f16(numbers<uint16_t>(tensor)[i]);
  if (tensor.dtype == "BF16") return kernel::widen(kernel::bf16{numbers<uint16_t>(tensor)[i]});
  return numbers<float>(tensor)[i];
}

}  // namespace

float GroupedWeight::read(int row, int col) const {
  size_t at = size_t(group_of[col]) * rows + row;
  float value =
      widen_f16(scales[at]) * static_cast<float>(int{values[size_t(row) * cols + col]} - int{zeros[at]});
  return column_scales.empty() ? value : value / column_scales[col];
}

void Packed::fail(const std::string& part, const std::string& what) const {
  throw Error(Kind::invalid, fmt::format("{}.{}: {}", layer_, part, what));
}

StoredTensor Packed::take(const Find& find, const std::string& name, std::vector<std::string_view> dtypes,
                          const std::vector<int64_t>& shape) {
  const StoredTensor* tensor = find(name);
  if (!tensor) fail(name, "missing");
  if (std::find(dtypes.begin(), dtypes.end(), tensor->dtype) == dtypes.end() || tensor->shape != shape) {
    fail(name, fmt::format("is {} [{}], expected {} [{}]", tensor->dtype, fmt::join(tensor->shape, ", "),
                           fmt::join(dtypes, " or "), fmt::join(shape, ", ")));
  }
  return parts_.emplace_back(name, *tensor).tensor;
}

void Packed::check_shape() const {
  bool awq = format_.layout == PackedLayout::awq;
  bool fits = awq ? format_.bits == 4 && rows_ % 8 == 0 && cols_ % groups() == 0 &&
                        (format_.group == 0 || cols_ % format_.group == 0)
                  : cols_ * format_.bits % 32 == 0 && rows_ * format_.bits % 32 == 0;
  if (fits) return;
  fail("qweight",
       fmt::format(
           "a weight [{}, {}] does not fit: {}", rows_, cols_,
           awq ? fmt::format("AWQ has 4 bits, multiples of 8 output channels and of {} inputs", format_.group)
               : fmt::format("GPTQ in {} bits fills whole words of 32 bits both ways", format_.bits)));
}

void Packed::load_groups(const Find& find) {
  check_shape();
  bool awq = format_.layout == PackedLayout::awq;
  int64_t words = rows_ * format_.bits / 32;
  values_ = numbers<uint32_t>(
      take(find, "qweight", {"I32"},
           awq ? std::vector{cols_, words} : std::vector{cols_ * format_.bits / 32, rows_}));
  zeros_ = numbers<uint32_t>(take(find, "qzeros", {"I32"}, {groups(), words}));
  scales_ = take(find, "scales", {"F16", "BF16", "F32"}, {groups(), rows_});
  if (awq) {
    groups_in_order_.resize(cols_);
    for (int64_t col = 0; col < cols_ && format_.group > 0; col++) {
      groups_in_order_[col] = static_cast<int32_t>(col / format_.group);
    }
    group_of_ = groups_in_order_.data();
    return;
  }
  group_of_ = numbers<int32_t>(take(find, "g_idx", {"I32"}, {cols_}));
  auto* outside =
      std::find_if(group_of_, group_of_ + cols_, [&](int32_t g) { return g < 0 || g >= groups(); });
  if (outside != group_of_ + cols_) {
    fail("g_idx", fmt::format("[{}] is {}, expected a group from 0 to {}", outside - group_of_, *outside,
                              groups() - 1));
  }
  if (!find("column_scale")) return;
  column_scales_ = numbers<float>(take(find, "column_scale", {"F32"}, {cols_}));
  auto* wrong =
      std::find_if(column_scales_, column_scales_ + cols_, [](float x) { return !(x > 0 && x < HUGE_VALF); });
  if (wrong != column_scales_ + cols_) {
    fail("column_scale",
         fmt::format("[{}] is {}, expected a finite number above 0", wrong - column_scales_, *wrong));
  }
}

void Packed::load_4bit(const Find& find) {
  const std::string state_name = find(kFp4State) ? kFp4State : kNf4State;
  const StoredTensor* stored = find(state_name);
  if (!stored) fail(state_name, "missing, as is fp4");
  std::string text(numbers<char>(*stored), stored->bytes.size());
  format::Json json = format::parse_json(text, layer_ + "." + state_name);
  format::JsonView state(json, layer_ + "." + state_name);
  if (state.at("shape").integers(0, INT64_MAX) != std::vector{rows_, cols_}) {
    state.at("shape").fail(fmt::format("[{}, {}]", rows_, cols_));
  }
  block_ = state.at("blocksize").integer(32, 4096);
  dtype_ = state.at("dtype").string();
  if (dtype_ != "float32" && dtype_ != "float16" && dtype_ != "bfloat16") {
    state.at("dtype").fail("float32, float16 or bfloat16");
  }
  int64_t count = rows_ * cols_, blocks = (count + block_ - 1) / block_;
  // The same bytes under any type (bnb_4bit_quant_storage).
  const StoredTensor* weight = find("weight");
  const int64_t element = weight && weight->dtype != "U8" ? weight->dtype == "F32" ? 4 : 2 : 1;
  bytes_ =
      numbers<uint8_t>(take(find, "weight", {"U8", "F16", "BF16", "F32"}, {(count + 1) / (2 * element), 1}));
  table_ = numbers<float>(take(find, "weight.quant_map", {"F32"}, {16}));
  take(find, state_name, {"U8"}, {std::ssize(text)});
  block_scales_.resize(blocks);
  if (!state.find("nested_blocksize")) {
    auto* scales = numbers<float>(take(find, "weight.absmax", {"F32"}, {blocks}));
    std::copy_n(scales, blocks, block_scales_.begin());
    return;
  }
  int64_t nested = state.at("nested_blocksize").integer(32, 4096);
  auto offset = static_cast<float>(state.at("nested_offset").number());
  auto* codes = numbers<uint8_t>(take(find, "weight.absmax", {"U8"}, {blocks}));
  auto* scales =
      numbers<float>(take(find, "weight.nested_absmax", {"F32"}, {(blocks + nested - 1) / nested}));
  auto* table = numbers<float>(take(find, "weight.nested_quant_map", {"F32"}, {256}));
  for (int64_t i = 0; i < blocks; i++) block_scales_[i] = table[codes[i]] * scales[i / nested] + offset;
}

std::shared_ptr<const Packed> Packed::load(const PackedFormat& format, int64_t rows, int64_t cols,
                                           const Find& find, const std::string& layer) {
  std::shared_ptr<Packed> packed(new Packed(format, rows, cols, layer));
  switch (format.layout) {
    case PackedLayout::awq:
    case PackedLayout::gptq:
    case PackedLayout::gptq_v2:
      if (!find("qweight")) return nullptr;
      packed->load_groups(find);
      break;
    case PackedLayout::bnb_4bit:
      if (auto* weight = find("weight");
          !weight || (weight->dtype != "U8" && !find(kNf4State) && !find(kFp4State)))
        return nullptr;
      packed->load_4bit(find);
      break;
    case PackedLayout::bnb_8bit:
      if (auto* weight = find("weight"); !weight || weight->dtype != "I8") return nullptr;
      packed->bytes_ = numbers<uint8_t>(packed->take(find, "weight", {"I8"}, {rows, cols}));
      packed->row_scales_ = numbers<float>(packed->take(find, "SCB", {"F32"}, {rows}));
  }
  return packed;
}

std::shared_ptr<const Packed> Packed::pack(const GroupedWeight& w, const PackedFormat& format,
                                           const std::string& layer) {
  std::shared_ptr<Packed> packed(new Packed(format, w.rows, w.cols, layer));
  packed->check_shape();
  TEXTMILL_CHECK(w.groups == packed->groups() && w.bits == format.bits);
  bool awq = format.layout == PackedLayout::awq;
  int64_t rows = w.rows, words = rows * w.bits / 32;
  std::vector<uint32_t> values(int64_t{w.cols} * words), zeros(w.groups * words);
  for (int64_t row = 0; row < rows; row++) {
    for (int64_t col = 0; col < w.cols; col++) {
      auto [word, stride, bit] = place_of_value(format, rows, row, col);
      set_field(&values[word], stride, bit, w.bits, w.values[row * w.cols + col]);
    }
    for (int64_t group = 0; group < w.groups; group++) {
      uint32_t zero = w.zeros[group * rows + row];
      TEXTMILL_CHECK(zero >= zero_offset(format));
      auto [word, stride, bit] = place_of_zero(format, rows, row, group);
      set_field(&zeros[word], stride, bit, w.bits, zero - zero_offset(format));
    }
  }
  std::map<std::string, StoredTensor> tensors;
  auto add = [&](const std::string& name, const char* dtype, std::vector<int64_t> shape, auto&& data) {
    auto bytes = std::as_bytes(std::span(data));
    tensors[name] = {dtype, std::move(shape), packed->owned_.emplace_back(bytes.begin(), bytes.end())};
  };
  add("qweight", "I32",
      awq ? std::vector<int64_t>{w.cols, words} : std::vector{int64_t{w.cols} * w.bits / 32, rows}, values);
  add("qzeros", "I32", {w.groups, words}, zeros);
  add("scales", "F16", {w.groups, rows}, w.scales);
  if (!awq) add("g_idx", "I32", {w.cols}, w.group_of);
  TEXTMILL_CHECK(w.column_scales.empty() || !awq);
  if (!w.column_scales.empty()) add("column_scale", "F32", {w.cols}, w.column_scales);
  packed->load_groups([&](const std::string& name) {
    auto found = tensors.find(name);
    return found == tensors.end() ? nullptr : &found->second;
  });
  return packed;
}

int64_t Packed::bytes() const {
  int64_t bytes = 0;
  for (const Part& part : parts_) bytes += static_cast<int64_t>(part.tensor.bytes.size());
  return bytes;
}

void Packed::read(int64_t first, int64_t count, float* out) const {
  for (int64_t row = first; row < first + count; row++, out += cols_) {
    if (values_) {
      read_row_of_groups(row, out);
    } else if (table_) {
      read_row_of_4bit(row, out);
    } else {
      for (int64_t col = 0; col < cols_; col++) {
        auto value = static_cast<float>(static_cast<int8_t>(bytes_[row * cols_ + col]));
        out[col] = value * row_scales_[row] * 0.007874015718698502F;  // 1 / 127, in bitsandbytes' own order
      }
    }
  }
}

std::optional<Packed::Codes> Packed::codes() const {
  if (!values_) return {};
  return Codes{format_.bits, static_cast<int>(groups()), group_of_, column_scales_};
}

void Packed::read_codes(int64_t row, uint8_t* codes, float* scales, float* zeros) const {
  uint32_t most = (1U << format_.bits) - 1;
  for (int64_t group = 0; group < groups(); group++) {
    auto [word, stride, bit] = place_of_zero(format_, rows_, row, group);
    zeros[group] =
        static_cast<float>((field(zeros_ + word, stride, bit, format_.bits) + zero_offset(format_)) & most);
    scales[group] = number_at(scales_, group * rows_ + row);
  }
  for (int64_t col = 0; col < cols_; col++) {
    auto [word, stride, bit] = place_of_value(format_, rows_, row, col);
    codes[col] = static_cast<uint8_t>(field(values_ + word, stride, bit, format_.bits));
  }
}

void Packed::read_row_of_groups(int64_t row, float* out) const {
  std::vector<float> scales(groups()), zeros(groups());
  std::vector<uint8_t> codes(cols_);
  read_codes(row, codes.data(), scales.data(), zeros.data());
  for (int64_t col = 0; col < cols_; col++) {
    int32_t group = group_of_[col];
    out[col] = scales[group] * (static_cast<float>(codes[col]) - zeros[group]);
    if (column_scales_) out[col] /= column_scales_[col];
  }
}

void Packed::read_row_of_4bit(int64_t row, float* out) const {
  for (int64_t at = row * cols_; at < (row + 1) * cols_; at++) {
    int code = at % 2 ? bytes_[at / 2] & 15 : bytes_[at / 2] >> 4;
    *out++ = rounded_to(dtype_, table_[code] * block_scales_[at / block_]);
  }
}

}  // namespace textmill::nn
