#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/files.h"

namespace textmill::base {

/// Hashes, and the cyclic checksums that S3 knows.
enum class HashKind { md5, sha1, sha256, crc32, crc32c, crc64nvme };

/// A hash or checksum of that kind, piece by piece.
class Hasher {
 public:
  explicit Hasher(HashKind kind);
  Hasher(Hasher&&) noexcept;
  ~Hasher();
  void update(std::string_view bytes);
  /// Of all the pieces, raw; a checksum with its highest byte first. Ends the object: nothing may follow.
  std::string digest();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// SHA-256 (FIPS 180-4), piece by piece.
class Sha256 {
 public:
  void update(std::string_view bytes) { hasher_.update(bytes); }
  void update(std::span<const std::byte> bytes) {
    update(std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
  }
  /// Of all the pieces. Ends the object: nothing may follow.
  std::array<uint8_t, 32> digest();
  std::string hex_digest();

 private:
  Hasher hasher_{HashKind::sha256};
};

std::array<uint8_t, 32> sha256(std::string_view bytes);
std::string sha256_hex(std::string_view bytes);
std::string sha256_file(const Path& path);

/// RFC 2104.
std::array<uint8_t, 32> hmac_sha256(std::string_view key, std::string_view text);
std::array<uint8_t, 20> hmac_sha1(std::string_view key, std::string_view text);

/// CRC-32C (Castagnoli, RFC 3720), with the instruction of SSE 4.2 where the CPU has it.
/// crc32c(b, crc32c(a)) is the sum of a followed by b.
uint32_t crc32c(std::span<const std::byte> bytes, uint32_t before = 0);

/// Lower-case hexadecimal.
std::string hex(std::span<const uint8_t> bytes);
std::string hex(std::string_view raw);

/// Equality in a time that depends on the lengths only.
bool equal_in_constant_time(std::string_view a, std::string_view b);

}  // namespace textmill::base
