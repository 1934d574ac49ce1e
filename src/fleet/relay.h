#pragma once

#include <cstdint>

#include "base/files.h"

namespace textmill::fleet {

/// A program that listens where it likes is reached through a port of ours: the socket is made outside, and served inside
/// the program's network.

/// Listens at 127.0.0.1. Throws in_use.
base::Descriptor listen_at(uint16_t port);
/// Carries each connection that comes in there to 127.0.0.1:`to` of this process's network, in a process of its own.
[[noreturn]] void relay(int listener, uint16_t to);

/// Whether somebody in this network listens at a port.
bool is_listened_at(uint16_t port);
/// Whether it is `process` or what it started.
bool listens_at(pid_t process, uint16_t port);

}  // namespace textmill::fleet
