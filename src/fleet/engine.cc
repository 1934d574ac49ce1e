#include "fleet/engine.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>

#include "base/error.h"
#include "base/process.h"
#include "base/spelling.h"
#include "base/time.h"
#include "base/utf8.h"
#include "fleet/cache.h"
#include "format/json.h"

namespace textmill::fleet {

using base::Path;

namespace {

constexpr auto kExports = std::chrono::hours(1);
constexpr std::chrono::seconds kRemoves = std::chrono::minutes(10), kLateRemoves = std::chrono::seconds(3);
constexpr auto kLook = std::chrono::milliseconds(100);
constexpr off_t kMostWords = 16 << 20;
constexpr size_t kShown = 300;  // of the engine's words, in ours
constexpr size_t kId = 64;

bool is_program(const Path& path) {
  return std::filesystem::is_regular_file(path) && ::access(path.c_str(), X_OK) == 0;
}

Path on_path(std::string_view name) {
  const char* path = std::getenv("PATH");
  std::string_view folders = path ? path : "/usr/local/bin:/usr/bin:/bin";
  for (size_t at = 0; at <= folders.size();) {
    size_t end = std::min(folders.find(':', at), folders.size());
    Path program = Path(folders.substr(at, end - at)) / name;
    if (std::error_code error;
        program.is_absolute() && std::filesystem::exists(program, error) && is_program(program))
      return program;
    at = end + 1;
  }
  return {};
}

/// What a stream that was kept in memory holds.
std::string content(const base::Descriptor& file) {
  std::string out;
  char piece[65536];
  for (ssize_t n; (n = ::pread(file.get(), piece, sizeof piece, static_cast<off_t>(out.size()))) > 0;)
    out.append(piece, static_cast<size_t>(n));
  return out;
}

off_t size_of(int file) {
  struct stat status {};
  return ::fstat(file, &status) == 0 ? status.st_size : 0;
}

base::Descriptor in_memory() {
  base::Descriptor file(::memfd_create("engine", MFD_CLOEXEC));
  if (!file) throw base::system_error("memfd", errno);
  return file;
}

/// The engine's words as a piece of a sentence.
std::string words_of(std::string text) {
  text = base::replace_invalid_utf8(text);
  std::ranges::replace(text, '\n', ' ');
  text.erase(text.find_last_not_of(" \r") + 1);
  if (text.size() > kShown) text = base::replace_invalid_utf8(text.substr(0, kShown)) + "...";
  return text.empty() ? "it says nothing" : text;
}

/// An engine that is gone is no user's matter.
base::Process started(const base::ProcessSpec& spec) {
  try {
    return base::Process(spec);
  } catch (const base::Error& error) { throw base::Error(base::Kind::unavailable, error.what()); }
}

bool says(const std::string& text, std::initializer_list<std::string_view> any) {
  const std::string words = base::lower_case(text);
  return std::ranges::any_of(any, [&](std::string_view one) { return words.find(one) != words.npos; });
}

std::string joined(const std::vector<std::string>& arguments) {
  return fmt::format("{}", fmt::join(arguments, " "));
}

}  // namespace

ContainerImage parse_inspection(std::string_view json) {
  format::Json all = format::parse_json(json, "image inspect");
  auto list = format::JsonView(all, "image inspect").array();
  if (list.size() != 1)
    throw base::Error(base::Kind::invalid, fmt::format("expected one image, got {}", list.size()));
  const format::JsonView& in = list[0];
  ContainerImage image{.id = in.at("Id").string()};
  if (image.id.starts_with("sha256:")) image.id.erase(0, std::string_view("sha256:").size());
  if (image.id.size() != kId || image.id.find_first_not_of("0123456789abcdef") != std::string::npos)
    in.at("Id").fail("64 hexadecimal digits");
  image.platform = in.get_string("Os", "linux") + "/" + in.get_string("Architecture", "");
  if (auto lines = in.find("Config.Env"))
    for (const std::string& line : lines->strings())
      if (size_t at = line.find('='); at != line.npos && at > 0)
        image.environment[line.substr(0, at)] = line.substr(at + 1);
  if (auto entrypoint = in.find("Config.Entrypoint")) image.entrypoint = entrypoint->strings();
  image.folder = "/" / Path(in.get_string("Config.WorkingDir", "")).lexically_normal();
  image.user = in.get_string("Config.User", "");
  return image;
}

std::string this_platform() {
  utsname system{};
  ::uname(&system);
  std::string_view machine = system.machine;
  return fmt::format("linux/{}", machine == "x86_64" ? "amd64" : machine == "aarch64" ? "arm64" : machine);
}

Path find_engine(const std::string& setting) {
  if (setting == "none") return {};
  if (setting.empty()) {
    Path podman = on_path("podman");
    return podman.empty() ? on_path("docker") : podman;
  }
  bool by_path = setting.find('/') != std::string::npos;
  Path program = by_path ? std::filesystem::absolute(setting) : on_path(setting);
  if (program.empty() || !is_program(program))
    throw base::Error(
        base::Kind::invalid,
        fmt::format("the container engine '{}' {}: expected podman, docker, none, or the path of a program",
                    setting, by_path ? "is no program" : "is not on the PATH"));
  return program;
}

Engine::Engine(Path program, std::chrono::seconds answers_within)
    : program_(std::move(program)), answers_within_(answers_within) {}

Engine::Answer Engine::run(std::vector<std::string> arguments, std::chrono::seconds limit,
                           const std::stop_token& stop, int output) const {
  const std::string asked = fmt::format("{} {}", program_.string(), joined(arguments));
  base::Descriptor said = in_memory(), complained = in_memory();
  arguments.insert(arguments.begin(), program_);
  base::Process process = started({.arguments = std::move(arguments),
                                   .environment = {},
                                   .output = output < 0 ? said.get() : output,
                                   .error = complained.get(),
                                   .group = true});
  for (const auto end = base::steady_now() + limit;;) {
    if (auto status = process.wait_for(kLook)) return {*status, content(said), content(complained)};
    if (stop.stop_requested()) throw base::Error(base::Kind::cancelled, asked);
    if (base::steady_now() > end)
      throw base::Error(base::Kind::unavailable,
                        fmt::format("{} gave no answer within {} s", asked, limit.count()));
    if (size_of(said.get()) > kMostWords || size_of(complained.get()) > kMostWords)
      throw base::Error(base::Kind::unavailable,
                        fmt::format("{} says more than {} MiB", asked, kMostWords >> 20));
    if (output >= 0) {
      std::error_code error;
      auto space = std::filesystem::space(fmt::format("/proc/self/fd/{}", output), error);
      if (!error && space.available < kLeastFree)
        throw base::Error(base::Kind::unavailable,
                          fmt::format("{}: the disk is full: less than 256 MiB were left", asked));
    }
  }
}

Engine::Answer Engine::must(const std::vector<std::string>& arguments, std::chrono::seconds limit,
                            const std::stop_token& stop, int output) const {
  Answer answer = run(arguments, limit, stop, output);
  if (answer.status != 0)
    throw base::Error(base::Kind::unavailable,
                      fmt::format("{} {} failed with status {}: {}", program_.string(), joined(arguments),
                                  answer.status, words_of(answer.error)));
  return answer;
}

ContainerImage Engine::inspect(const std::string& image, const std::stop_token& stop) const {
  Answer answer = run({"image", "inspect", "--", image}, answers_within_, stop);
  const std::string name = program_.filename();
  if (answer.status != 0 && says(answer.error, {"invalid reference"}))
    throw base::Error(base::Kind::invalid,
                      fmt::format("the image {} is none that `textmill images` lists, and {} takes it for no "
                                  "image's name: {}",
                                  image, program_.string(), words_of(answer.error)));
  if (answer.status != 0 && says(answer.error, {"no such image", "image not known", "no such object"}))
    throw base::Error(
        base::Kind::invalid,
        fmt::format("the image {0} is none that `textmill images` lists, and {1} does not have it: "
                    "`{2} pull {0}` or `{2} load` brings it there (this server pulls no images)",
                    image, program_.string(), name));
  if (answer.status != 0)
    throw base::Error(base::Kind::unavailable,
                      fmt::format("{} image inspect {} failed with status {}: {}", program_.string(), image,
                                  answer.status, words_of(answer.error)));
  ContainerImage found;
  try {
    found = parse_inspection(answer.output);
  } catch (const base::Error& error) {
    throw base::Error(base::Kind::unavailable,
                      fmt::format("{} image inspect {}: {}", program_.string(), image, error.what()));
  }
  if (found.platform != this_platform())
    throw base::Error(base::Kind::invalid, fmt::format("the image {} is for {}, and this machine is {}",
                                                       image, found.platform, this_platform()));
  return found;
}

void Engine::write_files(const ContainerImage& image, const std::string& container, const Path& archive,
                         const std::stop_token& stop) const {
  base::Descriptor file = base::open_file(archive, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  // It never runs; but where an image does not say what to run, something must be named.
  must({"create", "--name", container, image.id, "train"}, kExports, stop);
  must({"export", container}, kExports, stop, file.get());
}

bool Engine::remove_container(const std::string& container, const std::stop_token& stop) const {
  const bool late = stop.stop_requested();
  try {
    return run({"rm", "--force", container}, late ? kLateRemoves : kRemoves, late ? std::stop_token() : stop)
               .status == 0;
  } catch (const base::Error&) { return false; }
}

}  // namespace textmill::fleet
