#include "format/archive.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <zlib.h>
#include <zstd.h>

#include <cstring>

#include "base/error.h"

namespace textmill::format {
namespace {

using base::Kind;
using base::Path;

/// One ustar entry, made by hand: what tar would not write.
std::string entry(const std::string& name, char type, const std::string& content = "",
                  const std::string& target = "") {
  std::string header(512, '\0');
  auto put = [&](size_t at, const std::string& text) { header.replace(at, text.size(), text); };
  char size[12];
  std::snprintf(size, sizeof size, "%011zo", content.size());
  put(0, name);
  put(100, "0000755");
  put(124, size);
  put(136, "00000000000");
  put(148, "        ");
  header[156] = type;
  put(157, target);
  put(257, std::string("ustar\0"
                       "00",
                       8));
  unsigned sum = 0;
  for (unsigned char c : header) sum += c;
  char text[8];
  std::snprintf(text, sizeof text, "%06o", sum);
  put(148, text);
  header[154] = '\0';
  return header + content + std::string((512 - content.size() % 512) % 512, '\0');
}

class Archives : public testing::Test {
 protected:
  Archives() {
    std::filesystem::create_directory(target());
    base::write_file_durably(root_.path() / "secret", "secret");
  }
  Path target() { return root_.path() / "target"; }
  Path file(const std::string& entries) {
    base::write_file_durably(root_.path() / "a.tar", entries + std::string(1024, '\0'));
    return root_.path() / "a.tar";
  }
  std::string extract(const std::string& entries, Kind kind = Kind::invalid, ArchiveLimits limits = {}) {
    try {
      extract_archive(file(entries), target(), limits);
    } catch (const base::Error& error) {
      EXPECT_EQ(error.kind(), kind) << error.what();
      std::string message = error.what();
      return message.substr(message.find("a.tar"));
    }
    return "(nothing thrown)";
  }
  base::TemporaryFolder root_;
};

TEST_F(Archives, round_trip_and_equal_bytes) {
  Path from = root_.path() / "from";
  std::filesystem::create_directories(from / "sub" / "empty");
  std::string large(3000000, 'x');
  base::write_file_durably(from / "sub" / "large", large);
  base::write_file_durably(from / "a name\xc3\xa9", "");
  base::write_file_durably(from / std::string(200, 'n'), "long name");
  base::write_file_durably(from / "run", "#!");
  ::chmod((from / "run").c_str(), 0700);
  std::filesystem::create_symlink("run", from / "link");
  create_archive(from, root_.path() / "1.tar.gz");
  create_archive(from, root_.path() / "2.tar.gz");
  EXPECT_EQ(base::read_file(root_.path() / "1.tar.gz"), base::read_file(root_.path() / "2.tar.gz"));
  extract_archive(root_.path() / "1.tar.gz", target());
  EXPECT_EQ(base::read_file(target() / "sub" / "large"), large);
  EXPECT_EQ(base::read_file(target() / "a name\xc3\xa9"), "");
  EXPECT_EQ(base::read_file(target() / std::string(200, 'n')), "long name");
  EXPECT_TRUE(std::filesystem::is_directory(target() / "sub" / "empty"));
  EXPECT_EQ(base::read_file(target() / "link"), "#!");
  EXPECT_FALSE(std::filesystem::is_symlink(target() / "link"));
  struct stat status;
  ASSERT_EQ(::stat((target() / "run").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0755u);
}

TEST_F(Archives, zstd_and_plain) {
  std::string tar = entry("./a/b", '0', "content") + std::string(1024, '\0');
  std::string packed(ZSTD_compressBound(tar.size()), '\0');
  packed.resize(ZSTD_compress(packed.data(), packed.size(), tar.data(), tar.size(), 3));
  base::write_file_durably(root_.path() / "a.tar.zst", packed);
  extract_archive(root_.path() / "a.tar.zst", target());
  EXPECT_EQ(base::read_file(target() / "a" / "b"), "content");
  EXPECT_EQ(extract(entry("./", '5') + entry("/", '5') + entry("a/b", '0', "newer") + entry("c", '5')),
            "(nothing thrown)");
  EXPECT_EQ(base::read_file(target() / "a" / "b"), "newer");
}

TEST_F(Archives, names_outside_the_folder) {
  for (std::string name : {"../secret", "/etc/x", "a/../../secret", "..", "a/.."}) {
    EXPECT_EQ(extract(entry(name, '0', "x")), "a.tar: entry \"" + name + "\": a name outside the folder");
  }
  EXPECT_EQ(base::read_file(root_.path() / "secret"), "secret");
}

TEST_F(Archives, links_outside_the_folder) {
  for (std::string link : {"../secret", "/etc/passwd", "a/../..", ""}) {
    EXPECT_EQ(extract(entry("l", '2', "", link)), "a.tar: entry \"l\": a link to \"" + link + "\"");
  }
  EXPECT_EQ(extract(entry("l", '1', "", "../secret")), "a.tar: entry \"l\": a link to \"../secret\"");
  EXPECT_EQ(extract(entry("l", '1', "", "none")),
            "a.tar: entry \"l\": a link to \"none\", which is not there");
}

TEST_F(Archives, nothing_is_written_through_a_link) {
  std::filesystem::create_directory_symlink(root_.path(), target() / "out");
  std::string through = "goes through a link or a file, or replaces a folder";
  EXPECT_EQ(extract(entry("out/secret", '0', "x")), "a.tar: entry \"out/secret\": " + through);
  EXPECT_EQ(extract(entry("d", '5') + entry("l", '2', "", "d") + entry("l/x", '0', "x")),
            "a.tar: entry \"l/x\": " + through);
  EXPECT_EQ(extract(entry("f", '0', "x") + entry("f/x", '0', "x")), "a.tar: entry \"f/x\": " + through);
  std::filesystem::create_symlink(root_.path() / "secret", target() / "s");
  EXPECT_EQ(extract(entry("s", '0', "mine")), "(nothing thrown)") << "the link is replaced, not followed";
  EXPECT_EQ(base::read_file(target() / "s"), "mine");
  EXPECT_EQ(base::read_file(root_.path() / "secret"), "secret");
}

TEST_F(Archives, links_within_the_folder) {
  EXPECT_EQ(extract(entry("d/f", '0', "x") + entry("s", '2', "", "d/f") + entry("h", '1', "", "d/f")),
            "(nothing thrown)");
  EXPECT_EQ(base::read_file(target() / "s"), "x");
  EXPECT_EQ(base::read_file(target() / "h"), "x");
}

TEST_F(Archives, devices_and_pipes) {
  for (char type : {'3', '4', '6'}) {
    EXPECT_EQ(extract(entry("x", type)), "a.tar: entry \"x\": neither a file, a folder nor a link");
  }
}

TEST_F(Archives, bounds) {
  std::string two = entry("a", '0', "12345") + entry("b", '0', "12345");
  EXPECT_EQ(extract(two, Kind::limit, {.bytes = 10, .entries = 2}), "(nothing thrown)");
  EXPECT_EQ(extract(two, Kind::limit, {.bytes = 9, .entries = 2}), "a.tar: more than 9 bytes unpacked");
  EXPECT_EQ(extract(two, Kind::limit, {.bytes = 10, .entries = 1}), "a.tar: more than 1 entries");
}

TEST_F(Archives, what_is_no_archive) {
  EXPECT_NE(extract("hello").find("not a readable tar archive"), std::string::npos);
  std::string cut = entry("a", '0', std::string(5000, 'x')).substr(0, 2000);
  base::write_file_durably(root_.path() / "a.tar", cut);
  EXPECT_THROW(extract_archive(root_.path() / "a.tar", target()), base::Error);
  try {
    extract_archive(root_.path() / "none", target());
    FAIL();
  } catch (const base::Error& error) { EXPECT_EQ(error.kind(), Kind::not_found); }
}

TEST_F(Archives, a_root_keeps_what_leads_nowhere_for_who_is_in_it) {
  std::string setuid = entry("bin/su", '0', "su");
  setuid.replace(100, 7, "0006511");
  setuid.replace(136, 11, "00000001750");  // its time: 1000
  setuid.replace(148, 8, "        ");
  unsigned sum = 0;
  for (unsigned char c : setuid.substr(0, 512)) sum += c;
  char text[8];
  std::snprintf(text, sizeof text, "%06o", sum);
  setuid.replace(148, 7, std::string(text, 7));
  extract_root(file(entry("./", '5') + entry("/etc/hosts", '0', "h") + entry("bin", '5') + setuid +
                    entry("up", '2', "", "../../secret") + entry("all", '2', "", "/etc") +
                    entry("bin/same", '1', "", "bin/su") + entry("bin/link", '1', "", "/up") +
                    entry("null", '3') + entry("pipe", '6')),
               target(), {}, "the image x");
  EXPECT_EQ(base::read_file(target() / "etc/hosts"), "h");
  EXPECT_EQ(std::filesystem::read_symlink(target() / "up"), "../../secret");
  EXPECT_EQ(std::filesystem::read_symlink(target() / "all"), "/etc");
  EXPECT_TRUE(std::filesystem::is_symlink(target() / "bin/link"));
  EXPECT_FALSE(std::filesystem::exists(std::filesystem::symlink_status(target() / "null")));
  EXPECT_FALSE(std::filesystem::exists(std::filesystem::symlink_status(target() / "pipe")));
  struct stat status;
  ASSERT_EQ(::stat((target() / "bin/same").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0711u) << "no set-user-ID; its owner may read and write it";
  EXPECT_EQ(status.st_mtime, 1000);
  EXPECT_EQ(status.st_nlink, 2u);
}

TEST_F(Archives, a_root_stays_below_its_folder) {
  auto refused = [&](const std::string& entries) {
    try {
      extract_root(file(entries), target(), {}, "the image x");
    } catch (const base::Error& error) {
      EXPECT_EQ(error.kind(), Kind::invalid);
      return std::string(error.what());
    }
    return std::string("(nothing thrown)");
  };
  EXPECT_EQ(refused(entry("../x", '0', "x")), "the image x: entry \"../x\": a name outside the folder");
  EXPECT_EQ(refused(entry("l", '2', "", root_.path()) + entry("l/secret", '0', "x")),
            "the image x: entry \"l/secret\": goes through a link or a file, or replaces a folder");
  EXPECT_EQ(refused(entry("h", '1', "", "../secret")), "the image x: entry \"h\": a link to \"../secret\"");
  EXPECT_EQ(refused(entry("h", '1', "", "l/secret")),
            "the image x: entry \"h\": goes through a link or a file, or replaces a folder");
  EXPECT_EQ(base::read_file(root_.path() / "secret"), "secret");
}

}  // namespace
}  // namespace textmill::format
