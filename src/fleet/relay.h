#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/files.h"

namespace textmill::fleet {

/// A program that listens where it likes is reached through a port of ours: the socket is made outside, and served inside
/// the program's network.

/// Listens at 127.0.0.1. Throws in_use.
base::Descriptor listen_at(uint16_t port);
/// Carries each connection that comes in there to 127.0.0.1 of this process's network, in a process of its own: to the first
/// of the ports that somebody listens at. Where others share that network, `owner` is who must have listened there (it or
/// what it started), and what comes before is closed; else it is 0.
[[noreturn]] void relay(int listener, const std::vector<uint16_t>& to, pid_t owner);

/// Whether a program says that somebody has an address, in the words of kernels and servers: "Address already in use",
/// "Connection in use", "EADDRINUSE", "port 8080 is taken".
bool speaks_of_address(std::string_view line, uint16_t port);
/// Whether somebody in this network listens at a port.
bool is_listened_at(uint16_t port);
/// Whether it is `process` or what it started.
bool listens_at(pid_t process, uint16_t port);

}  // namespace textmill::fleet
