#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/files.h"
#include "nn/weights.h"

namespace textmill::nn {

/// A tensor of a safetensors file. Row-major, little endian.
struct StoredTensor {
  std::string dtype;  // as the format writes it: "F32", "BF16", "I64", ...
  std::vector<int64_t> shape;
  std::span<const std::byte> bytes;

  int64_t count() const;
  /// Throws invalid naming `name` unless it is one of the dtypes that weights have.
  Dtype weight_dtype(std::string_view name) const;
};

/// The tensors of a safetensors file, or of a folder with `model.safetensors` or the shards that
/// `model.safetensors.index.json` lists. The files are mapped: bytes are views that live as long as the object (moving it
/// keeps them), aligned to their element's size, and touched only when read.
///
/// Everything a header says is checked before anything is believed: lengths within the file and 100 MB, shape x dtype =
/// bytes without overflow, no overlap, no hole, no name twice, every name of the index in its shard and the other way
/// round. What is wrong throws invalid naming the file, the tensor, and what was expected.
class Safetensors {
 public:
  explicit Safetensors(const base::Path& file_or_folder);

  const std::map<std::string, StoredTensor>& tensors() const { return tensors_; }
  /// Null if there is no such tensor.
  const StoredTensor* find(const std::string& name) const;
  /// What errors about its tensors name: the file or folder.
  const base::Path& path() const { return path_; }
  int64_t total_bytes() const;

  /// Lets go of the pages read so far (they come back from the file).
  void release_pages() const;

 private:
  void read_file(const base::Path& file);
  void read_shards(const base::Path& index);

  base::Path path_;
  std::vector<base::MappedFile> files_;
  std::vector<std::vector<std::byte>> realigned_;  // copies of tensors that lie askew in their file
  std::map<std::string, StoredTensor> tensors_;
};

/// Checks the front of a safetensors file (the header's length, the header) against the file's length and gives the
/// tensors with views into `file`. `where` names the file in errors.
std::map<std::string, StoredTensor> parse_safetensors(std::span<const std::byte> file,
                                                      const std::string& where);

/// One tensor to write.
struct TensorToWrite {
  std::string name;
  std::string dtype;
  std::vector<int64_t> shape;
  std::span<const std::byte> bytes;
};

/// Writes a safetensors file, durably and whole: tensors by falling element size, then by name, so that each is aligned,
/// with {"format": "pt"} as transformers asks for. Throws invalid if a shape does not fit its bytes, or a name comes twice.
void write_safetensors(const base::Path& path, std::vector<TensorToWrite> tensors);

/// The most bytes of tensors that one file of a model holds, as transformers writes it.
inline constexpr int64_t kShardBytes = 5'000'000'000;

/// Whether the folder holds a model's weights, whole or in shards.
bool holds_model(const base::Path& folder);

/// Writes a model's tensors into `folder`: model.safetensors, or if they are more than `shard_bytes`
/// model-00001-of-0000N.safetensors and so on, and last model.safetensors.index.json. A larger tensor has its own file.
void write_model(const base::Path& folder, std::vector<TensorToWrite> tensors,
                 int64_t shard_bytes = kShardBytes);

}  // namespace textmill::nn
