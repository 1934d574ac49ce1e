// The HTTP load generator of every benchmark: one thread, epoll, keep-alive connections; closed loop, or with a schedule open.
//
//   bench_load --port 8080 --path /invocations --bodies FILE [--type application/json] [--connections 8]
//              [--requests 1000] [--warmup 50] [--rate PER_SECOND | --schedule FILE] [--latencies 1]
//   bench_load --port 8333 --raw FILE ...
//   bench_load --port 8333 --slow SECONDS --connections 10000
//
// The file of --bodies holds one request body per line, that of --raw whole requests end to end (signed beforehand); they
// are sent in order and again from the start. Prints one JSON object: counts by status, requests and bytes per second,
// latency percentiles in milliseconds, and the share of one CPU that the generator used. With --slow each connection
// sends one byte of a request's head a second. The file of --schedule holds a time in seconds a line: request i is sent then,
// or once a connection is free, and its latency counts from then; --rate is such a schedule, even. --latencies also prints every latency, in the order of answers.

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
#include <sstream>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

struct Options {
  int port = 8080, connections = 8, requests = 1000, warmup = 0, slow = 0, rate = 0, latencies = 0;
  std::string path = "/", type = "application/json", bodies, raw, schedule;
};

[[noreturn]] void fail(const std::string& message) {
  std::fprintf(stderr, "bench_load: %s\n", message.c_str());
  std::exit(2);
}

Options parse(int argc, char** argv) {
  Options o;
  std::map<std::string, std::string*> texts{{"--path", &o.path},
                                            {"--type", &o.type},
                                            {"--bodies", &o.bodies},
                                            {"--raw", &o.raw},
                                            {"--schedule", &o.schedule}};
  std::map<std::string, int*> numbers{{"--port", &o.port},          {"--connections", &o.connections},
                                      {"--requests", &o.requests},  {"--warmup", &o.warmup},
                                      {"--rate", &o.rate},          {"--slow", &o.slow},
                                      {"--latencies", &o.latencies}};
  for (int i = 1; i + 1 < argc; i += 2) {
    if (auto t = texts.find(argv[i]); t != texts.end())
      *t->second = argv[i + 1];
    else if (auto n = numbers.find(argv[i]); n != numbers.end())
      *n->second = std::atoi(argv[i + 1]);
    else
      fail(std::string("unknown flag ") + argv[i]);
  }
  if (argc % 2 == 0) fail("a flag lacks its value");
  if ((o.bodies.empty() + o.raw.empty() + !o.slow != 2) || o.connections < 1 || o.requests < 1)
    fail("one of --bodies, --raw, --slow; and --connections and --requests of at least 1 are needed");
  return o;
}

std::ifstream open_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) fail("cannot read " + path);
  return file;
}

/// The value of Content-Length in a head; `absent` without it.
size_t content_length(std::string_view head, size_t absent) {
  std::string lower(head);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return char(std::tolower(c)); });
  size_t at = lower.find("\r\ncontent-length:");
  return at == std::string::npos ? absent : size_t(std::atoll(lower.c_str() + at + 17));
}

std::vector<std::string> read_bodies(const Options& o) {
  std::ifstream file = open_file(o.bodies);
  std::vector<std::string> requests;
  for (std::string body; std::getline(file, body);)
    requests.push_back("POST " + o.path + " HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: " + o.type +
                       "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
  return requests;
}

std::vector<double> read_schedule(const Options& o) {
  std::vector<double> times;
  if (o.schedule.empty()) {
    for (int i = 0; i < o.requests; i++) times.push_back(double(i) / o.rate);
    return times;
  }
  std::ifstream file = open_file(o.schedule);
  for (double time; file >> time;) times.push_back(time);
  return times;
}

std::vector<std::string> read_raw(const Options& o) {
  std::ostringstream all;
  all << open_file(o.raw).rdbuf();
  std::string text = std::move(all).str();
  std::vector<std::string> requests;
  for (size_t at = 0; at < text.size();) {
    size_t head = text.find("\r\n\r\n", at);
    if (head == std::string::npos) fail(o.raw + " ends inside a head");
    size_t size = head + 4 - at + content_length(std::string_view(text).substr(at, head - at), 0);
    requests.push_back(text.substr(at, size));
    at += size;
  }
  return requests;
}

struct Connection {
  int fd = -1;
  std::string_view out;  // what is left to send
  std::string head;      // of the answer, as far as it is there
  bool in_body = false;
  size_t body_left = 0;
  bool closes = false;
  Clock::time_point sent;
};

int connect_to(int port) {
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{.sin_family = AF_INET,
                      .sin_port = htons(uint16_t(port)),
                      .sin_addr = {htonl(INADDR_LOOPBACK)},
                      .sin_zero = {}};
  if (fd < 0 || connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address))
    fail("cannot connect to port " + std::to_string(port) + ": " + std::strerror(errno));
  int one = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  fcntl(fd, F_SETFL, O_NONBLOCK);
  return fd;
}

class Load {
 public:
  Load(const Options& options, std::vector<std::string> requests)
      : options_(options), requests_(std::move(requests)), buffer_(1 << 20, '\0') {
    if (requests_.empty()) fail("there is no request to send");
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

  // Sends one request at each of `times` (seconds from now), or once a connection is free.
  void run_open(const std::vector<double>& times) {
    latencies_.clear();
    statuses_.clear();
    std::vector<Connection*> idle;
    for (auto& c : connections_) idle.push_back(&c);
    std::vector<epoll_event> events(connections_.size());
    auto begin = Clock::now();
    for (size_t sent = 0; sent < times.size() || idle.size() < connections_.size();) {
      timespec wait{.tv_sec = 60, .tv_nsec = 0};
      while (sent < times.size() && !idle.empty()) {
        auto due =
            begin + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(times[sent]));
        auto left = std::chrono::duration_cast<std::chrono::nanoseconds>(due - Clock::now()).count();
        if (left > 0) {
          wait = {.tv_sec = left / 1'000'000'000, .tv_nsec = left % 1'000'000'000};
          break;
        }
        left_ = 1;
        start(*idle.back());
        idle.back()->sent = due;
        idle.pop_back();
        sent++;
      }
      int n = epoll_pwait2(poll_, events.data(), int(events.size()), &wait, nullptr);
      if (n < 0 || (n == 0 && wait.tv_sec == 60)) fail("no answer within 60 s");
      for (int i = 0; i < n; i++) {
        auto& c = *static_cast<Connection*>(events[size_t(i)].data.ptr);
        if (events[size_t(i)].events & EPOLLOUT) send_rest(c);
        if (events[size_t(i)].events & (EPOLLIN | EPOLLHUP | EPOLLERR) && receive(c) < 0) idle.push_back(&c);
      }
    }
  }

  std::vector<double>& latencies() { return latencies_; }
  const std::map<int, int>& statuses() const { return statuses_; }
  size_t bytes() const { return bytes_; }

 private:
  void open(Connection& c) {
    c = {.fd = connect_to(options_.port)};
    epoll_event event{.events = EPOLLIN, .data = {.ptr = &c}};
    epoll_ctl(poll_, EPOLL_CTL_ADD, c.fd, &event);
  }

  int start(Connection& c) {
    if (left_ == 0) return 0;
    left_--;
    c.out = requests_[next_++ % requests_.size()];
    bytes_ += c.out.size();
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

  // Takes a piece of an answer; true when it was the last. Only Content-Length framing.
  bool take(Connection& c, std::string_view piece) {
    bytes_ += piece.size();
    if (!c.in_body) {
      c.head += piece;
      size_t end = c.head.find("\r\n\r\n");
      if (end == std::string::npos) return false;
      int status = std::atoi(c.head.c_str() + 9);
      c.body_left = content_length(std::string_view(c.head).substr(0, end), status == 204 ? 0 : SIZE_MAX);
      if (c.body_left == SIZE_MAX) fail("a response without Content-Length");
      c.closes = c.head.find("onnection: close") < end;
      statuses_[status]++;
      c.in_body = true;
      piece = std::string_view(c.head).substr(end + 4);
    }
    c.body_left -= std::min(c.body_left, piece.size());
    return c.body_left == 0;
  }

  // The change in the number of awaited answers.
  int receive(Connection& c) {
    ssize_t n = read(c.fd, buffer_.data(), buffer_.size());
    if (n < 0 && errno == EAGAIN) return 0;
    if (n <= 0) fail("the server closed the connection");
    if (!take(c, std::string_view(buffer_).substr(0, size_t(n)))) return 0;
    latencies_.push_back(std::chrono::duration<double, std::milli>(Clock::now() - c.sent).count());
    c.head.clear();
    c.in_body = false;
    if (c.closes) {
      close(c.fd);
      open(c);
    }
    return start(c) - 1;
  }

  Options options_;
  std::vector<std::string> requests_;
  std::vector<Connection> connections_;
  std::vector<double> latencies_;
  std::map<int, int> statuses_;
  std::string buffer_;
  int poll_ = -1, left_ = 0;
  size_t next_ = 0, bytes_ = 0;
};

double cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  auto seconds = [](const timeval& t) { return double(t.tv_sec) + double(t.tv_usec) * 1e-6; };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

// Prints a line when all connections are there. What the server closes is opened again.
void run_slow(const Options& o) {
  static constexpr std::string_view kHead = "GET /slow HTTP/1.1\r\nHost: slow\r\nX-Slow: ";
  std::vector<int> fds;
  for (int i = 0; i < o.connections; i++) fds.push_back(connect_to(o.port));
  std::printf("{\"connected\": %zu}\n", fds.size());
  std::fflush(stdout);
  size_t again = 0;
  auto begin = Clock::now();
  for (int second = 0; second < o.slow; second++) {
    for (size_t i = 0; i < fds.size(); i++) {
      if (i % 10 == 0)  // spread over the second: a hundred at once would be a burst of our own making
        std::this_thread::sleep_until(begin + std::chrono::seconds(second) +
                                      std::chrono::microseconds(1'000'000 * i / fds.size()));
      char byte = size_t(second) < kHead.size() ? kHead[size_t(second)] : 'x';
      if (send(fds[i], &byte, 1, MSG_NOSIGNAL) == 1) continue;
      close(fds[i]);
      fds[i] = connect_to(o.port);
      again++;
    }
  }
  std::printf("{\"connected\": %zu, \"again\": %zu, \"cpu_share\": %.4f}\n", fds.size(), again,
              cpu_seconds() / o.slow);
}

}  // namespace

int main(int argc, char** argv) {
  Options options = parse(argc, argv);
  if (options.slow) return run_slow(options), 0;
  Load load(options, options.raw.empty() ? read_bodies(options) : read_raw(options));
  if (options.warmup) load.run(options.warmup);
  size_t bytes = load.bytes();
  double cpu = cpu_seconds();
  auto begin = Clock::now();
  if (options.schedule.empty() && !options.rate) {
    load.run(options.requests);
  } else {
    load.run_open(read_schedule(options));
  }
  double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  cpu = cpu_seconds() - cpu;
  bytes = load.bytes() - bytes;
  auto& ms = load.latencies();
  std::string all;
  for (size_t i = 0; options.latencies && i < ms.size(); i++)
    all += (i ? ", " : ", \"latencies_ms\": [") + std::to_string(ms[i]);
  if (!all.empty()) all += "]";
  std::sort(ms.begin(), ms.end());
  auto percentile = [&](double p) { return ms[std::min(ms.size() - 1, size_t(p * double(ms.size())))]; };
  std::string statuses;
  for (auto [status, count] : load.statuses())
    statuses += (statuses.empty() ? "\"" : ", \"") + std::to_string(status) + "\": " + std::to_string(count);
  std::printf(
      "{\"requests\": %zu, \"seconds\": %.4f, \"per_second\": %.2f, \"bytes_per_second\": %.0f, \"p50_ms\": "
      "%.4f, \"p90_ms\": %.4f, \"p99_ms\": %.4f, \"cpu_share\": %.4f, \"statuses\": {%s}%s}\n",
      ms.size(), seconds, double(ms.size()) / seconds, double(bytes) / seconds, percentile(.5),
      percentile(.9), percentile(.99), cpu / seconds, statuses.c_str(), all.c_str());
}
