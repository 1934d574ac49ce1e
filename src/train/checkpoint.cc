#include "train/checkpoint.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <stdio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <future>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/hash.h"
#include "base/log.h"

namespace textmill::train {
namespace {

namespace fs = std::filesystem;
using base::Error;
using base::Kind;
using base::Path;

constexpr std::string_view kManifest = "manifest";
constexpr int kFormat = 1;

// Read, not mapped: a hole that is mapped takes a page, which a full tmpfs does not have.
std::string line_of(const Path& file) {
  base::Descriptor in = base::open_file(file, O_RDONLY);
  std::vector<std::byte> block(size_t{1} << 20);
  uint32_t sum = 0;
  size_t size = 0;
  for (ssize_t n; (n = ::read(in.get(), block.data(), block.size())) != 0;) {
    if (n < 0) throw base::system_error(file.string(), errno);
    sum = base::crc32c(std::span(block).first(static_cast<size_t>(n)), sum);
    size += static_cast<size_t>(n);
  }
  return fmt::format("{:08x} {} {}\n", sum, size, file.filename().string());
}

std::vector<Path> files_in(const Path& folder) {
  std::vector<Path> files;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().filename() != kManifest) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

// A manifest, of any format: "textmill FORMAT", a line per file, and the sum of all that.

std::string sum_line(std::string_view text) {
  return fmt::format("{:08x} manifest\n", base::crc32c(std::as_bytes(std::span(text))));
}

/// The lines before the sum; none if the manifest is not what was written.
std::vector<std::string> manifest_lines(std::string_view manifest) {
  size_t sum = manifest.size() < 2 ? 0 : manifest.rfind('\n', manifest.size() - 2) + 1;
  std::string_view body = manifest.substr(0, sum);
  if (manifest.substr(sum) != sum_line(body)) return {};
  std::vector<std::string> lines;
  for (size_t end; !body.empty(); body.remove_prefix(end)) {
    end = body.find('\n') + 1;
    lines.emplace_back(body.substr(0, end));
  }
  return lines;
}

/// The number of "textmill N\n"; 0 if that is not the line.
int format_of(std::string_view line) {
  constexpr std::string_view kWord = "textmill ";
  int format = 0;
  if (line.starts_with(kWord)) std::from_chars(line.data() + kWord.size(), line.data() + line.size(), format);
  return format;
}

constexpr std::string_view kPrefix = "step-";

/// All folders named as checkpoints, newest first.
std::vector<Checkpoint> list_checkpoints(const Path& root) {
  std::vector<Checkpoint> found;
  if (!fs::exists(root)) return found;
  for (const auto& entry : fs::directory_iterator(root)) {
    std::string name = entry.path().filename().string();
    int64_t step = 0;
    if (!name.starts_with(kPrefix)) continue;
    std::from_chars(name.data() + kPrefix.size(), name.data() + name.size(), step);
    if (name == checkpoint_name(step)) found.push_back({entry.path(), step});
  }
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.step > b.step; });
  return found;
}

}  // namespace

FolderWriter::FolderWriter(const Path& root, const std::string& name)
    : root_(root), final_(root / name), partial_(root / ("." + name + ".partial")) {
  fs::remove_all(partial_);
  fs::create_directories(partial_);
}

FolderWriter::~FolderWriter() {
  std::error_code ignored;  // gone after commit(); what cannot be removed is pruned later
  fs::remove_all(partial_, ignored);
}

Path FolderWriter::commit() {
  std::string manifest = fmt::format("textmill {}\n", kFormat);
  std::vector<std::future<std::string>> lines;
  for (const Path& file : files_in(partial_)) lines.push_back(std::async(std::launch::async, line_of, file));
  for (auto& line : lines) manifest += line.get();
  base::write_file_durably(partial_ / kManifest, manifest + sum_line(manifest));
  // In place of a folder of that name, if there is one: at no moment is there none.
  if (::renameat2(AT_FDCWD, partial_.c_str(), AT_FDCWD, final_.c_str(), RENAME_EXCHANGE) != 0) {
    fs::remove_all(final_);
    fs::rename(partial_, final_);
  }
  base::sync_folder(root_);
  return final_;
}

std::optional<std::string> damage(const Path& folder) {
  Path path = folder / kManifest;
  if (!fs::is_regular_file(path)) return "it has no manifest";
  auto lines = manifest_lines(base::read_file(path));
  int format = lines.empty() ? 0 : format_of(lines[0]);
  if (format > kFormat) {
    throw Error(Kind::invalid,
                fmt::format("{}: written by a newer textmill (format {}, this one reads up to {})",
                            path.string(), format, kFormat));
  }
  if (format < 1) return "its manifest is damaged";
  for (size_t i = 1; i < lines.size(); i++) {
    std::string name = lines[i].substr(lines[i].rfind(' ') + 1);
    name.pop_back();
    if (!fs::is_regular_file(folder / name)) return fmt::format("{} is missing", name);
    if (line_of(folder / name) != lines[i]) return fmt::format("{} is not what was written", name);
  }
  return {};
}

std::string checkpoint_name(int64_t step) { return fmt::format("{}{:012}", kPrefix, step); }

bool has_checkpoints(const Path& root) { return !list_checkpoints(root).empty(); }

std::optional<Checkpoint> newest_checkpoint(const Path& root) {
  for (const Checkpoint& checkpoint : list_checkpoints(root)) {
    auto wrong = damage(checkpoint.path);
    if (!wrong) return checkpoint;
    base::log(base::Level::warning, "checkpoint_damaged",
              {{"checkpoint", checkpoint.path.string()}, {"damage", *wrong}});
  }
  return {};
}

void remove_newer_checkpoints(const Path& root, int64_t step) {
  for (const Checkpoint& checkpoint : list_checkpoints(root))
    if (checkpoint.step > step) fs::remove_all(checkpoint.path);
}

void prune_checkpoints(const Path& root, size_t count) {
  auto checkpoints = list_checkpoints(root);
  for (size_t i = count; i < checkpoints.size(); i++) fs::remove_all(checkpoints[i].path);
  for (const auto& entry : fs::directory_iterator(root)) {
    std::string name = entry.path().filename().string();
    if (name.starts_with('.') && name.ends_with(".partial")) fs::remove_all(entry.path());
  }
}

}  // namespace textmill::train
