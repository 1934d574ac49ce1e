#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace textmill::base {

// Cyclic checksums, by carry-less multiplication where the CPU has it. f(b, f(a)) is the sum of a followed by b.

/// CRC-32 (IEEE 802.3; that of zip and Ethernet).
uint32_t crc32(std::span<const std::byte> bytes, uint32_t before = 0);
/// CRC-64/NVME.
uint64_t crc64nvme(std::span<const std::byte> bytes, uint64_t before = 0);

/// The same with plain loops.
uint32_t crc32_portable(std::span<const std::byte> bytes, uint32_t before = 0);
uint64_t crc64nvme_portable(std::span<const std::byte> bytes, uint64_t before = 0);

}  // namespace textmill::base
