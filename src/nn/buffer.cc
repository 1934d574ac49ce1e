#include "nn/buffer.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

namespace textmill::nn {

Buffer::Buffer(Buffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

Buffer::~Buffer() { std::free(data_); }

std::byte* Buffer::at_least(size_t bytes) { return grow(bytes, 0); }

std::byte* Buffer::grow(size_t bytes, size_t kept) {
  constexpr size_t kLine = 64, kHugePage = 2 << 20;
  if (bytes <= size_) return data_;
  size_t alignment = bytes >= kHugePage ? kHugePage : kLine;
  size_t wanted = kept ? bytes + bytes / 2 : bytes;  // what keeps its content grows again and again
  size_t rounded = (wanted + kLine - 1) / kLine * kLine;
  auto* grown = static_cast<std::byte*>(
      std::aligned_alloc(alignment, (rounded + alignment - 1) / alignment * alignment));
  if (!grown) throw std::bad_alloc();
  if (alignment == kHugePage) madvise(grown, rounded, MADV_HUGEPAGE);
  if (kept) std::memcpy(grown, data_, kept);
  std::free(data_);
  data_ = grown;
  size_ = rounded;
  return data_;
}

}  // namespace textmill::nn
