#include "fleet/relay.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <filesystem>
#include <set>
#include <sstream>
#include <string>

#include "base/error.h"

namespace textmill::fleet {

using base::Descriptor;

namespace {

sockaddr_in loopback(uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

/// Bytes both ways until both sides have ended, or one breaks off.
void carry(int a, int b) {
  pollfd ends[] = {{a, POLLIN, 0}, {b, POLLIN, 0}};
  char piece[65536];
  while (ends[0].fd >= 0 || ends[1].fd >= 0) {
    if (::poll(ends, 2, -1) < 0) continue;
    for (int i = 0; i < 2; ++i) {
      if (!ends[i].revents) continue;
      int from = i ? b : a, to = i ? a : b;
      ssize_t count = ::read(from, piece, sizeof piece);
      if (count < 0 || !base::write_all(to, {piece, static_cast<size_t>(count)})) return;
      if (count > 0) continue;
      ::shutdown(to, SHUT_WR);
      ends[i].fd = -1;
    }
  }
}

/// The inodes of sockets that listen at a port: the lines of /proc/net/tcp that are in the state LISTEN.
std::set<std::string> listeners(uint16_t port) {
  std::set<std::string> out;
  for (const char* table : {"/proc/net/tcp", "/proc/net/tcp6"}) {
    if (!std::filesystem::exists(table)) continue;
    std::istringstream lines(base::read_file(table, 64 << 20));
    for (std::string line; std::getline(lines, line);) {
      std::istringstream fields(line);
      std::string number, local, remote, state, skipped, inode;
      fields >> number >> local >> remote >> state;
      for (int i = 0; i < 5; ++i) fields >> skipped;
      if (fields >> inode && state == "0A" && local.ends_with(fmt::format(":{:04X}", port)))
        out.insert(inode);
    }
  }
  return out;
}

bool has_one_of(pid_t process, const std::set<std::string>& inodes) {
  std::error_code gone;
  for (const auto& file : std::filesystem::directory_iterator(fmt::format("/proc/{}/fd", process), gone)) {
    std::string to = std::filesystem::read_symlink(file.path(), gone).string();  // "socket:[123]"
    if (to.starts_with("socket:[") && inodes.contains(to.substr(8, to.size() - 9))) return true;
  }
  for (const auto& thread :
       std::filesystem::directory_iterator(fmt::format("/proc/{}/task", process), gone)) {
    std::string children;
    try {
      children = base::read_file(thread.path() / "children", 1 << 20);
    } catch (const base::Error&) { continue; }  // it is gone
    std::istringstream numbers(children);
    for (pid_t child; numbers >> child;)
      if (has_one_of(child, inodes)) return true;
  }
  return false;
}

}  // namespace

Descriptor listen_at(uint16_t port) {
  Descriptor listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address = loopback(port);
  int one = 1;
  if (!listener || ::setsockopt(listener.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 ||
      ::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(listener.get(), 128) != 0)
    throw base::system_error(fmt::format("127.0.0.1:{}", port), errno);
  return listener;
}

void relay(int listener, const std::vector<uint16_t>& to, pid_t owner) {
  std::vector<uint16_t> reached = owner == 0 ? to : std::vector<uint16_t>{};
  std::signal(SIGCHLD, SIG_IGN);  // nobody waits for them
  std::signal(SIGPIPE, SIG_IGN);
  while (true) {
    int from = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (from < 0 && errno != EINTR && errno != ECONNABORTED) ::usleep(10'000);  // no more files: some end
    if (from < 0) continue;
    if (reached.empty())
      std::ranges::copy_if(to, std::back_inserter(reached),
                           [&](uint16_t port) { return listens_at(owner, port); });
    if (::fork() == 0) {
      ::close(listener);
      for (uint16_t port : reached) {
        Descriptor inside(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        sockaddr_in address = loopback(port);
        if (!inside ||
            ::connect(inside.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
          continue;
        carry(from, inside.get());
        break;
      }
      ::_exit(0);
    }
    ::close(from);
  }
}

bool speaks_of_address(std::string_view line, uint16_t port) {
  return std::ranges::any_of(std::vector<std::string>{"in use", "ADDRINUSE", std::to_string(port)},
                             [&](const std::string& word) { return line.find(word) != line.npos; });
}

bool is_listened_at(uint16_t port) { return !listeners(port).empty(); }

bool listens_at(pid_t process, uint16_t port) {
  auto inodes = listeners(port);
  return !inodes.empty() && has_one_of(process, inodes);
}

}  // namespace textmill::fleet
