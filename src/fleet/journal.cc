#include "fleet/journal.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <thread>
#include <utility>

#include "base/error.h"
#include "base/time.h"
#include "base/utf8.h"
#include "fleet/cache.h"

namespace textmill::fleet {

using format::Json;

namespace {

constexpr int64_t kFormat = 1;
const std::string kName = "the journal of what ran";  // to who reads why it failed
constexpr size_t kBuffer = 256 << 10, kMostWaiting = 4 << 20;

Event event_of(std::string_view line) {
  Event event{.body = format::parse_json(line, kName)};
  format::JsonView view(event.body, kName);
  event.number = view.at("n").integer(0);
  event.time = view.at("t").integer(0);
  event.what = view.at("e").string();
  if (event.what == "begin" && view.at("format").integer(1) > kFormat)
    throw base::Error(base::Kind::conflict, fmt::format("{}: written by a newer version", kName));
  return event;
}

}  // namespace

std::string Event::text(std::string_view member) const {
  const Json* value = body.find(member);
  return value && value->string() ? *value->string() : "";
}

int64_t Event::integer(std::string_view member) const {
  const Json* value = body.find(member);
  return value && value->integer() ? *value->integer() : 0;
}

double Event::number_at(std::string_view member) const {
  return format::JsonView(body, "journal").at(member).number();
}

JournalWriter::JournalWriter(const base::Path& file)
    : path_(file), file_(base::open_file(file, O_WRONLY | O_CREAT | O_EXCL | O_APPEND, 0600)) {}

void JournalWriter::begin() {
  add("begin", {{"format", kFormat}, {"pid", ::getpid()}});
  flush();
}

void JournalWriter::add(std::string_view what, std::initializer_list<format::JsonMember> members) {
  if (what == "log" && buffer_.size() > kMostWaiting) {
    if (++dropped_ == 1)
      for (const auto& member : members)
        if (member.name == "host") host_of_dropped_ = member.value;
    return;
  }
  auto now = std::chrono::duration_cast<std::chrono::milliseconds>(base::wall_now().time_since_epoch());
  Json line = Json::object({{"n", next_++}, {"t", now.count()}, {"e", what}});
  for (const auto& member : members) line.set(member.name, member.value);
  buffer_ += base::replace_invalid_utf8(format::to_text(line));  // names of files are any bytes
  buffer_ += '\n';
  if (buffer_.size() >= kBuffer) flush();
}

void JournalWriter::flush() {
  size_t done = 0;
  while (done < buffer_.size()) {
    ssize_t count = ::write(file_.get(), buffer_.data() + done, buffer_.size() - done);
    if (count < 0 && (errno == ENOSPC || errno == EDQUOT)) break;  // it may be another's doing, and pass
    if (count < 0 && errno != EINTR) throw base::system_error(path_.string(), errno);
    if (count > 0) done += static_cast<size_t>(count);
  }
  buffer_.erase(0, done);
  if (dropped_ == 0 || !buffer_.empty()) return;
  std::string text = fmt::format("{} lines were not kept: the disk was full.", std::exchange(dropped_, 0));
  add("log", {{"host", host_of_dropped_}, {"text", text}, {"note", true}});
}

void JournalWriter::sync() {
  // An end that nobody can read is none: it waits for room, of which no event tells.
  for (flush(); !buffer_.empty(); flush()) std::this_thread::sleep_for(kLookForRoom);
  if (::fdatasync(file_.get()) != 0) throw base::system_error(path_.string(), errno);
}

std::vector<Event> read_journal(const base::Path& file, JournalPlace& place, size_t limit) {
  std::vector<Event> events;
  base::Descriptor in(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  if (!in && errno == ENOENT) return events;
  if (!in) throw base::system_error(kName, errno);
  std::string bytes(limit, '\0');
  ssize_t count = ::pread(in.get(), bytes.data(), bytes.size(), place.offset);
  if (count < 0) throw base::system_error(kName, errno);
  bytes.resize(static_cast<size_t>(count));
  size_t at = 0;
  for (size_t end; (end = bytes.find('\n', at)) != bytes.npos; at = end + 1) {
    Event event = event_of(std::string_view(bytes).substr(at, end - at));
    if (event.number != place.next)
      throw base::Error(base::Kind::internal,
                        fmt::format("{}: event {} where {} was expected", kName, event.number, place.next));
    ++place.next;
    events.push_back(std::move(event));
  }
  place.offset += static_cast<int64_t>(at);
  return events;
}

void forget_journal(const base::Path& file, const JournalPlace& before, const JournalPlace& after) {
  constexpr int64_t kBlock = 4096, kNow = 1 << 20;  // the first block holds the first line
  if (before.offset / kNow == after.offset / kNow) return;
  base::Descriptor out = base::open_file(file, O_RDWR);
  // Where the file system makes no holes, it stays.
  [[maybe_unused]] int made =
      ::fallocate(out.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, kBlock, after.offset - kBlock);
}

}  // namespace textmill::fleet
