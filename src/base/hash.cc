#include "base/hash.h"

#include <nmmintrin.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>

#include <algorithm>
#include <cstring>

#include "base/checksum.h"
#include "base/error.h"

namespace textmill::base {

namespace {

const EVP_MD* algorithm(HashKind kind) {
  switch (kind) {
    case HashKind::md5: return EVP_md5();
    case HashKind::sha1: return EVP_sha1();
    case HashKind::sha256: return EVP_sha256();
    default: return nullptr;
  }
}

std::string big_endian(uint64_t value, size_t bytes) {
  std::string out;
  for (size_t i = bytes; i-- > 0;) out += static_cast<char>(value >> (8 * i));
  return out;
}

}  // namespace

struct Hasher::State {
  HashKind kind;
  EVP_MD_CTX* context = nullptr;  // of a hash
  uint64_t sum = 0;               // of a checksum
  ~State() { EVP_MD_CTX_free(context); }
};

Hasher::Hasher(HashKind kind) : state_(new State{kind}) {
  if (!algorithm(kind)) return;
  state_->context = EVP_MD_CTX_new();
  TEXTMILL_CHECK(EVP_DigestInit_ex(state_->context, algorithm(kind), nullptr) == 1);
}

Hasher::Hasher(Hasher&&) noexcept = default;
Hasher::~Hasher() = default;

void Hasher::update(std::string_view bytes) {
  auto raw = std::as_bytes(std::span(bytes));
  auto& sum = state_->sum;
  switch (state_->kind) {
    case HashKind::crc32: sum = crc32(raw, static_cast<uint32_t>(sum)); break;
    case HashKind::crc32c: sum = crc32c(raw, static_cast<uint32_t>(sum)); break;
    case HashKind::crc64nvme: sum = crc64nvme(raw, sum); break;
    default: TEXTMILL_CHECK(EVP_DigestUpdate(state_->context, bytes.data(), bytes.size()) == 1);
  }
}

std::string Hasher::digest() {
  if (!state_->context) return big_endian(state_->sum, state_->kind == HashKind::crc64nvme ? 8 : 4);
  std::string out(EVP_MAX_MD_SIZE, '\0');
  unsigned size = 0;
  TEXTMILL_CHECK(EVP_DigestFinal_ex(state_->context, reinterpret_cast<uint8_t*>(out.data()), &size) == 1);
  out.resize(size);
  return out;
}

std::array<uint8_t, 32> Sha256::digest() {
  std::array<uint8_t, 32> out;
  std::ranges::copy(hasher_.digest(), out.begin());
  return out;
}

std::string Sha256::hex_digest() { return hex(digest()); }

std::array<uint8_t, 32> sha256(std::string_view bytes) {
  std::array<uint8_t, 32> out;
  ::SHA256(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size(), out.data());
  return out;
}

std::string sha256_hex(std::string_view bytes) { return hex(sha256(bytes)); }

namespace {

template <size_t size>
std::array<uint8_t, size> hmac(const EVP_MD* hash, std::string_view key, std::string_view text) {
  std::array<uint8_t, size> out;
  TEXTMILL_CHECK(::HMAC(hash, key.data(), static_cast<int>(key.size()),
                        reinterpret_cast<const uint8_t*>(text.data()), text.size(), out.data(), nullptr));
  return out;
}

}  // namespace

std::array<uint8_t, 32> hmac_sha256(std::string_view key, std::string_view text) {
  return hmac<32>(EVP_sha256(), key, text);
}

std::array<uint8_t, 20> hmac_sha1(std::string_view key, std::string_view text) {
  return hmac<20>(EVP_sha1(), key, text);
}

bool equal_in_constant_time(std::string_view a, std::string_view b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

std::string sha256_file(const Path& path) {
  constexpr size_t kPiece = size_t{64} << 20;
  MappedFile file(path);
  Sha256 sum;
  for (auto rest = file.bytes(); !rest.empty();) {
    auto piece = rest.first(std::min(rest.size(), kPiece));
    sum.update(piece);
    rest = rest.subspan(piece.size());
    file.release_pages();
  }
  return sum.hex_digest();
}

namespace {

constexpr std::array<uint32_t, 256> kCrcTable = [] {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t c = i;
    for (int bit = 0; bit < 8; ++bit) c = c & 1 ? 0x82f63b78u ^ (c >> 1) : c >> 1;
    table[i] = c;
  }
  return table;
}();

uint32_t crc_portable(const std::byte* data, size_t size, uint32_t crc) {
  for (size_t i = 0; i < size; ++i) crc = kCrcTable[(crc ^ static_cast<uint8_t>(data[i])) & 255] ^ (crc >> 8);
  return crc;
}

[[gnu::target("sse4.2")]] uint32_t crc_sse42(const std::byte* data, size_t size, uint32_t crc) {
  uint64_t wide = crc;
  for (; size >= 8; data += 8, size -= 8) {
    uint64_t word;
    std::memcpy(&word, data, 8);
    wide = _mm_crc32_u64(wide, word);
  }
  crc = static_cast<uint32_t>(wide);
  for (; size > 0; ++data, --size) crc = _mm_crc32_u8(crc, static_cast<uint8_t>(*data));
  return crc;
}

}  // namespace

uint32_t crc32c(std::span<const std::byte> bytes, uint32_t before) {
  static const auto kernel = __builtin_cpu_supports("sse4.2") ? crc_sse42 : crc_portable;
  return ~kernel(bytes.data(), bytes.size(), ~before);
}

std::string hex(std::string_view raw) {
  return hex({reinterpret_cast<const uint8_t*>(raw.data()), raw.size()});
}

std::string hex(std::span<const uint8_t> bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string out;
  out.reserve(bytes.size() * 2);
  for (uint8_t b : bytes) {
    out += kDigits[b >> 4];
    out += kDigits[b & 15];
  }
  return out;
}

}  // namespace textmill::base
