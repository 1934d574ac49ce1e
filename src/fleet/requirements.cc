#include "fleet/requirements.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <sstream>

#include "base/error.h"
#include "base/hash.h"
#include "fleet/attempt.h"
#include "fleet/images.h"
#include "fleet/inputs.h"
#include "fleet/job_task.h"
#include "fleet/journal.h"
#include "fleet/python.h"
#include "format/archive.h"
#include "store/objects.h"

namespace textmill::fleet {

using base::Path;

namespace {

constexpr uint64_t kMostText = 1 << 20, kMostInstalled = uint64_t{20} << 30;
constexpr format::ArchiveLimits kMostSource{.bytes = uint64_t{1} << 30, .entries = 100'000};
constexpr size_t kLastLines = 5;
constexpr auto kMostTime = std::chrono::hours(1);
constexpr auto kGrace = std::chrono::seconds(1);  // what pip had begun is thrown away
constexpr const char *kHost = "pip", *kInput = "requirements";
/// How pip gets out, in this server's environment or a job's own.
constexpr const char* kWays[] = {"HTTP_PROXY",    "HTTPS_PROXY",       "ALL_PROXY", "NO_PROXY",
                                 "http_proxy",    "https_proxy",       "all_proxy", "no_proxy",
                                 "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"};
constexpr const char* kInstall =
    "base=${SAGEMAKER_BASE_DIR:-/opt/ml}; exec \"$0\" \"$1\" --install "
    "\"$base/input/data/requirements/requirements.txt\" "
    "\"$base/model\"";

/// What an environment has, a line each: what is installed beside it depends on that. pip's folders have names and versions.
std::string packages_of(const Path& environment) {
  std::set<std::string> names;
  std::error_code none;
  for (const auto& python : std::filesystem::directory_iterator(environment / "lib", none))
    for (const char* kind : {"site-packages", "dist-packages"})
      for (const auto& entry : std::filesystem::directory_iterator(python.path() / kind, none))
        names.insert(python.path().filename() / entry.path().filename());
  return fmt::format("{}\n", fmt::join(names, "\n"));
}

/// "-r other.txt", "./package", "vendor/package", "package.tar.gz", "package @ file:x".
bool names_a_file(std::string_view line) {
  auto starts = [&](std::initializer_list<std::string_view> with) {
    return std::ranges::any_of(with, [&](std::string_view start) { return line.starts_with(start); });
  };
  auto has = [&](std::initializer_list<std::string_view> parts) {
    return std::ranges::any_of(parts, [&](std::string_view part) { return line.find(part) != line.npos; });
  };
  if (starts({"-e", "--edit", "file:"}) || has({"@file:", " file:"})) return true;
  if (has({"://"})) return false;
  return starts({"-r", "-c", "--req", "--con", "--find-links", "-f", "."}) ||
         has({"/", ".whl", ".zip", ".tar.", ".tgz"});
}

/// Whether a line, but for comments, names a file beside it.
bool names_files(const std::string& text) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    line.erase(0, line.find_first_not_of(" \t"));
    if (line.starts_with('#')) continue;
    if (names_a_file(line.substr(0, line.find(" #")))) return true;
  }
  return false;
}

}  // namespace

Requirements::Requirements(store::Store& store)
    : store_(store), folder_(store.folder() / "cache/requirements") {}

Path Requirements::install(const Path& environment, const std::string& text, const Task& task,
                           const std::stop_token& stop) {
  bool nothing = text.find_first_not_of(" \t\r\n") == text.npos;
  if (nothing || names_files(text)) return {};
  Settings settings;
  std::string all = environment.string() + '\n' + packages_of(environment) + text;
  for (const char* variable : kWays)
    if (const char* value = std::getenv(variable)) settings[variable] = value;
  for (const auto& [variable, value] : task.environment) {
    if (variable == "PIP_TARGET") continue;  // that is ours
    if (variable.starts_with("PIP_") || text.find("${" + variable + "}") != text.npos ||
        std::ranges::find(kWays, variable) != std::end(kWays))
      settings[variable] = value;
  }
  for (const auto& [variable, value] : settings) all += '\n' + variable + '=' + value;
  std::string name = base::sha256_hex(all).substr(0, 32);
  Path to = folder_ / name;
  auto turn = turns_.take(name, stop);
  if (!turn) throw base::Error(base::Kind::cancelled, "the installation of requirements.txt");
  auto is_there = [&] {
    std::lock_guard lock(mutex_);
    return use_entry(to);
  };
  if (!is_there()) {
    run(environment, text, settings, to, stop);
    is_there();
  }
  trim(kMostInstalled);
  return to;
}

uint64_t Requirements::trim(uint64_t most) {
  std::lock_guard lock(mutex_);
  return trim_cache(folder_, most, in_use());
}

std::set<std::string> Requirements::in_use() const {
  auto out = fresh_entries(folder_);
  for (const AttemptFolder& attempt : attempts_in(store_.folder())) {
    std::error_code gone;
    if (Path task = attempt.task(); std::filesystem::exists(task, gone))
      for (const Path& path : read_task(task).visible)
        if (path.parent_path() == folder_) out.insert(path.filename());
  }
  return out;
}

void Requirements::run(const Path& environment, const std::string& text, const Settings& settings,
                       const Path& to, const std::stop_token& stop) {
  AttemptFolder place{to.string() + ".partial"};
  if (was_begun(place)) {  // by a server that was killed meanwhile
    ask_to_stop(place);
    await_end(place);
  }
  remove_attempt(place);
  std::filesystem::create_directories(place.input(kHost, kInput));
  base::write_file_durably(place.input(kHost, kInput) / "requirements.txt", text);
  const Path python = python_folder(store_.folder());
  Task task{.name = "requirements.txt",
            .command = {"/bin/sh", "-c", kInstall, environment / "bin/python", python / kEnvironmentScript},
            .environment = settings,
            .hosts = {kHost},
            .grace = kGrace,
            .most = kMostTime,
            .hidden = hidden_paths(store_.folder(), server_key_),
            .visible = system_paths(),
            .pack = Task::Pack::nothing,
            .notes = {}};
  for (const Path& path : python_paths(environment)) task.visible.push_back(path);
  task.visible.push_back(python);
  write_task(place.task(), task);
  start_runner(place);
  {
    std::stop_callback end(stop, [&] { ask_to_stop(place); });
    await_end(place);
  }
  JournalPlace from;
  std::vector<std::string> lines;
  std::string outcome;
  for (auto events = read_journal(place.journal(), from); !events.empty();
       events = read_journal(place.journal(), from))
    for (const Event& event : events) {
      if (event.what == "log" && !event.body.find("note")) lines.push_back(event.text("text"));
      if (event.what == "end") outcome = event.text("outcome");
    }
  if (outcome == "completed") std::filesystem::rename(place.root(kHost) / "model", to);
  remove_attempt(place);
  if (outcome == "completed") return;
  std::string words;
  for (size_t i = lines.size() - std::min(lines.size(), kLastLines); i < lines.size(); ++i)
    words += (words.empty() ? "" : " | ") + lines[i];
  throw base::Error(base::Kind::invalid,
                    fmt::format("The packages of requirements.txt could not be installed: {}", words));
}

std::string requirements_of(store::Store& store, std::string_view source_url) {
  S3Uri uri = parse_s3_uri(source_url);
  base::TemporaryFolder work;
  Path archive = work.path() / "sourcedir.tar.gz", source = work.path() / "source";
  auto no_sweeps = store.blobs().pause_sweeps();
  bool found = store.database().read([&](store::Connection& c) {
    auto bucket = store::find_bucket(c, uri.bucket);
    auto object = bucket ? store::find_object(c, bucket->id, uri.key) : std::nullopt;
    if (!object) return false;
    place(c, store.blobs(), std::vector<Placed>{{object->blob, archive.filename()}}, work.path());
    return true;
  });
  if (!found) return {};
  std::filesystem::create_directories(source);
  format::extract_archive(archive, source, kMostSource, source_url);
  Path text = source / "requirements.txt";
  return std::filesystem::is_regular_file(std::filesystem::symlink_status(text))
             ? base::read_file(text, kMostText)
             : "";
}

}  // namespace textmill::fleet
