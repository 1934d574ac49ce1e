#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/files.h"
#include "format/json.h"

namespace textmill::fleet {

/// One line of a journal: {"n": its number from 0, "t": milliseconds since 1970, "e": what happened, ...}. The first is
/// "begin" with the format's version; "end" is the last.
///
///   begin  format, pid
///   phase  name: Downloading, Training, Uploading
///   log    host, text
///   metric name, value
///   kept   of (model, output, checkpoint, tensorboard), name, size, sha256, md5, file (in kept/): bytes to be kept as an object
///   gone   of, name: an object that is no more
///   end    outcome (completed, failed, stopped, timeout), status, text, by (program, user, platform)
struct Event {
  int64_t number = 0, time = 0;
  std::string what;
  format::Json body;

  std::string text(std::string_view member) const;
  int64_t integer(std::string_view member) const;
  /// Throws invalid for a member that is no number.
  double number_at(std::string_view member) const;
};

/// Appends events; several may go out with one write.
class JournalWriter {
 public:
  /// Makes the file. Throws exists: an attempt is begun once.
  explicit JournalWriter(const base::Path& file);
  /// The first event.
  void begin();

  void add(std::string_view what, std::initializer_list<format::JsonMember> members);
  /// Writes what fits on the disk; what does not stays for the next time. Of more than 4 MiB that wait, lines of logs are
  /// dropped, which the log then says.
  void flush();
  /// flush(), and on disk; waits until there is room.
  void sync();

 private:
  base::Path path_;
  base::Descriptor file_;
  int64_t next_ = 0;
  std::string buffer_;
  int64_t dropped_ = 0;
  format::Json host_of_dropped_;
};

/// How far a journal was read.
struct JournalPlace {
  int64_t offset = 0, next = 0;  // bytes; the number of the next event
};

/// Gives the disk back what of a journal was read, but the first line: now and then, as reading moves on.
void forget_journal(const base::Path& file, const JournalPlace& before, const JournalPlace& after);

/// Whole lines from `place` on, about `limit` bytes of them, and moves `place` behind them. A line that is not finished
/// is left for later; no file: none. Throws conflict for a newer version, internal for numbers that do not follow.
std::vector<Event> read_journal(const base::Path& file, JournalPlace& place, size_t limit = 4 << 20);

}  // namespace textmill::fleet
