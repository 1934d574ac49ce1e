#include "base/checksum.h"

#include <gtest/gtest.h>

#include <random>
#include <string_view>
#include <vector>

namespace textmill::base {
namespace {

std::span<const std::byte> bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

// The check values of the CRC catalogue.
TEST(Checksum, OfOneToNine) {
  EXPECT_EQ(crc32(bytes("123456789")), 0xcbf43926u);
  EXPECT_EQ(crc64nvme(bytes("123456789")), 0xae8b14860a799888u);
  EXPECT_EQ(crc32({}), 0u);
  EXPECT_EQ(crc64nvme({}), 0u);
}

TEST(Checksum, FastEqualsPlainAtAnySizeAndCut) {
  std::mt19937_64 random(1);
  std::vector<std::byte> data(5000);
  for (auto& b : data) b = static_cast<std::byte>(random());
  std::span<const std::byte> all(data);
  for (size_t size = 0; size < 700; ++size) {
    auto part = all.subspan(size % 17, size);
    ASSERT_EQ(crc32(part), crc32_portable(part)) << size;
    ASSERT_EQ(crc64nvme(part), crc64nvme_portable(part)) << size;
  }
  for (size_t cut : {0, 1, 63, 64, 65, 1000, 4999, 5000}) {
    EXPECT_EQ(crc32(all.subspan(cut), crc32(all.first(cut))), crc32_portable(all)) << cut;
    EXPECT_EQ(crc64nvme(all.subspan(cut), crc64nvme(all.first(cut))), crc64nvme_portable(all)) << cut;
  }
}

}  // namespace
}  // namespace textmill::base
