#pragma once

#include <sys/types.h>

#include "base/files.h"

namespace textmill::fleet {

/// Who a program is outside its walls; inside, it is root.
struct User {
  uid_t user;
  gid_t group;
  bool other;  // than this process
};

/// Of a server that is root: a user who owns nothing and whom nobody else is. Else, and where root may not become anybody
/// (a user namespace of one user), this process's own.
User program_user();

/// Makes all below a path, but for what is at `but`, the program's own, if that is another user; links are not followed.
void give(const base::Path& path, const User& user, const base::Path& but = {});
/// Lets that other user go to what is below `top`, without seeing what else is there.
void open_way(const base::Path& top, base::Path to, const User& user);

}  // namespace textmill::fleet
