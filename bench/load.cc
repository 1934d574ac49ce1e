// The HTTP load generator of every benchmark: one thread, epoll, keep-alive connections, closed loop.
//
//   bench_load --port 8080 --path /invocations --bodies FILE [--type application/json] [--connections 8]
//              [--requests 1000] [--warmup 50]
//
// FILE holds one request body per line, sent in order and again from the start. Prints one JSON object:
// counts by status, requests per second, latency percentiles in milliseconds, and the share of one CPU that
// the generator used.

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

struct Options {
  int port = 8080, connections = 8, requests = 1000, warmup = 0;
  std::string path = "/", type = "application/json", bodies;
};

[[noreturn]] void fail(const std::string& message) {
  std::fprintf(stderr, "bench_load: %s\n", message.c_str());
  std::exit(2);
}

Options parse(int argc, char** argv) {
  Options o;
  std::map<std::string, std::string*> texts{
      {"--path", &o.path}, {"--type", &o.type}, {"--bodies", &o.bodies}};
  std::map<std::string, int*> numbers{{"--port", &o.port},
                                      {"--connections", &o.connections},
                                      {"--requests", &o.requests},
                                      {"--warmup", &o.warmup}};
  for (int i = 1; i + 1 < argc; i += 2) {
    if (auto t = texts.find(argv[i]); t != texts.end())
      *t->second = argv[i + 1];
    else if (auto n = numbers.find(argv[i]); n != numbers.end())
      *n->second = std::atoi(argv[i + 1]);
    else
      fail(std::string("unknown flag ") + argv[i]);
  }
  if (argc % 2 == 0) fail("a flag lacks its value");
  if (o.bodies.empty() || o.connections < 1 || o.requests < 1)
    fail("--bodies FILE, --connections and --requests of at least 1 are needed");
  return o;
}

std::vector<std::string> read_requests(const Options& o) {
  std::ifstream file(o.bodies);
  if (!file) fail("cannot read " + o.bodies);
  std::vector<std::string> requests;
  for (std::string body; std::getline(file, body);)
    requests.push_back("POST " + o.path + " HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: " + o.type +
                       "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
  if (requests.empty()) fail(o.bodies + " has no line");
  return requests;
}

// Where a response ends, or 0 while it is not whole; only Content-Length framing, which is what model servers
// send.
size_t response_end(std::string_view in) {
  size_t head = in.find("\r\n\r\n");
  if (head == std::string_view::npos) return 0;
  std::string lower(in.substr(0, head));
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return char(std::tolower(c)); });
  size_t at = lower.find("\r\ncontent-length:");
  if (at == std::string::npos) fail("a response without Content-Length");
  size_t length = size_t(std::atoll(lower.c_str() + at + 17)), end = head + 4 + length;
  return in.size() >= end ? end : 0;
}

struct Connection {
  int fd = -1;
  std::string_view out;  // what is left to send
  std::string in;
  Clock::time_point sent;
};

class Load {
 public:
  Load(const Options& options, std::vector<std::string> requests)
      : options_(options), requests_(std::move(requests)) {
    poll_ = epoll_create1(0);
    connections_.resize(size_t(options.connections));
    for (auto& c : connections_) open(c);
  }
  ~Load() {
    for (auto& c : connections_) close(c.fd);
    close(poll_);
  }

  // Sends `count` requests and keeps their latencies in milliseconds.
  void run(int count) {
    latencies_.clear();
    statuses_.clear();
    left_ = count;
    int open_answers = 0;
    for (auto& c : connections_) open_answers += start(c);
    std::vector<epoll_event> events(connections_.size());
    while (open_answers > 0) {
      int n = epoll_wait(poll_, events.data(), int(events.size()), 60'000);
      if (n <= 0) fail("no answer within 60 s");
      for (int i = 0; i < n; i++) {
        auto& c = *static_cast<Connection*>(events[size_t(i)].data.ptr);
        if (events[size_t(i)].events & EPOLLOUT) send_rest(c);
        if (events[size_t(i)].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) open_answers += receive(c);
      }
    }
  }

  std::vector<double>& latencies() { return latencies_; }
  const std::map<int, int>& statuses() const { return statuses_; }

 private:
  void open(Connection& c) {
    c.fd = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{.sin_family = AF_INET,
                        .sin_port = htons(uint16_t(options_.port)),
                        .sin_addr = {htonl(INADDR_LOOPBACK)},
                        .sin_zero = {}};
    if (connect(c.fd, reinterpret_cast<sockaddr*>(&address), sizeof address))
      fail("cannot connect to port " + std::to_string(options_.port));
    int one = 1;
    setsockopt(c.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    fcntl(c.fd, F_SETFL, O_NONBLOCK);
    epoll_event event{.events = EPOLLIN, .data = {.ptr = &c}};
    epoll_ctl(poll_, EPOLL_CTL_ADD, c.fd, &event);
  }

  int start(Connection& c) {
    if (left_ == 0) return 0;
    left_--;
    c.out = requests_[next_++ % requests_.size()];
    c.sent = Clock::now();
    send_rest(c);
    return 1;
  }

  void send_rest(Connection& c) {
    while (!c.out.empty()) {
      ssize_t n = write(c.fd, c.out.data(), c.out.size());
      if (n < 0 && errno != EAGAIN)
        fail(std::string("the server closed the connection: ") + std::strerror(errno));
      if (n < 0) break;
      c.out.remove_prefix(size_t(n));
    }
    epoll_event event{.events = c.out.empty() ? uint32_t(EPOLLIN) : uint32_t(EPOLLIN | EPOLLOUT),
                      .data = {.ptr = &c}};
    epoll_ctl(poll_, EPOLL_CTL_MOD, c.fd, &event);
  }

  // The change in the number of awaited answers.
  int receive(Connection& c) {
    char buffer[65536];
    ssize_t n = read(c.fd, buffer, sizeof buffer);
    if (n < 0 && errno == EAGAIN) return 0;
    if (n <= 0) fail("the server closed the connection");
    c.in.append(buffer, size_t(n));
    size_t end = response_end(c.in);
    if (!end) return 0;
    latencies_.push_back(std::chrono::duration<double, std::milli>(Clock::now() - c.sent).count());
    statuses_[std::atoi(c.in.c_str() + 9)]++;
    c.in.erase(0, end);
    return start(c) - 1;
  }

  Options options_;
  std::vector<std::string> requests_;
  std::vector<Connection> connections_;
  std::vector<double> latencies_;
  std::map<int, int> statuses_;
  int poll_ = -1, left_ = 0;
  size_t next_ = 0;
};

double cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  auto seconds = [](const timeval& t) { return double(t.tv_sec) + double(t.tv_usec) * 1e-6; };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

}  // namespace

int main(int argc, char** argv) {
  Options options = parse(argc, argv);
  Load load(options, read_requests(options));
  if (options.warmup) load.run(options.warmup);
  double cpu = cpu_seconds();
  auto begin = Clock::now();
  load.run(options.requests);
  double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  cpu = cpu_seconds() - cpu;
  auto& ms = load.latencies();
  std::sort(ms.begin(), ms.end());
  auto percentile = [&](double p) { return ms[std::min(ms.size() - 1, size_t(p * double(ms.size())))]; };
  std::string statuses;
  for (auto [status, count] : load.statuses())
    statuses += (statuses.empty() ? "\"" : ", \"") + std::to_string(status) + "\": " + std::to_string(count);
  std::printf(
      "{\"requests\": %zu, \"seconds\": %.4f, \"per_second\": %.2f, \"p50_ms\": %.4f, \"p90_ms\": %.4f, "
      "\"p99_ms\": %.4f, \"cpu_share\": %.4f, \"statuses\": {%s}}\n",
      ms.size(), seconds, double(ms.size()) / seconds, percentile(.5), percentile(.9), percentile(.99),
      cpu / seconds, statuses.c_str());
}
