#include "fleet/sandbox.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <grp.h>
#include <linux/capability.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>
#include <utility>

#include "base/error.h"

namespace textmill::fleet {

using base::Path;

namespace {

void check(bool done, const std::string& what) {
  if (!done) throw base::system_error(what, errno);
}

void write_once(const std::string& file, const std::string& text) {
  base::Descriptor out(::open(file.c_str(), O_WRONLY | O_CLOEXEC));
  check(out && ::write(out.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()), file);
}

/// A place that is opened before the user changes, who may not be able to go there.
struct Opened {
  base::Descriptor file;
  explicit Opened(const Path& path) : file(::open(path.c_str(), O_PATH | O_CLOEXEC)) {
    check(static_cast<bool>(file), path.string());
  }
  Path path() const { return fmt::format("/proc/self/fd/{}", file.get()); }
};

/// A mount of its own of what is at a path, to be put somewhere else.
struct Piece {
  base::Descriptor tree;
  bool folder = false;
};

Piece take(const Path& path) {
  Piece piece{base::Descriptor(
      ::open_tree(AT_FDCWD, path.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE))};
  check(static_cast<bool>(piece.tree), path.string() + " cannot be shown to a job");
  piece.folder = std::filesystem::is_directory(path);
  return piece;
}

/// Makes what it is put on, too.
void put(const Piece& piece, const Path& at) {
  if (std::filesystem::symlink_status(at).type() == std::filesystem::file_type::not_found) {
    std::filesystem::create_directories(piece.folder ? at : at.parent_path());
    if (!piece.folder) base::open_file(at, O_WRONLY | O_CREAT, 0600);
  }
  check(::move_mount(piece.tree.get(), "", AT_FDCWD, at.c_str(), MOVE_MOUNT_F_EMPTY_PATH) == 0, at.string());
}

void make_read_only(int tree, const char* path, unsigned flags) {
  mount_attr attributes{};
  attributes.attr_set = MOUNT_ATTR_RDONLY;
  check(::mount_setattr(tree, path, flags, &attributes, sizeof attributes) == 0, "read-only mounts");
}

void mount_empty(const Path& at, const char* options = "mode=755") {
  check(::mount("tmpfs", at.c_str(), "tmpfs", MS_NOSUID | MS_NODEV, options) == 0, at.string());
}

struct OpenedOverlay {
  Opened lower, upper, work, merged;
  explicit OpenedOverlay(const Overlay& of)
      : lower(of.lower), upper(of.upper), work(of.work), merged(of.merged) {}
};

void mount_overlay(const OpenedOverlay& overlay) {
  std::string options =
      fmt::format("userxattr,lowerdir={},upperdir={},workdir={}", overlay.lower.path().string(),
                  overlay.upper.path().string(), overlay.work.path().string());
  check(::mount("overlay", overlay.merged.path().c_str(), "overlay", MS_NOSUID | MS_NODEV, options.c_str()) ==
            0,
        "overlays");
}

/// What stays of a folder under a fresh one.
std::vector<std::pair<Path, Piece>> entries(const Path& folder, std::string_view but) {
  std::vector<std::pair<Path, Piece>> out;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    if (entry.path().filename() != but && !entry.is_symlink())
      out.emplace_back(entry.path(), take(entry.path()));
  return out;
}

std::vector<std::pair<Path, Piece>> devices() {
  std::vector<std::pair<Path, Piece>> out;
  for (const char* name : {"null", "zero", "full", "random", "urandom", "tty"})
    if (Path path = Path("/dev") / name; std::filesystem::exists(path)) out.emplace_back(path, take(path));
  return out;
}

void make_dev(const std::vector<std::pair<Path, Piece>>& nodes) {
  mount_empty("/dev");
  for (const auto& [path, piece] : nodes) put(piece, path);
  std::filesystem::create_directory("/dev/shm");
  mount_empty("/dev/shm", "mode=1777");
  std::filesystem::create_symlink("/proc/self/fd", "/dev/fd");
  const char* streams[] = {"/dev/stdin", "/dev/stdout", "/dev/stderr"};
  for (int i = 0; i < 3; ++i) std::filesystem::create_symlink(fmt::format("/proc/self/fd/{}", i), streams[i]);
}

/// A /proc of only its own processes, to be put somewhere; to be made where the machine's is seen, else the kernel refuses.
Piece new_proc() {
  base::Descriptor made(::fsopen("proc", FSOPEN_CLOEXEC));
  check(made && ::fsconfig(made.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) == 0, "/proc");
  Piece piece{base::Descriptor(::fsmount(made.get(), FSMOUNT_CLOEXEC,
                                         MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC)),
              true};
  check(static_cast<bool>(piece.tree), "/proc");
  return piece;
}

/// Without what root of the machine steers the kernel through: the program has the same user there.
void make_proc(const Piece& proc) {
  put(proc, "/proc");
  for (const char* path : {"/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs"}) {
    if (!std::filesystem::exists(path)) continue;
    Piece piece = take(path);
    make_read_only(piece.tree.get(), "", AT_EMPTY_PATH | AT_RECURSIVE);
    put(piece, path);
  }
}

void raise_loopback() {
  base::Descriptor socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  request.ifr_name[0] = 'l';
  request.ifr_name[1] = 'o';
  request.ifr_flags = IFF_UP;
  check(socket && ::ioctl(socket.get(), SIOCSIFFLAGS, &request) == 0, "the loopback of an own network");
}

/// A process for the sake of its user namespace; it ends with its parent, whose lock it has.
[[noreturn]] void be_a_map(pid_t parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  while (::getppid() == parent) ::pause();
  ::_exit(0);
}

/// Whether this user may go there, be something there or not.
bool is_reachable(const Path& path) {
  std::error_code denied;
  return std::filesystem::status(path, denied).type() != std::filesystem::file_type::none;
}

void make_mounts(const View& view, const User& user) {
  check(::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0, "private mounts");
  Opened own_root(view.root);
  std::vector<OpenedOverlay> overlays(view.overlays.begin(), view.overlays.end());
  Piece tmp = take(view.tmp), names = take(view.names);
  std::vector<std::pair<Path, Piece>> visible, nodes = devices(), opt = entries("/opt", "ml");
  for (const Path& path : view.visible) visible.emplace_back(path, take(path));
  std::map<Path, Piece> nothing;  // in place of files
  for (const Path& path : view.hidden)
    if (std::error_code closed; std::filesystem::is_regular_file(path, closed))
      nothing.emplace(path, take("/dev/null"));

  become(user);
  for (const auto& overlay : overlays) mount_overlay(overlay);
  Piece root = take(own_root.path());
  make_read_only(AT_FDCWD, "/", AT_RECURSIVE);
  for (auto& [path, piece] : visible) make_read_only(piece.tree.get(), "", AT_EMPTY_PATH | AT_RECURSIVE);

  put(tmp, "/tmp");
  std::vector<Path> hidden = view.hidden, empty;
  std::ranges::sort(hidden);  // what lies in another is gone with that
  for (const Path& path : hidden) {
    std::error_code error;
    if (std::filesystem::is_directory(path, error)) mount_empty(empty.emplace_back(path), "mode=700");
    if (auto file = nothing.find(path);
        file != nothing.end() && std::filesystem::is_regular_file(path, error))
      put(file->second, path);
  }
  for (const auto& [path, piece] : visible)
    if (is_reachable(path)) put(piece, path);
  for (const Path& path : empty) make_read_only(AT_FDCWD, path.c_str(), 0);
  mount_empty("/opt");
  for (const auto& [path, piece] : opt) put(piece, path);
  put(root, "/opt/ml");
  put(names, "/etc/hosts");
  make_dev(nodes);
  make_proc(new_proc());
}

/// Whatever an image has there makes room: a link, a file for a folder; on the way there, what leads to no folder.
void make_room(const Path& at, bool folder) {
  using std::filesystem::file_type;
  std::error_code leads_nowhere;
  if (Path above = at.parent_path(); !std::filesystem::is_directory(above, leads_nowhere))
    make_room(above, true);
  auto type = std::filesystem::symlink_status(at).type();
  if (type != file_type::not_found && type != (folder ? file_type::directory : file_type::regular))
    std::filesystem::remove_all(at);
  if (folder) std::filesystem::create_directory(at);
}

/// From here on "/" is what is mounted at a path, and nothing leads back: until the old root is gone, "/.." does.
void change_root(const Path& to) {
  const Opened old("/");
  check(::chdir(to.c_str()) == 0, "the root of a container");
  check(::syscall(SYS_pivot_root, ".", ".") == 0, "pivot_root");
  check(::fchdir(old.file.get()) == 0 && ::umount2(".", MNT_DETACH) == 0 && ::chdir("/") == 0,
        "leaving the machine's root");
}

/// The image's files are its root, and what it writes is its own. Whatever it has where we put something, nothing is
/// followed out of it: that root is all there is then, and what we have open is not to be found, as there is no /proc.
void make_container(const View& view, const User& user) {
  check(::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0, "private mounts");
  Opened own_root(view.root), above(view.container->merged.parent_path());
  std::vector<OpenedOverlay> overlays(view.overlays.begin(), view.overlays.end());
  const OpenedOverlay root(*view.container);
  std::vector<std::pair<Path, Piece>> pieces, nodes = devices();
  pieces.emplace_back("/etc/hosts", take(view.names));
  pieces.emplace_back("/etc/hostname", take(view.name));
  const size_t own = pieces.size();
  for (const Path path : {"/etc/resolv.conf", "/sys"})
    if (std::filesystem::exists(path)) pieces.emplace_back(path, take(path));
  for (const Path& path : view.visible) pieces.emplace_back(path, take(path));

  become(user);
  for (const auto& overlay : overlays) mount_overlay(overlay);
  mount_overlay(root);
  for (size_t i = own; i < pieces.size(); ++i)
    make_read_only(pieces[i].second.tree.get(), "", AT_EMPTY_PATH | AT_RECURSIVE);
  for (auto& [path, piece] : entries(own_root.path(), ""))
    pieces.emplace_back("/opt/ml" / path.filename(), std::move(piece));

  const Piece proc = new_proc();

  ::umask(022);  // as containers' programs know it
  change_root(above.path() / view.container->merged.filename());
  for (const auto& [path, piece] : pieces) {
    make_room(path, piece.folder);
    put(piece, path);
  }
  for (const char* path : {"/dev", "/proc", "/tmp"}) make_room(path, true);
  std::filesystem::permissions("/tmp", std::filesystem::perms(01777));
  make_dev(nodes);
  std::error_code error;  // the program's start says it
  std::filesystem::create_directories(view.folder, error);
  make_proc(proc);
}

}  // namespace

int clone_flags(const View& view) {
  return CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC |
         (view.own_network ? CLONE_NEWNET : 0);
}

void let_be(pid_t process, const User& user) {
  std::string folder = fmt::format("/proc/{}/", process);
  if (!user.other) write_once(folder + "setgroups", "deny");  // else nobody may write the map of groups
  write_once(folder + "uid_map", fmt::format("0 {} 1", user.user));
  write_once(folder + "gid_map", fmt::format("0 {} 1", user.group));
}

void enter(const View& view, const User& user) {
  check(::sethostname(view.host.data(), view.host.size()) == 0, "sethostname");
  if (view.own_network) raise_loopback();
  (view.container ? make_container : make_mounts)(view, {0, 0, user.other});
}

bool leave_network() {
  const User user{::geteuid(), ::getegid(), false};
  if (::unshare(CLONE_NEWNET) != 0) {  // as root of a user namespace, which looks the same from here on
    if (user.user == 0 || ::unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) return false;
    let_be(::getpid(), user);
  }
  raise_loopback();
  return true;
}

bool show_as(const Path& folder, const User& user) {
  utsname system{};
  int major = 0, minor = 0;
  if (::uname(&system) != 0 || std::sscanf(system.release, "%d.%d", &major, &minor) != 2 ||
      std::pair(major, minor) < std::pair(5, 19))
    return false;
  const pid_t us = ::getpid();
  auto pid =
      static_cast<pid_t>(::syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, nullptr, nullptr, nullptr, nullptr));
  if (pid < 0) return false;
  if (pid == 0) be_a_map(us);
  auto end = [](const pid_t* of) { ::kill(*of, SIGKILL), ::waitpid(*of, nullptr, 0); };
  std::unique_ptr<pid_t, decltype(end)> ends(&pid, end);
  try {
    let_be(pid, user);
    base::Descriptor map = base::open_file(fmt::format("/proc/{}/ns/user", pid), O_RDONLY);
    if (::unshare(CLONE_NEWNS) != 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
      return false;
    Piece piece = take(folder);
    mount_attr attributes{};
    attributes.attr_set = MOUNT_ATTR_IDMAP;
    attributes.userns_fd = static_cast<uint64_t>(map.get());
    if (::mount_setattr(piece.tree.get(), "", AT_EMPTY_PATH, &attributes, sizeof attributes) != 0)
      return false;
    put(piece, folder);
  } catch (const base::Error&) {
    return false;  // what the system refuses
  }
  return true;
}

void show_plainly(const Path& folder) { ::umount2(folder.c_str(), MNT_DETACH); }

void become(const User& user) {
  if (!user.other) return;
  check(::setgroups(0, nullptr) == 0 && ::setresgid(user.group, user.group, user.group) == 0 &&
            ::setresuid(user.user, user.user, user.user) == 0,
        fmt::format("becoming the user {}", user.user));
}

void drop_privileges() {
  static constexpr int kKept[] = {CAP_CHOWN,  CAP_DAC_OVERRIDE, CAP_FOWNER,           CAP_FSETID,    CAP_KILL,
                                  CAP_SETGID, CAP_SETUID,       CAP_NET_BIND_SERVICE, CAP_SYS_CHROOT};
  for (int capability = 0; capability <= CAP_LAST_CAP; ++capability) {
    bool kept = false;
    for (int one : kKept) kept = kept || one == capability;
    if (!kept) ::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);  // refused where it was not there
  }
  check(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "no_new_privs");
}

}  // namespace textmill::fleet
