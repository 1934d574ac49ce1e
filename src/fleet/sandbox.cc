#include "fleet/sandbox.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/capability.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "base/error.h"

namespace textmill::fleet {

using base::Path;

namespace {

void check(bool done, const std::string& what) {
  if (!done) throw base::system_error(what, errno);
}

void write_once(const char* file, const std::string& text) {
  base::Descriptor out(::open(file, O_WRONLY | O_CLOEXEC));
  check(out && ::write(out.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()), file);
}

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

std::string escaped(const Path& path) {
  std::string out;
  for (char c : path.string())
    out += c == ':' || c == ',' || c == '\\' ? std::string{'\\', c} : std::string{c};
  return out;
}

void mount_overlay(const Overlay& overlay) {
  for (const Path& folder : {overlay.upper, overlay.work, overlay.merged})
    std::filesystem::create_directories(folder);
  std::string options = fmt::format("userxattr,lowerdir={},upperdir={},workdir={}", escaped(overlay.lower),
                                    escaped(overlay.upper), escaped(overlay.work));
  check(::mount("overlay", overlay.merged.c_str(), "overlay", MS_NOSUID | MS_NODEV, options.c_str()) == 0,
        "overlay at " + overlay.merged.string());
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

/// Only its own processes, and nothing through which root of the machine steers the kernel: the program has the same
/// user there.
void make_proc() {
  check(::mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) == 0, "/proc");
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

/// The program is root there and this user here: no other.
void map_users(uid_t user, gid_t group) {
  write_once("/proc/self/setgroups", "deny");
  write_once("/proc/self/uid_map", fmt::format("0 {} 1", user));
  write_once("/proc/self/gid_map", fmt::format("0 {} 1", group));
}

void make_mounts(const View& view) {
  check(::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0, "private mounts");
  for (const Overlay& overlay : view.overlays) mount_overlay(overlay);
  Piece root = take(view.root), tmp = take(view.tmp), names = take(view.names);
  std::vector<std::pair<Path, Piece>> visible, nodes = devices(), opt = entries("/opt", "ml");
  for (const Path& path : view.visible) visible.emplace_back(path, take(path));
  make_read_only(AT_FDCWD, "/", AT_RECURSIVE);
  for (auto& [path, piece] : visible) make_read_only(piece.tree.get(), "", AT_EMPTY_PATH | AT_RECURSIVE);

  put(tmp, "/tmp");
  for (const Path& path : view.hidden)
    if (std::error_code error; std::filesystem::is_directory(path, error)) mount_empty(path, "mode=700");
  for (const auto& [path, piece] : visible) put(piece, path);
  mount_empty("/opt");
  for (const auto& [path, piece] : opt) put(piece, path);
  put(root, "/opt/ml");
  put(names, "/etc/hosts");
  make_dev(nodes);
  make_proc();
}

}  // namespace

int clone_flags(const View& view) {
  return CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC |
         (view.own_network ? CLONE_NEWNET : 0);
}

void enter(const View& view, uid_t user, gid_t group) {
  map_users(user, group);
  check(::sethostname(view.host.data(), view.host.size()) == 0, "sethostname");
  if (view.own_network) raise_loopback();
  make_mounts(view);
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
