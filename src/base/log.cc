#include "base/log.h"

#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <climits>
#include <cmath>
#include <mutex>
#include <utility>

#include "base/files.h"
#include "base/time.h"
#include "base/utf8.h"

namespace textmill::base {
namespace {

constexpr std::array<std::string_view, 4> kLevels = {"debug", "info", "warning", "error"};

struct Sink {
  std::mutex mutex;
  std::atomic<Level> level = Level::info;
  LogFormat format = LogFormat::text;
  int fd = 2;
  bool waits = true;
  uint64_t dropped = 0;  // lines since the last that was written
  bool cut = false;      // in the middle of one
};
Sink sink;
thread_local std::string request_id;

void append_quoted(std::string& out, std::string_view text) {
  std::string repaired;
  if (invalid_utf8(text)) text = repaired = replace_invalid_utf8(text);
  out += '"';
  for (char c : text) {
    switch (c) {
      case '"': out += "\\\""; break;
      case '\\': out += "\\\\"; break;
      case '\n': out += "\\n"; break;
      case '\r': out += "\\r"; break;
      case '\t': out += "\\t"; break;
      default:
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
          fmt::format_to(std::back_inserter(out), "\\u{:04x}", c);
        } else {
          out += c;
        }
    }
  }
  out += '"';
}

struct JsonValue {
  std::string& out;
  void operator()(std::string_view v) const { append_quoted(out, v); }
  void operator()(double v) const {
    if (std::isfinite(v))
      fmt::format_to(std::back_inserter(out), "{}", v);
    else
      out += "null";
  }
  void operator()(auto v) const { fmt::format_to(std::back_inserter(out), "{}", v); }
};

struct TextValue {
  std::string& out;
  void operator()(std::string_view v) const {
    bool plain = !v.empty() && std::all_of(v.begin(), v.end(), [](unsigned char c) {
      return c > ' ' && c < 0x7f && c != '"' && c != '=' && c != '\\';
    });
    if (plain)
      out += v;
    else
      append_quoted(out, v);
  }
  void operator()(auto v) const { fmt::format_to(std::back_inserter(out), "{}", v); }
};

std::string json_line(Level level, std::string_view event, std::initializer_list<LogField> fields) {
  std::string line = fmt::format(R"({{"time":"{}","level":"{}","event":)", iso8601(wall_now()),
                                 kLevels[static_cast<size_t>(level)]);
  append_quoted(line, event);
  auto append = [&](std::string_view key, const auto& value) {
    line += ',';
    append_quoted(line, key);
    line += ':';
    std::visit(JsonValue{line}, value);
  };
  if (!request_id.empty()) append("request_id", decltype(LogField::value)(std::string_view(request_id)));
  for (const LogField& field : fields) append(field.key, field.value);
  return line + "}\n";
}

std::string text_line(Level level, std::string_view event, std::initializer_list<LogField> fields) {
  std::string line = fmt::format("{} {:7} {}", iso8601(wall_now()).substr(11, 12),
                                 kLevels[static_cast<size_t>(level)], event);
  for (const LogField& field : fields) {
    fmt::format_to(std::back_inserter(line), " {}=", field.key);
    std::visit(TextValue{line}, field.value);
  }
  if (!request_id.empty()) line += " request_id=" + request_id;
  return line + '\n';
}

std::string line_of(Level level, std::string_view event, std::initializer_list<LogField> fields) {
  return sink.format == LogFormat::json ? json_line(level, event, fields) : text_line(level, event, fields);
}

/// Whether the next PIPE_BUF bytes go out at once, or within a second the first time that they do not.
bool is_taken() {
  constexpr int kPatience = 1000;  // ms
  pollfd out{sink.fd, POLLOUT, 0};
  return ::poll(&out, 1, sink.dropped > 0 ? 0 : kPatience) != 0;
}

void write_line(std::string_view line) {
  for (; !line.empty(); line.remove_prefix(std::min<size_t>(line.size(), PIPE_BUF))) {
    if (!is_taken()) {
      ++sink.dropped;
      return;
    }
    std::string_view part = line.substr(0, PIPE_BUF);
    write_all(sink.fd, part);
    sink.cut = part.size() < line.size();
  }
}

/// A server does not stop because nobody reads its log any more.
void write_or_drop(std::string_view line) {
  if (sink.dropped > 0 && is_taken()) {
    std::string words = sink.cut ? "\n" : "";
    words += line_of(Level::warning, "log_lines_dropped", {{"lines", std::exchange(sink.dropped, 0)}});
    sink.cut = false;
    write_line(words);
  }
  write_line(line);
}

}  // namespace

void log(Level level, std::string_view event, std::initializer_list<LogField> fields) {
  if (!log_enabled(level)) return;
  std::lock_guard lock(sink.mutex);
  std::string line = line_of(level, event, fields);
  if (sink.waits)
    write_all(sink.fd, line);  // where it cannot be written, nobody can be told
  else
    write_or_drop(line);
}

void set_log(const LogOptions& options) {
  std::lock_guard lock(sink.mutex);
  sink.level = options.level;
  sink.format = options.format;
  sink.fd = options.fd;
  sink.waits = options.waits;
  sink.dropped = 0;
  sink.cut = false;
}

LogFormat log_format() {
  std::lock_guard lock(sink.mutex);
  return sink.format;
}

bool log_enabled(Level level) { return level >= sink.level.load(std::memory_order_relaxed); }

std::optional<Level> parse_level(std::string_view word) {
  auto found = std::find(kLevels.begin(), kLevels.end(), word);
  if (found == kLevels.end()) return std::nullopt;
  return static_cast<Level>(found - kLevels.begin());
}

LogRequest::LogRequest(std::string id) : previous_(std::exchange(request_id, std::move(id))) {}
LogRequest::~LogRequest() { request_id = std::move(previous_); }

}  // namespace textmill::base
