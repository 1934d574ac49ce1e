// Whatever an archive says, nothing appears or changes outside the folder that it is unpacked into.

#include <cstdlib>
#include <fstream>

#include "base/error.h"
#include "format/archive.h"

using namespace textmill;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static base::TemporaryFolder folder("archive_fuzz");
  base::Path root = folder.path() / "root", target = root / "target", archive = folder.path() / "archive";
  std::filesystem::remove_all(root);
  std::filesystem::create_directories(target);
  std::ofstream(root / "secret") << "secret";
  std::ofstream(archive, std::ios::binary)
      .write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(size));
  for (auto extract : {format::extract_archive, format::extract_root}) {
    std::filesystem::remove_all(target);
    std::filesystem::create_directory(target);
    try {
      extract(archive, target, {.bytes = 1 << 20, .entries = 100}, {});
    } catch (const base::Error& error) {
      if (error.kind() == base::Kind::internal) std::abort();
    }
  }
  if (base::read_file(root / "secret") != "secret") std::abort();
  if (std::distance(std::filesystem::directory_iterator(root), {}) != 2) std::abort();
  return 0;
}
