#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "base/files.h"

namespace textmill::nn {

/// Where what an engine packs of a model's weights is kept, so that the next one maps it instead of packing again, and all
/// that run at the same time share its pages. It is a cache: absent, old, damaged or in a folder that cannot be written, it
/// is not used.
struct PackedCache {
  base::Path folder;     // the model's: textmill-packed.NAME.bin is written beside its files
  uint64_t content = 0;  // a checksum of the weights' files
};

/// A file of a cache: a header of one page (magic, format version, layout, content, size and CRC-64 of what follows), then
/// the bytes. All of it is checked before it is used.
class Prepacked {
 public:
  /// `name` of the CPU path and the format; `layout`: a checksum of what lies where.
  Prepacked(const PackedCache& cache, const std::string& name, uint64_t layout);

  /// Nothing if there is no file of this content and layout with so many bytes.
  std::optional<base::MappedFile> open(size_t bytes) const;
  std::span<const std::byte> bytes(const base::MappedFile& file) const;
  /// Replaces the file; not synced, as a torn one is not used. False if that cannot be, or somebody else is at it.
  bool write(std::span<const std::byte> bytes) const;

 private:
  base::Path path_;
  uint64_t content_, layout_;
};

}  // namespace textmill::nn
