#include "fleet/relay.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <string>

namespace textmill::fleet {
namespace {

sockaddr_in address_of(int socket) {
  sockaddr_in address{};
  socklen_t size = sizeof address;
  EXPECT_EQ(::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size), 0);
  return address;
}

template <class Body>
pid_t in_a_child(const Body& body) {
  pid_t child = ::fork();
  if (child != 0) return child;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  body();
  ::_exit(0);
}

/// What the first connection through a relay to `server` answers, if only `owner` may serve; empty: it was closed.
std::string through_relay(int server, pid_t owner) {
  base::Descriptor door = listen_at(0);
  pid_t child = in_a_child([&] { relay(door.get(), {ntohs(address_of(server).sin_port)}, owner); });
  base::Descriptor client(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address = address_of(door.get());
  EXPECT_EQ(::connect(client.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  char answer[8];
  ssize_t count = ::read(client.get(), answer, sizeof answer);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  return {answer, static_cast<size_t>(std::max<ssize_t>(count, 0))};
}

TEST(Relay, LeadsToItsOwnersAlone) {
  pid_t other = in_a_child([] { ::pause(); });
  base::Descriptor server = listen_at(0);
  pid_t serving = in_a_child([&] {
    while (true) {
      int client = ::accept(server.get(), nullptr, nullptr);
      [[maybe_unused]] ssize_t told = ::write(client, "hello", 5);
      ::close(client);
    }
  });
  EXPECT_EQ(through_relay(server.get(), ::getpid()), "hello");
  EXPECT_EQ(through_relay(server.get(), serving), "hello");
  EXPECT_EQ(through_relay(server.get(), 0), "hello");
  EXPECT_EQ(through_relay(server.get(), other), "");
  for (pid_t child : {serving, other}) {
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
  }
}

}  // namespace
}  // namespace textmill::fleet
