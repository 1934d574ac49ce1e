#include "nn/prepacked.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <filesystem>

#include "base/checksum.h"

namespace textmill::nn {
namespace {

constexpr char kMagic[8] = "TMPACK";
constexpr uint64_t kFormatVersion = 1;
constexpr size_t kPage = 4096;  // so that rows keep their alignment

struct Header {
  char magic[8];
  uint64_t version, layout, content, bytes, crc;
};

std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// Whether it is a file, and still has this name.
bool is_at(int fd, const base::Path& path) {
  struct stat open, named;
  return fstat(fd, &open) == 0 && lstat(path.c_str(), &named) == 0 && open.st_dev == named.st_dev &&
         open.st_ino == named.st_ino && S_ISREG(open.st_mode);
}

}  // namespace

Prepacked::Prepacked(const PackedCache& cache, const std::string& name, uint64_t layout)
    : path_(cache.folder / ("textmill-packed." + name + ".bin")), content_(cache.content), layout_(layout) {}

std::optional<base::MappedFile> Prepacked::open(size_t bytes) const {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path_, error) || access(path_.c_str(), R_OK) != 0) return {};
  base::MappedFile file(path_);
  if (file.bytes().size() != kPage + bytes) return {};
  Header header;
  std::memcpy(&header, file.bytes().data(), sizeof header);
  bool ours = std::memcmp(header.magic, kMagic, sizeof kMagic) == 0 && header.version == kFormatVersion &&
              header.layout == layout_ && header.content == content_ && header.bytes == bytes;
  if (!ours || header.crc != base::crc64nvme(this->bytes(file))) return {};
  return file;
}

std::span<const std::byte> Prepacked::bytes(const base::MappedFile& file) const {
  return file.bytes().subspan(kPage);
}

bool Prepacked::write(std::span<const std::byte> bytes) const {
  Header header{{}, kFormatVersion, layout_, content_, bytes.size(), base::crc64nvme(bytes)};
  std::memcpy(header.magic, kMagic, sizeof kMagic);
  std::byte page[kPage] = {};
  std::memcpy(page, &header, sizeof header);
  base::Path temporary = path_;
  temporary += ".tmp";  // what a killed process left is written anew
  base::Descriptor file(
      ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0644));
  // Whoever has the lock writes the same bytes. By the time that it is ours the file may have got its name, and be mapped.
  if (file.get() < 0 || flock(file.get(), LOCK_EX | LOCK_NB) != 0 || !is_at(file.get(), temporary) ||
      ftruncate(file.get(), 0) != 0) {
    return false;
  }
  bool whole = base::write_all(file.get(), text_of(page)) && base::write_all(file.get(), text_of(bytes)) &&
               std::rename(temporary.c_str(), path_.c_str()) == 0;
  if (!whole) unlink(temporary.c_str());
  return whole;
}

}  // namespace textmill::nn
