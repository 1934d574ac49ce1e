#include "nn/safetensors.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <set>

#include "base/error.h"
#include "format/json.h"

namespace textmill::nn {

using base::Error;
using base::Kind;
using format::Json;
using format::JsonView;

namespace {

constexpr uint64_t kHeaderLimit = 100'000'000;  // the reference reader's own bound
constexpr size_t kLengthBytes = 8;

struct DtypeRow {
  std::string_view name;
  int64_t size;
};
constexpr std::array<DtypeRow, 17> kDtypes = {{{"F32", 4},
                                               {"F16", 2},
                                               {"BF16", 2},
                                               {"F64", 8},
                                               {"I64", 8},
                                               {"I32", 4},
                                               {"I16", 2},
                                               {"I8", 1},
                                               {"U64", 8},
                                               {"U32", 4},
                                               {"U16", 2},
                                               {"U8", 1},
                                               {"BOOL", 1},
                                               {"C64", 8},
                                               {"F8_E4M3", 1},
                                               {"F8_E5M2", 1},
                                               {"F8_E8M0", 1}}};

/// Bytes of one element, 0 for a dtype that is not in the format.
int64_t element_size(std::string_view dtype) {
  auto found =
      std::find_if(kDtypes.begin(), kDtypes.end(), [&](const DtypeRow& row) { return row.name == dtype; });
  return found == kDtypes.end() ? 0 : found->size;
}

/// shape x element size; nothing if that is more than 63 bits hold.
std::optional<int64_t> byte_size(const std::vector<int64_t>& shape, int64_t element) {
  int64_t size = element;
  for (int64_t n : shape) {
    if (__builtin_mul_overflow(size, n, &size)) return std::nullopt;
  }
  return size;
}

Error wrong(const std::string& where, const std::string& what) {
  return Error(Kind::invalid, where + ": " + what);
}

struct Extent {
  int64_t begin, end;
  std::string_view name;
  auto operator<=>(const Extent&) const = default;
};

StoredTensor parse_tensor(const JsonView& entry, std::span<const std::byte> data, Extent& extent) {
  entry.refuse_unknown({"dtype", "shape", "data_offsets"});
  StoredTensor tensor{.dtype = entry.at("dtype").string(), .shape = entry.at("shape").integers(0, INT64_MAX)};
  int64_t element = element_size(tensor.dtype);
  if (element == 0) entry.at("dtype").fail("a dtype of the format");
  auto offsets = entry.at("data_offsets").integers(0, INT64_MAX);
  if (offsets.size() != 2 || offsets[0] > offsets[1] || offsets[1] > static_cast<int64_t>(data.size())) {
    throw wrong(entry.where(),
                fmt::format("data_offsets [{}]: expected a begin and an end within the {} bytes of data",
                            fmt::join(offsets, ", "), data.size()));
  }
  extent.begin = offsets[0];
  extent.end = offsets[1];
  auto expected = byte_size(tensor.shape, element);
  if (!expected || *expected != extent.end - extent.begin) {
    throw wrong(entry.where(), fmt::format("{} [{}] takes {} bytes, but the offsets span {}", tensor.dtype,
                                           fmt::join(tensor.shape, ", "),
                                           expected ? std::to_string(*expected) : "more than 2^63",
                                           extent.end - extent.begin));
  }
  tensor.bytes =
      data.subspan(static_cast<size_t>(extent.begin), static_cast<size_t>(extent.end - extent.begin));
  return tensor;
}

/// The extents must tile [0, size) exactly.
void check_tiling(std::vector<Extent> extents, int64_t size, const std::string& where) {
  std::sort(extents.begin(), extents.end());
  int64_t at = 0;
  std::string_view previous = "the header";
  for (const Extent& extent : extents) {
    if (extent.begin < at) throw wrong(where, fmt::format("{} and {} overlap", previous, extent.name));
    if (extent.begin > at) {
      throw wrong(where, fmt::format("{} bytes between {} and {} belong to no tensor", extent.begin - at,
                                     previous, extent.name));
    }
    at = extent.end;
    previous = extent.name;
  }
  if (at != size)
    throw wrong(where, fmt::format("{} bytes after {} belong to no tensor", size - at, previous));
}

}  // namespace

int64_t StoredTensor::count() const {
  int64_t count = 1;
  for (int64_t n : shape) count *= n;
  return count;
}

Dtype StoredTensor::weight_dtype(std::string_view name) const {
  if (dtype == "F32") return Dtype::f32;
  if (dtype == "F16") return Dtype::f16;
  if (dtype == "BF16") return Dtype::bf16;
  if (dtype == "I8") return Dtype::i8;
  throw Error(Kind::invalid, fmt::format("{}: is {}, expected F32, F16, BF16 or I8", name, dtype));
}

std::map<std::string, StoredTensor> parse_safetensors(std::span<const std::byte> file,
                                                      const std::string& where) {
  uint64_t length = 0;
  if (file.size() < kLengthBytes)
    throw wrong(where, fmt::format("{} bytes are no safetensors file", file.size()));
  if (std::string_view(reinterpret_cast<const char*>(file.data()), kLengthBytes) == "version ")
    throw wrong(where,
                "is a pointer of Git LFS, not the file itself: run `git lfs pull` where it comes from");
  std::memcpy(&length, file.data(), kLengthBytes);
  if (length > kHeaderLimit || length > file.size() - kLengthBytes) {
    throw wrong(where,
                fmt::format("the header says it is {} bytes long, the file has {}", length, file.size()));
  }
  std::string_view header(reinterpret_cast<const char*>(file.data()) + kLengthBytes, length);
  auto data = file.subspan(kLengthBytes + length);

  Json json = format::parse_json(header, where + ": header");
  std::map<std::string, StoredTensor> tensors;
  std::vector<Extent> extents;
  for (const auto& [name, entry] : JsonView(json, where).object()) {
    if (name == "__metadata__") {
      for (const auto& [key, value] : entry.object()) value.string();
      continue;
    }
    Extent extent{};
    auto placed = tensors.emplace(name, parse_tensor(entry, data, extent)).first;
    extent.name = placed->first;
    extents.push_back(extent);
  }
  check_tiling(std::move(extents), static_cast<int64_t>(data.size()), where);
  return tensors;
}

Safetensors::Safetensors(const base::Path& file_or_folder) : path_(file_or_folder) {
  base::Path single = path_ / "model.safetensors", index = path_ / "model.safetensors.index.json";
  if (!std::filesystem::is_directory(path_)) {
    read_file(path_);
  } else if (std::filesystem::exists(single)) {
    read_file(single);
  } else if (std::filesystem::exists(index)) {
    read_shards(index);
  } else {
    std::string hint = std::filesystem::exists(path_ / "pytorch_model.bin")
                           ? " (pytorch_model.bin is not read: save the model as safetensors)"
                           : "";
    throw Error(Kind::not_found,
                path_.string() + ": no model.safetensors and no model.safetensors.index.json" + hint);
  }
}

void Safetensors::read_file(const base::Path& file) {
  const base::MappedFile& map = files_.emplace_back(file);
  for (auto& [name, tensor] : parse_safetensors(map.bytes(), file.string())) {
    auto address = reinterpret_cast<uintptr_t>(tensor.bytes.data());
    if (address % static_cast<uintptr_t>(element_size(tensor.dtype)) != 0) {
      tensor.bytes = realigned_.emplace_back(tensor.bytes.begin(), tensor.bytes.end());
    }
    if (!tensors_.emplace(name, tensor).second) throw wrong(file.string(), name + " is in another shard too");
  }
}

void Safetensors::read_shards(const base::Path& index) {
  Json json = format::read_json(index, kHeaderLimit);
  std::map<std::string, std::vector<std::string>> shards;
  for (const auto& [name, file] : JsonView(json, index.string()).at("weight_map").object()) {
    const std::string& shard = file.string();
    if (shard.empty() || shard.find('/') != std::string::npos || shard == "." || shard == "..") {
      file.fail("the name of a file in the folder");
    }
    shards[shard].push_back(name);
  }
  for (const auto& [shard, names] : shards) {
    size_t before = tensors_.size();
    read_file(path_ / shard);
    for (const std::string& name : names) {
      if (!tensors_.contains(name)) throw wrong((path_ / shard).string(), fmt::format("{} is missing", name));
    }
    if (tensors_.size() - before != names.size()) {
      throw wrong((path_ / shard).string(),
                  fmt::format("holds {} tensors, {} lists {}", tensors_.size() - before,
                              index.filename().string(), names.size()));
    }
  }
}

const StoredTensor* Safetensors::find(const std::string& name) const {
  auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : &found->second;
}

int64_t Safetensors::total_bytes() const {
  int64_t total = 0;
  for (const auto& [name, tensor] : tensors_) total += static_cast<int64_t>(tensor.bytes.size());
  return total;
}

void Safetensors::release_pages() const {
  for (const base::MappedFile& file : files_) file.release_pages();
}

void write_safetensors(const base::Path& path, std::vector<TensorToWrite> tensors) {
  std::sort(tensors.begin(), tensors.end(), [](const TensorToWrite& a, const TensorToWrite& b) {
    return std::pair(-element_size(a.dtype), std::string_view(a.name)) <
           std::pair(-element_size(b.dtype), std::string_view(b.name));
  });
  Json::Object members = {{"__metadata__", Json::object({{"format", "pt"}})}};
  std::set<std::string_view> names = {"__metadata__"};
  int64_t at = 0;
  for (const TensorToWrite& tensor : tensors) {
    auto size = static_cast<int64_t>(tensor.bytes.size());
    int64_t element = element_size(tensor.dtype);
    if (!names.insert(tensor.name).second)
      throw wrong(path.string(), fmt::format("{} comes twice", tensor.name));
    if (element == 0 || byte_size(tensor.shape, element) != size) {
      throw wrong(path.string(), fmt::format("{}: {} bytes are not {} [{}]", tensor.name, size, tensor.dtype,
                                             fmt::join(tensor.shape, ", ")));
    }
    members.push_back(
        {tensor.name, Json::object({{"dtype", tensor.dtype},
                                    {"shape", Json::array(tensor.shape)},
                                    {"data_offsets", Json::array(std::array{at, at + size})}})});
    at += size;
  }
  std::string text = format::to_text(std::move(members));
  text.resize((text.size() + 7) / 8 * 8, ' ');
  uint64_t length = text.size();

  base::DurableFile file(path);
  file.write(std::as_bytes(std::span(&length, 1)));
  file.write(text);
  for (const TensorToWrite& tensor : tensors) file.write(tensor.bytes);
  file.commit();
}

bool holds_model(const base::Path& folder) {
  return std::filesystem::exists(folder / "model.safetensors") ||
         std::filesystem::exists(folder / "model.safetensors.index.json");
}

void write_model(const base::Path& folder, std::vector<TensorToWrite> tensors, int64_t shard_bytes) {
  std::vector<std::vector<TensorToWrite>> shards(1);
  int64_t total = 0, in_shard = 0;
  for (TensorToWrite& tensor : tensors) {
    auto size = static_cast<int64_t>(tensor.bytes.size());
    if (in_shard > 0 && in_shard + size > shard_bytes) {
      shards.emplace_back();
      in_shard = 0;
    }
    in_shard += size;
    total += size;
    shards.back().push_back(std::move(tensor));
  }
  if (shards.size() == 1) return write_safetensors(folder / "model.safetensors", std::move(shards[0]));
  Json::Object files;
  for (size_t i = 0; i < shards.size(); ++i) {
    std::string name = fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size());
    for (const TensorToWrite& tensor : shards[i]) files.push_back({tensor.name, name});
    write_safetensors(folder / name, std::move(shards[i]));
  }
  std::ranges::sort(files, {}, &format::JsonMember::name);
  Json index =
      Json::object({{"metadata", Json::object({{"total_size", total}})}, {"weight_map", std::move(files)}});
  base::write_file_durably(folder / "model.safetensors.index.json", format::to_pretty_text(index));
}

}  // namespace textmill::nn
