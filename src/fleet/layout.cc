#include "fleet/layout.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <iterator>

#include "base/error.h"
#include "contract/layout.h"
#include "fleet/attempt.h"
#include "fleet/user.h"

namespace textmill::fleet {

using base::Path;

namespace {

/// The blocks of the other file, where the file system can share them, else its bytes.
void clone_file(const Path& from, const Path& to) {
  std::filesystem::create_directories(to.parent_path());
  base::Descriptor in = base::open_file(from, O_RDONLY);
  base::Descriptor out = base::open_file(to, O_WRONLY | O_CREAT | O_TRUNC, 0644);
  if (::ioctl(out.get(), FICLONE, in.get()) == 0) return;
  std::filesystem::copy_file(from, to, std::filesystem::copy_options::overwrite_existing);
  std::filesystem::permissions(to, std::filesystem::perms::owner_write, std::filesystem::perm_options::add);
}

void clone_folder(const Path& from, const Path& to) {
  std::filesystem::create_directories(to);
  if (!std::filesystem::exists(from)) return;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(from)) {
    Path target = to / entry.path().lexically_relative(from);
    if (entry.is_directory())
      std::filesystem::create_directories(target);
    else
      clone_file(entry.path(), target);
  }
}

/// Files that have other names, too, such as the store's, become copies.
void unlink_others(const Path& folder) {
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (!entry.is_regular_file() || entry.hard_link_count() == 1) continue;
    const Path copy = folder.parent_path() / "copy";
    clone_file(entry.path(), copy);
    std::filesystem::rename(copy, entry.path());
  }
}

bool is_folder(const Path& path) {
  return std::filesystem::is_directory(std::filesystem::symlink_status(path));
}

/// Whether `relative` is one, without a link on the way that a program made.
bool is_folder(Path at, const Path& relative) {
  return std::ranges::all_of(relative, [&](const Path& part) { return is_folder(at /= part); });
}

/// Returns what is a folder here and a file there, or the other way round: paths in `from`.
std::vector<Path> merge(const Path& from, const Path& to) {
  std::vector<Path> left;
  for (const auto& entry : std::filesystem::directory_iterator(from)) {
    Path target = to / entry.path().filename();
    bool folder = is_folder(entry.path());
    if (!std::filesystem::exists(std::filesystem::symlink_status(target)))
      std::filesystem::rename(entry.path(), target);
    else if (folder != is_folder(target))
      left.push_back(entry.path());
    else if (folder)
      std::ranges::copy(merge(entry.path(), target), std::back_inserter(left));
  }
  return left;
}

/// 127.1.0.1, 127.1.0.2, ...: hosts are names of one machine, whose loopback has 24 bits of addresses. Each task takes 256,
/// so that two whose hosts meet at the same port do not meet each other.
std::string host_names(const Task& task) {
  std::string text = "127.0.0.1 localhost\n::1 localhost\n";
  int64_t address = (256 + task.number % (250 * 256)) * 256;
  for (const std::string& host : task.hosts) {
    address++;
    text += fmt::format("127.{}.{}.{} {}\n", address >> 16, address >> 8 & 255, address & 255, host);
  }
  return text;
}

/// As a container's usual surroundings are.
void use_image(Program& program, const AttemptFolder& folder, const Task& task, const std::string& host) {
  program.environment["HOME"] = "/root";
  for (const char* name : {"TMPDIR", "LANG"}) program.environment.erase(name);
  const Path own = folder.path / host / "container";
  std::error_code none;  // what another start left
  if (std::filesystem::exists(own)) open_up(own);
  std::filesystem::remove_all(own, none);
  program.folder = program.view.folder = task.container;
  program.view.name = folder.path / host / "hostname";
  program.view.container = Overlay{folder.image(), own / "upper", own / "work", own / "root"};
  for (const Path& path : {own / "upper", own / "work", own / "root"}) {
    std::filesystem::create_directories(path);
    std::filesystem::permissions(path, std::filesystem::perms(0755));
  }
}

}  // namespace

Path in_root(const Path& path) {
  Path relative = path.lexically_normal().lexically_relative(contract::Layout::kDefaultRoot);
  if (relative.empty() || relative == "." || *relative.begin() == "..")
    throw base::Error(base::Kind::invalid, path.string() + ": expected a path below /opt/ml");
  return relative;
}

void lay_out_host(const AttemptFolder& folder, const Task& task, const std::string& host) {
  contract::Layout layout(folder.root(host));
  std::filesystem::create_directories(folder.tmp(host));
  std::filesystem::permissions(folder.tmp(host), std::filesystem::perms(01777));
  base::write_file_durably(folder.path / host / "hosts", host_names(task));
  base::write_file_durably(folder.path / host / "hostname", host + '\n');
  std::filesystem::create_directories(layout.root());
  // What an image brings there is hidden by nothing empty.
  if (task.training || task.container.empty()) std::filesystem::create_directories(layout.model());
  if (!task.training) return;
  for (const Path& path : {layout.checkpoints(), layout.output_data(), layout.channel("")})
    std::filesystem::create_directories(path);
  if (task.container.empty())
    std::filesystem::create_directories(layout.root() / "code");  // an image's own stays
  for (const Path& path : {task.checkpoints, task.tensorboard})
    if (!path.empty()) std::filesystem::create_directories(layout.root() / in_root(path));
  contract::TrainingInput input = task.input;
  input.resources.current_host = host;
  contract::write_configuration(layout, input);
  for (const auto& [name, channel] : input.channels)
    if (channel.input_mode != "Pipe") std::filesystem::create_directories(layout.channel(name));
  if (!task.checkpoints.empty()) clone_folder(folder.restored(), layout.root() / in_root(task.checkpoints));
}

std::string without_walls(const std::string& refused, const Path& root) {
  return fmt::format(
      "This system lets us make no namespaces ({}): the program runs beside all others as {}, with "
      "SAGEMAKER_BASE_DIR={}.",
      refused,
      program_user().other
          ? "the user that they all are, so it can read other jobs' files"
          : "the server's user, so it can read the data folder, its key and other jobs' files",
      root.string());
}

void copy_inputs(const AttemptFolder& folder, const Task& task, const std::string& host) {
  for (const auto& name : folder.inputs(host))
    clone_folder(folder.input(host, name),
                 contract::Layout(folder.root(host)).root() / task.mount_point(name));
  // They may be the store's own files, and nothing hides them from the program.
  const Path inputs = folder.path / host / "input";
  show_plainly(inputs);
  std::filesystem::remove_all(inputs);
}

Program program_of(const AttemptFolder& folder, const Task& task, const std::string& host,
                   const LimitGroups& groups, int lock, Walls walls) {
  bool alone = walls == Walls::namespaces;
  Path root = folder.root(host), tmp = folder.tmp(host);
  Program program{.command = task.command,
                  .environment = {{"PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
                                  {"HOME", alone ? "/tmp" : tmp.string()},
                                  {"TMPDIR", alone ? "/tmp" : tmp.string()},
                                  {"LANG", "C.UTF-8"},
                                  {"HOSTNAME", host}},
                  .folder = alone ? Path(contract::Layout::kDefaultRoot) : root,
                  .view = {.host = host,
                           .root = root,
                           .tmp = tmp,
                           .names = folder.path / host / "hosts",
                           .hidden = task.hidden,
                           .visible = task.visible,
                           .own_network = task.own_network},
                  .limits = task.limits,
                  .groups = groups,
                  .lock = lock};
  if (!task.container.empty()) use_image(program, folder, task, host);
  for (const auto& [name, value] : task.environment) program.environment[name] = value;
  if (!alone) program.environment[contract::Layout::kRootVariable] = root.string();
  for (const auto& name : folder.inputs(host)) {
    Path own = folder.path / host;
    Overlay overlay{folder.input(host, name), own / "upper" / name, own / "work" / name,
                    root / task.mount_point(name)};
    for (const Path& path : {overlay.upper, overlay.work, overlay.merged})
      std::filesystem::create_directories(path);
    program.view.overlays.push_back(std::move(overlay));
  }
  return program;
}

void hand_over(const AttemptFolder& folder, const Task& task, const std::string& host, Walls walls) {
  const User user = program_user();
  const Path inputs = folder.path / host / "input";
  give(folder.path / host, user, inputs);
  if (user.other && task.training && std::filesystem::exists(inputs) && !show_as(inputs, user)) {
    unlink_others(inputs);
    give(inputs, user);
  }
  if (walls == Walls::namespaces || task.hidden.empty()) return;
  open_way(task.hidden[0], folder.path, user);
  for (const Path& path : task.visible) open_way(task.hidden[0], path, user);
}

void merge_hosts(const AttemptFolder& folder, const Task& task,
                 const std::function<void(const std::string& host, const std::string& words)>& say) {
  for (size_t i = 1; i < task.hosts.size(); ++i) {
    const Path own = folder.root(task.hosts[i]), first = folder.root(task.hosts[0]);
    for (const char* place : {"model", "output/data"}) {
      if (!is_folder(own, place) || !is_folder(first, place)) continue;
      for (const Path& left : merge(own / place, first / place)) {
        bool here = is_folder(left);
        say(task.hosts[i],
            fmt::format("/opt/ml/{} was not kept: of an instance before this one it is a {}, and here a {}.",
                        left.lexically_relative(own).string(), here ? "file" : "folder",
                        here ? "folder" : "file"));
      }
    }
  }
}

}  // namespace textmill::fleet
