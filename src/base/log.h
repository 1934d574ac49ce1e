#pragma once

#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

namespace textmill::base {

enum class Level { debug, info, warning, error };
enum class LogFormat { json, text };

/// One key and value of a log line; the value is read before log() returns.
struct LogField {
  template <class T>
  LogField(std::string_view name, const T& v) : key(name), value(hold(v)) {}

  std::string_view key;
  std::variant<bool, int64_t, uint64_t, double, std::string_view> value;

 private:
  template <class T>
  static decltype(value) hold(const T& v) {
    if constexpr (std::same_as<T, bool>)
      return v;
    else if constexpr (std::floating_point<T>)
      return static_cast<double>(v);
    else if constexpr (std::unsigned_integral<T>)
      return static_cast<uint64_t>(v);
    else if constexpr (std::signed_integral<T>)
      return static_cast<int64_t>(v);
    else
      return std::string_view(v);
  }
};

/// Writes one line, whole, to the sink: log(Level::info, "job_started", {{"job", name}, {"pid", pid}}).
/// json: {"time":...,"level":"info","event":"job_started","request_id":...,"job":...}; text: the same for
/// eyes. Safe from any thread; a sink that does not take the line (closed pipe, full disk) loses it.
void log(Level level, std::string_view event, std::initializer_list<LogField> fields = {});

struct LogOptions {
  Level level = Level::info;  // lines below it are dropped
  LogFormat format = LogFormat::json;
  int fd = 2;
  bool waits =
      true;  // for who reads it; else lines are dropped after a second, and counted by "log_lines_dropped"
};
void set_log(const LogOptions& options);
LogFormat log_format();  // text until set_log says otherwise
bool log_enabled(Level level);

/// "debug", "info", "warning", "error"; nothing for another word.
std::optional<Level> parse_level(std::string_view word);

/// While it lives, each line of this thread carries "request_id".
class LogRequest {
 public:
  explicit LogRequest(std::string id);
  LogRequest(const LogRequest&) = delete;
  ~LogRequest();

 private:
  std::string previous_;
};

}  // namespace textmill::base
