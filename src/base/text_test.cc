// hash, base64, utf8, time: text and bytes in, text and bytes out.

#include <gtest/gtest.h>

#include <random>

#include "base/base64.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/time.h"
#include "base/utf8.h"

namespace textmill::base {
namespace {

using namespace std::string_literals;

TEST(Sha256, known_digests) {
  EXPECT_EQ(sha256_hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(Sha256, pieces_and_files_equal_the_whole) {
  std::string bytes(100000, 'q');
  Sha256 pieces;
  for (size_t at = 0; at < bytes.size(); at += 777) pieces.update(std::string_view(bytes).substr(at, 777));
  EXPECT_EQ(pieces.hex_digest(), sha256_hex(bytes));
  TemporaryFolder folder;
  write_file_durably(folder.path() / "f", bytes);
  EXPECT_EQ(sha256_file(folder.path() / "f"), sha256_hex(bytes));
}

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

TEST(Crc32c, vectors_of_rfc_3720) {
  EXPECT_EQ(crc32c(bytes_of("123456789")), 0xe3069283u);
  EXPECT_EQ(crc32c(bytes_of(std::string(32, '\0'))), 0x8a9136aau);
  EXPECT_EQ(crc32c(bytes_of(std::string(32, '\xff'))), 0x62a8ab43u);
  EXPECT_EQ(crc32c({}), 0u);
}

TEST(Crc32c, equals_the_definition_bit_by_bit_at_any_split) {
  std::mt19937 random(1);
  std::string text(300, ' ');
  for (char& c : text) c = static_cast<char>(random());
  uint32_t crc = ~0u;
  for (size_t i = 0; i < text.size(); ++i) {
    crc ^= static_cast<uint8_t>(text[i]);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (crc & 1 ? 0x82f63b78u : 0);
    std::string_view all(text.data(), i + 1);
    size_t split = random() % all.size();
    EXPECT_EQ(crc32c(bytes_of(all.substr(split)), crc32c(bytes_of(all.substr(0, split)))), ~crc);
  }
}

TEST(Base64, vectors_of_rfc_4648) {
  const char* pairs[][2] = {{"", ""},
                            {"f", "Zg=="},
                            {"fo", "Zm8="},
                            {"foo", "Zm9v"},
                            {"foob", "Zm9vYg=="},
                            {"fooba", "Zm9vYmE="},
                            {"foobar", "Zm9vYmFy"},
                            {"\xff\xfe", "//4="}};
  for (auto [bytes, text] : pairs) {
    EXPECT_EQ(base64_encode(bytes), text);
    EXPECT_EQ(base64_decode(text), bytes);
  }
}

TEST(Base64, refuses_what_encode_never_writes) {
  for (const char* text :
       {"Z", "Zg", "Zg=", "Zh==", "Zm9=", "Z===", "====", "Zm 9", "Zm9v\n", "Zg==Zg==", "Zm-_"}) {
    EXPECT_THROW(base64_decode(text), Error) << text;
  }
}

TEST(Utf8, accepts_all_scalar_values_and_nothing_else) {
  auto encode = [](uint32_t c) {
    std::string out;
    if (c < 0x80) return std::string(1, static_cast<char>(c));
    int tail = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    out += static_cast<char>("\0\xc0\xe0\xf0"[tail] | c >> (6 * tail));
    while (tail-- > 0) out += static_cast<char>(0x80 | (c >> (6 * tail) & 0x3f));
    return out;
  };
  for (uint32_t c = 0; c < 0x120000; ++c) {
    bool scalar = c < 0x110000 && (c < 0xd800 || c > 0xdfff);
    ASSERT_EQ(invalid_utf8("ab" + encode(c)), scalar ? std::nullopt : std::optional<size_t>(2)) << c;
  }
}

TEST(Utf8, offset_of_the_first_bad_byte) {
  EXPECT_EQ(invalid_utf8(""), std::nullopt);
  EXPECT_EQ(invalid_utf8("\xc3\xa9t\xe9"), 3u);
  EXPECT_EQ(invalid_utf8("0123456789\x80"), 10u);
  EXPECT_EQ(invalid_utf8("\xc0\xaf"), 0u) << "overlong";
  EXPECT_EQ(invalid_utf8("\xe0\x80\xaf"), 0u) << "overlong";
  EXPECT_EQ(invalid_utf8("a\xe2\x82"), 1u) << "cut short";
}

TEST(Utf8, replaces_maximal_parts) {
  // The example of the Unicode standard, table 3-8 ff.
  std::string r = "\xEF\xBF\xBD";
  EXPECT_EQ(replace_invalid_utf8("\xc0\xaf\xe0\x80\xbf\xf0\x81\x82\x41"),
            r + r + r + r + r + r + r + r + "A");
  EXPECT_EQ(replace_invalid_utf8("\xe1\x80\xe2\xf0\x91\x92\xf1\xbf\x41"), r + r + r + r + "A");
  EXPECT_EQ(replace_invalid_utf8("caf\xe9"), "caf" + r);
  EXPECT_EQ(replace_invalid_utf8("fine"), "fine");
}

TEST(Time, writes_and_reads_iso8601) {
  using namespace std::chrono;
  WallTime time = sys_days(2024y / February / 29) + 23h + 59min + 58s + 7ms;
  EXPECT_EQ(iso8601(time), "2024-02-29T23:59:58.007Z");
  EXPECT_EQ(parse_iso8601("2024-02-29T23:59:58.007Z"), time);
  EXPECT_EQ(parse_iso8601("2024-03-01T01:29:58.007+01:30"), time);
  EXPECT_EQ(parse_iso8601("2024-02-29T22:59:58.0070001-01:00"), time);
  EXPECT_EQ(parse_iso8601("1970-01-01T00:00:00Z").time_since_epoch().count(), 0);
  EXPECT_EQ(iso8601(WallTime(-1ms)), "1969-12-31T23:59:59.999Z");
}

TEST(Time, refuses_other_text) {
  for (const char* text : {"", "2024-02-30T00:00:00Z", "2024-02-29", "2024-02-29T24:00:00Z",
                           "2024-02-29T00:00:00", "2024-02-29 00:00:00Z", "2024-02-29T00:00:00Zx",
                           "2024-2-29T00:00:00Z", "2024-02-29T00:00:00.Z", "2024-02-29T00:00:00+1:00"}) {
    EXPECT_THROW(parse_iso8601(text), Error) << text;
  }
}

// The examples of RFC 1321, FIPS 180-4, RFC 2202 and RFC 4231.
TEST(Hash, OfEachKind) {
  auto hashed = [](HashKind kind) {
    Hasher hasher(kind);
    hasher.update("a");
    hasher.update("bc");
    std::string raw = hasher.digest();
    return hex({reinterpret_cast<const uint8_t*>(raw.data()), raw.size()});
  };
  EXPECT_EQ(hashed(HashKind::md5), "900150983cd24fb0d6963f7d28e17f72");
  EXPECT_EQ(hashed(HashKind::sha1), "a9993e364706816aba3e25717850c26c9cd0d89d");
  EXPECT_EQ(hashed(HashKind::sha256), sha256_hex("abc"));
  EXPECT_EQ(hex(sha256("abc")), sha256_hex("abc"));
  EXPECT_EQ(hex(hmac_sha1("Jefe", "what do ya want for nothing?")),
            "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
  EXPECT_EQ(hex(hmac_sha256("Jefe", "what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
  EXPECT_TRUE(equal_in_constant_time("abc", "abc"));
  EXPECT_FALSE(equal_in_constant_time("abc", "abd"));
  EXPECT_FALSE(equal_in_constant_time("abc", "ab"));
}

TEST(Utf8, beginnings_of_whole_characters) {
  EXPECT_EQ(utf8_beginning("short", 5), "short");
  EXPECT_EQ(utf8_beginning("a\u00e9\u20ac", 5), "a\u00e9");
  EXPECT_EQ(utf8_beginning("a\u00e9\u20ac", 2), "a");
  EXPECT_EQ(utf8_beginning("\u20ac", 2), "");
}

}  // namespace
}  // namespace textmill::base
