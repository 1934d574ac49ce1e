#include "base/checksum.h"

#include <emmintrin.h>
#include <smmintrin.h>
#include <wmmintrin.h>

#include <array>
#include <cstring>

namespace textmill::base {
namespace {

// Bits are reflected throughout, as in the definitions of both sums: bit 0 of a byte has the highest power of x. So in
// a word of n bits, bit i is the coefficient of x^(n-1-i). A Word's `Polynomial` leaves out the leading x^n.

template <class Word, Word polynomial>
struct Crc {
  static constexpr int kBits = sizeof(Word) * 8;

  static constexpr std::array<Word, 256> kTable = [] {
    std::array<Word, 256> table{};
    for (unsigned byte = 0; byte < 256; ++byte) {
      Word rest = byte;
      for (int bit = 0; bit < 8; ++bit)
        rest = rest & 1 ? static_cast<Word>((rest >> 1) ^ polynomial) : static_cast<Word>(rest >> 1);
      table[byte] = rest;
    }
    return table;
  }();

  static Word bytewise(const std::byte* data, size_t size, Word sum) {
    for (size_t i = 0; i < size; ++i)
      sum = static_cast<Word>(sum >> 8) ^ kTable[(sum ^ static_cast<uint8_t>(data[i])) & 255];
    return sum;
  }

  /// x^power modulo the polynomial, in the upper bits of a 64-bit word.
  static constexpr uint64_t power(int power) {
    Word rest = Word{1} << (kBits - 1);  // x^0
    for (int i = 0; i < power; ++i)
      rest = rest & 1 ? static_cast<Word>((rest >> 1) ^ polynomial) : static_cast<Word>(rest >> 1);
    return static_cast<uint64_t>(rest) << (64 - kBits);
  }

  /// What multiplies the two halves of a block to carry it `bits` further. A product of reflected words lies one bit
  /// low, hence one power less.
  template <int bits>
  static __m128i carry() {
    constexpr uint64_t first = power(bits + 64 - 1), second = power(bits - 1);
    return _mm_set_epi64x(static_cast<int64_t>(second), static_cast<int64_t>(first));
  }

  [[gnu::target("pclmul,sse4.1")]] static __m128i fold(__m128i block, __m128i by, __m128i next) {
    __m128i low = _mm_clmulepi64_si128(block, by, 0x00), high = _mm_clmulepi64_si128(block, by, 0x11);
    return _mm_xor_si128(_mm_xor_si128(low, high), next);
  }

  static __m128i load(const std::byte* data) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(data));
  }

  /// "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ" (Gopal et al., 2009): four blocks side by side, then
  /// one; what is left of it is short enough for the table.
  [[gnu::target("pclmul,sse4.1")]] static Word folding(const std::byte* data, size_t size, Word sum) {
    if (size < 64) return bytewise(data, size, sum);
    __m128i blocks[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) blocks[i] = load(data + 16 * i);
    blocks[0] = _mm_xor_si128(blocks[0], _mm_set_epi64x(0, static_cast<int64_t>(uint64_t{sum})));
    data += 64;
    size -= 64;
    for (const __m128i by = carry<512>(); size >= 64; data += 64, size -= 64) {
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) blocks[i] = fold(blocks[i], by, load(data + 16 * i));
    }
    const __m128i by = carry<128>();
    __m128i block = blocks[0];
#pragma GCC unroll 3
    for (int i = 1; i < 4; ++i) block = fold(block, by, blocks[i]);
    for (; size >= 16; data += 16, size -= 16) block = fold(block, by, load(data));
    std::array<std::byte, 16> rest;
    std::memcpy(rest.data(), &block, 16);
    return bytewise(data, size, bytewise(rest.data(), 16, 0));
  }
};

using Crc32 = Crc<uint32_t, 0xedb88320u>;
using Crc64 = Crc<uint64_t, 0x9a6c9329ac4bc9b5u>;

}  // namespace

uint32_t crc32_portable(std::span<const std::byte> bytes, uint32_t before) {
  return ~Crc32::bytewise(bytes.data(), bytes.size(), ~before);
}

uint64_t crc64nvme_portable(std::span<const std::byte> bytes, uint64_t before) {
  return ~Crc64::bytewise(bytes.data(), bytes.size(), ~before);
}

uint32_t crc32(std::span<const std::byte> bytes, uint32_t before) {
  static const auto kernel = __builtin_cpu_supports("pclmul") ? Crc32::folding : Crc32::bytewise;
  return ~kernel(bytes.data(), bytes.size(), ~before);
}

uint64_t crc64nvme(std::span<const std::byte> bytes, uint64_t before) {
  static const auto kernel = __builtin_cpu_supports("pclmul") ? Crc64::folding : Crc64::bytewise;
  return ~kernel(bytes.data(), bytes.size(), ~before);
}

}  // namespace textmill::base
