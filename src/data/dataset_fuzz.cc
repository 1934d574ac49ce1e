// Any bytes under any name: examples, or an error that is the file's fault.

#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>

#include "base/error.h"
#include "data/dataset.h"

using namespace textmill;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static base::TemporaryFolder folder("dataset_fuzz");
  static const char* const names[] = {"a.tsv", "a.csv", "a.jsonl", "a.txt"};
  static const int file = [] {
    int fd = ::memfd_create("input", 0);
    for (const char* name : names) {
      std::filesystem::create_symlink("/proc/self/fd/" + std::to_string(fd), folder.path() / name);
    }
    return fd;
  }();
  if (::ftruncate(file, 0) != 0 || ::pwrite(file, data, size, 0) < 0) std::abort();
  for (const char* name : names) {
    for (bool labels : {true, false}) {
      try {
        data::DatasetReader reader(folder.path() / name, {}, labels, data::Inputs::texts_or_ids);
        for (data::Example example; reader.next(example);) {
          if (!example.input_ids.empty() && (!example.text.empty() || example.text_pair)) std::abort();
          if (labels && (!example.label || example.label->empty())) std::abort();
        }
      } catch (const base::Error& error) {
        if (error.kind() != base::Kind::invalid) std::abort();
      }
    }
  }
  return 0;
}
