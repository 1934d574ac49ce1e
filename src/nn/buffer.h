#pragma once

#include <cstddef>

namespace textmill::nn {

/// Memory of one's own, 64-byte aligned, in huge pages where the system has them. What it holds is lost when it grows.
class Buffer {
 public:
  Buffer() = default;
  Buffer(Buffer&& other) noexcept;
  Buffer& operator=(Buffer&& other) noexcept;
  ~Buffer();

  /// At least this many bytes.
  std::byte* at_least(size_t bytes);
  /// The same, keeping the first `kept` bytes.
  std::byte* grow(size_t bytes, size_t kept);

  std::byte* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace textmill::nn
