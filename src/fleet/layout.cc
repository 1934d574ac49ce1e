#include "fleet/layout.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "contract/layout.h"
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

bool is_folder(const Path& path) {
  return std::filesystem::is_directory(std::filesystem::symlink_status(path));
}

/// Whether `relative` is one, without a link on the way that a program made.
bool is_folder(Path at, const Path& relative) {
  return std::ranges::all_of(relative, [&](const Path& part) { return is_folder(at /= part); });
}

void merge(const Path& from, const Path& to) {
  for (const auto& entry : std::filesystem::directory_iterator(from)) {
    Path target = to / entry.path().filename();
    if (!std::filesystem::exists(std::filesystem::symlink_status(target)))
      std::filesystem::rename(entry.path(), target);
    else if (is_folder(entry.path()) && is_folder(target))
      merge(entry.path(), target);
  }
}

/// 127.0.0.1, 127.0.0.2, ...: hosts are names of one machine.
std::string host_names(const std::vector<std::string>& hosts) {
  std::string text = "127.0.0.1 localhost\n::1 localhost\n";
  for (size_t i = 0; i < hosts.size(); ++i)
    text += fmt::format("127.0.{}.{} {}\n", (i + 1) / 256, (i + 1) % 256, hosts[i]);
  return text;
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
  base::write_file_durably(folder.path / host / "hosts", host_names(task.hosts));
  for (const Path& path : {layout.root(), layout.model()}) std::filesystem::create_directories(path);
  if (!task.training) return;
  for (const Path& path :
       {layout.checkpoints(), layout.output_data(), layout.channel(""), layout.root() / "code"})
    std::filesystem::create_directories(path);
  contract::TrainingInput input = task.input;
  input.resources.current_host = host;
  contract::write_configuration(layout, input);
  for (const auto& [name, channel] : input.channels)
    std::filesystem::create_directories(layout.channel(name));
  if (!task.checkpoints.empty()) clone_folder(folder.restored(), layout.root() / in_root(task.checkpoints));
}

void copy_inputs(const AttemptFolder& folder, const Task& task, const std::string& host) {
  for (const auto& name : folder.inputs(host))
    clone_folder(folder.input(host, name),
                 contract::Layout(folder.root(host)).root() / task.mount_point(name));
  // They may be the store's own files, and nothing hides them from the program.
  const Path inputs = folder.path / host / "input";
  if (!std::filesystem::exists(inputs)) return;
  give(inputs, {::geteuid(), ::getegid(), ::geteuid() == 0});
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

void merge_hosts(const AttemptFolder& folder, const Task& task) {
  for (size_t i = 1; i < task.hosts.size(); ++i)
    for (const char* place : {"model", "output/data"}) {
      Path from = folder.root(task.hosts[i]) / place, to = folder.root(task.hosts[0]) / place;
      if (is_folder(folder.root(task.hosts[i]), place) && is_folder(folder.root(task.hosts[0]), place))
        merge(from, to);
    }
}

}  // namespace textmill::fleet
