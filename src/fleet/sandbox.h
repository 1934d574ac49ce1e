#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "base/files.h"
#include "fleet/user.h"

namespace textmill::fleet {

/// Folders that appear as one: `lower` is never written to.
struct Overlay {
  base::Path lower, upper, work, merged;  // all are there
};

/// What a program sees of the machine. All paths are the machine's.
struct View {
  std::string host;               // its host name
  base::Path root, tmp;           // become /opt/ml and /tmp; both are its own
  base::Path names;               // becomes /etc/hosts
  std::vector<Overlay> overlays;  // within root
  std::vector<base::Path> hidden,
      visible;  // empty there; there nevertheless, and read-only as all that is not its own
  bool own_network = false;
  // Of a container, which sees of the machine only what is put into it:
  std::optional<Overlay> container;  // its root
  base::Path name, folder;           // becomes /etc/hostname; where its program starts, is made there
};

/// The flags of clone(2) for a process that calls enter().
int clone_flags(const View& view);

/// Called by the parent of a process made with clone_flags(): it may be `user` from here on, as root in its namespace.
void let_be(pid_t process, const User& user);

/// Called in that process, after let_be(): from here on it is the user, it sees only what the view says, and whatever it
/// starts cannot change that. The rest of the machine is read-only; /proc shows its own processes, /dev only what needs
/// no hardware. Throws what the system refuses.
void enter(const View& view, const User& user);

/// Moves this process, of one thread, and what it starts to a network of their own, which is nothing but a loopback;
/// false where the system does not let it.
bool leave_network();

/// Shows what is in a folder of root's as `user`'s own, to this process, of one thread, and to what it starts; the files
/// stay root's. False where the system cannot: before Linux 5.19 overlays take no such mounts, and some file systems make
/// none.
bool show_as(const base::Path& folder, const User& user);
/// Ends that, if it was.
void show_plainly(const base::Path& folder);

/// enter() without namespaces: only another user.
void become(const User& user);

/// Gives up, for this process and all that it starts, what would undo enter(). To be called before exec.
void drop_privileges();

}  // namespace textmill::fleet
