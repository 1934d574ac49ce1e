#include "fleet/feed.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <random>

#include "base/error.h"
#include "contract/layout.h"
#include "format/input_file.h"
#include "store/objects.h"

namespace textmill::fleet {

using base::Error, base::Kind, base::Path;
using format::Json, format::JsonView;

namespace {

constexpr uint32_t kMagic = 0xced7230a;
constexpr size_t kMostRecord = size_t{1} << 29;

Path list_of(const AttemptFolder& folder, const std::string& host, const std::string& channel) {
  return folder.feed(host, channel).string() + ".list";
}
Path trouble_of(const AttemptFolder& folder, const std::string& host, const std::string& channel) {
  return folder.feed(host, channel).string() + ".trouble";
}

Placed object_at(store::Connection& connection, const std::string& url, std::string place,
                 const std::string& where) {
  S3Uri uri = parse_s3_uri(url);
  auto bucket = store::find_bucket(connection, uri.bucket);
  auto object = bucket ? store::find_object(connection, bucket->id, uri.key) : std::nullopt;
  if (!object) throw Error(Kind::invalid, fmt::format("{}: there is no {}", where, url));
  return {object->blob, std::move(place)};
}

/// What goes through a channel's pipe at a time: objects and texts, one after the other.
struct FeedRow {
  std::vector<Placed> objects;
  Json::Array items;  // {"file": place of an object} or {"text": "..."}
};

FeedRow row_of(store::Connection& connection, const JsonView& line, const std::vector<std::string>& names,
               size_t number) {
  FeedRow row;
  for (const std::string& name : names) {
    JsonView value = line.at(name);
    if (!name.ends_with("-ref")) {
      const Json& json = value.value();
      row.items.push_back(Json::object({{"text", json.string() ? *json.string() : to_text(json)}}));
      continue;
    }
    row.objects.push_back(object_at(connection, value.string(),
                                    fmt::format("{}-{}", number, row.objects.size()), value.where()));
    row.items.push_back(Json::object({{"file", row.objects.back().path}}));
  }
  return row;
}

std::vector<FeedRow> augmented(store::Connection& connection, store::Blobs& blobs, const Json& source) {
  std::string url = *source.find("S3Uri")->string();
  std::vector<std::string> names;
  for (const Json& name : *source.find("AttributeNames")->array()) names.push_back(*name.string());
  std::string text =
      content_of(connection, blobs, object_at(connection, url, "", "AugmentedManifestFile").blob);
  format::LineReader lines(text, url);
  std::vector<FeedRow> rows;
  while (auto line = lines.next()) {
    if (line->empty()) continue;
    Json json = format::parse_json(*line, lines.where());
    rows.push_back(row_of(connection, JsonView(json, lines.where()), names, rows.size()));
  }
  if (rows.empty()) throw Error(Kind::invalid, url + ": holds no lines");
  return rows;
}

/// Of each object of a source a row; of an augmented manifest a row a line, the attributes in the order of AttributeNames, in
/// place of an attribute "NAME-ref" the object that it names.
std::vector<FeedRow> feed_rows(store::Connection& connection, store::Blobs& blobs, const Json& source) {
  const Json* type = source.find("S3DataType");
  if (type && *type->string() == "AugmentedManifestFile") return augmented(connection, blobs, source);
  std::vector<FeedRow> rows;
  for (Placed& object : objects_of(connection, blobs, source)) {
    Json item = Json::object({{"file", object.path}});
    rows.push_back({{std::move(object)}, {std::move(item)}});
  }
  return rows;
}

/// A record of RecordIO (dmlc/recordio.h): a magic number, kind and length, the data without what looks like the magic number
/// where a record may begin, zeros to a multiple of 4. False once nobody reads any more.
bool write_record(int out, std::string_view data) {
  if (data.size() >= kMostRecord)
    throw Error(Kind::limit, fmt::format("{} bytes are too many for a record of RecordIO", data.size()));
  auto part = [&](uint32_t kind, std::string_view bytes) {
    const uint32_t head[] = {kMagic, kind << 29 | static_cast<uint32_t>(bytes.size())};
    constexpr std::string_view kZeros("\0\0\0", 3);
    return base::write_all(out, {reinterpret_cast<const char*>(head), sizeof head}) &&
           base::write_all(out, bytes) && base::write_all(out, kZeros.substr(0, -bytes.size() % 4));
  };
  size_t begin = 0;
  for (size_t at = 0; at + 4 <= data.size(); at += 4) {
    if (std::memcmp(data.data() + at, &kMagic, 4) != 0) continue;
    if (!part(begin == 0 ? 1 : 2, data.substr(begin, at - begin))) return false;
    begin = at + 4;
  }
  return part(begin == 0 ? 0 : 3, data.substr(begin));
}

bool copy(int out, const auto& read) {
  std::vector<char> block(size_t{64} << 10);
  for (size_t n; (n = read(std::span(block))) > 0;)
    if (!base::write_all(out, {block.data(), n})) return false;
  return true;
}

std::string unpacked(const Path& file) {
  format::InputFile in(file);
  std::string out;
  std::vector<char> block(size_t{64} << 10);
  for (size_t n; (n = in.read(block)) > 0 && out.size() < kMostRecord;) out.append(block.data(), n);
  return out;
}

/// One process's channel.
struct Feed {
  const PipedChannel& channel;
  Path objects, list;
  base::Descriptor data;  // /opt/ml/input/data, which the program may change, but not for what lies elsewhere
  std::vector<Json> rows;

  std::string name(int64_t epoch) const { return fmt::format("{}_{}", channel.name, epoch); }

  void make(int64_t epoch) const {
    const mode_t before = ::umask(0);
    int made = ::mkfifoat(data.get(), name(epoch).c_str(), 0644), code = errno;
    ::umask(before);
    if (made != 0 && code != EEXIST) throw base::system_error(name(epoch), code);
  }

  /// Once somebody reads there. Throws invalid if the program put something else in its place.
  base::Descriptor open(int64_t epoch) const {
    base::Descriptor out(::openat(data.get(), name(epoch).c_str(), O_WRONLY | O_NOFOLLOW | O_CLOEXEC));
    struct stat status {};
    if (!out || ::fstat(out.get(), &status) != 0 || !S_ISFIFO(status.st_mode))
      throw Error(Kind::invalid,
                  fmt::format("channel {}: {} is no pipe any more", channel.name, name(epoch)));
    return out;
  }

  /// False once nobody reads any more.
  bool write_item(int out, const JsonView& item) const {
    auto write = channel.record_io ? write_record : base::write_all;
    auto place = item.find("file");
    if (!place) return write(out, item.at("text").string());
    Path file = objects / place->string();
    if (channel.record_io)
      return channel.gzip ? write(out, unpacked(file)) : write(out, base::MappedFile(file).text());
    if (channel.gzip) {
      format::InputFile in(file);
      return copy(out, [&](std::span<char> block) { return in.read(block); });
    }
    base::Descriptor in = base::open_file(file, O_RDONLY);
    return copy(out, [&](std::span<char> block) {
      ssize_t n = ::read(in.get(), block.data(), block.size());
      if (n < 0) throw base::system_error(file.string(), errno);
      return static_cast<size_t>(n);
    });
  }

  void write_all(int out, int64_t epoch) const {
    std::vector<const Json*> order;
    for (const Json& row : rows) order.push_back(&row);
    if (channel.seed) {
      std::mt19937_64 random(static_cast<uint64_t>(*channel.seed) + static_cast<uint64_t>(epoch));
      std::ranges::shuffle(order, random);
    }
    for (const Json* row : order)
      for (const JsonView& item : JsonView(*row, list.string()).array())
        if (!write_item(out, item)) return;
  }

  void run() {
    format::LineReader lines(list);
    while (auto line = lines.next()) rows.push_back(format::parse_json(*line, lines.where()));
    for (int64_t epoch = 0;; ++epoch) {
      base::Descriptor out = open(epoch);
      make(epoch + 1);
      write_all(out.get(), epoch);
    }
  }
};

pid_t start(Feed feed, const Path& trouble) {
  feed.make(0);
  const pid_t parent = ::getpid(), pid = ::fork();
  if (pid < 0) throw base::system_error("fork", errno);
  if (pid > 0) return pid;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(1);
  std::signal(SIGPIPE, SIG_IGN);
  try {
    feed.run();
  } catch (const std::exception& error) {
    try {
      base::write_file_durably(trouble, error.what());
    } catch (const Error&) { ::abort(); }  // as if it were killed
  }
  ::_exit(0);
}

}  // namespace

std::vector<std::pair<std::vector<Placed>, Path>> channel_folders(store::Connection& connection,
                                                                  store::Blobs& blobs, const Json& job,
                                                                  const Task& task,
                                                                  const AttemptFolder& folder) {
  std::vector<std::pair<std::vector<Placed>, Path>> out;
  const Json* channels = job.find("InputDataConfig");
  for (const Json& channel : channels ? *channels->array() : Json::Array()) {
    JsonView view(channel, "InputDataConfig");
    const std::string& name = view.at("ChannelName").string();
    const Json& source = view.at("DataSource.S3DataSource").value();
    bool piped = std::ranges::find(task.pipes, name, &PipedChannel::name) != task.pipes.end();
    bool sharded = JsonView(source, name).get_string("S3DataDistributionType", "") == "ShardedByS3Key";
    auto rows = feed_rows(connection, blobs, source);
    for (size_t host = 0; host < task.hosts.size(); ++host) {
      std::vector<Placed> objects;
      std::string list;
      for (size_t i = sharded ? host : 0; i < rows.size(); i += sharded ? task.hosts.size() : 1) {
        std::ranges::copy(rows[i].objects, std::back_inserter(objects));
        if (piped) list += to_text(Json(rows[i].items)) + '\n';
      }
      Path to = piped ? folder.feed(task.hosts[host], name) : folder.input(task.hosts[host], name);
      if (piped) {
        std::filesystem::create_directories(to);
        base::write_file_durably(list_of(folder, task.hosts[host], name), list);
      }
      out.emplace_back(std::move(objects), std::move(to));
    }
  }
  return out;
}

Feeders::Feeders(const AttemptFolder& folder, const Task& task) {
  for (const auto& host : task.hosts) {
    for (const PipedChannel& channel : task.pipes) {
      Path data = contract::Layout(folder.root(host)).channel(""),
           trouble = trouble_of(folder, host, channel.name);
      pid_t process = start({.channel = channel,
                             .objects = folder.feed(host, channel.name),
                             .list = list_of(folder, host, channel.name),
                             .data = base::open_file(data, O_RDONLY | O_DIRECTORY),
                             .rows = {}},
                            trouble);
      base::Descriptor end(static_cast<int>(::syscall(SYS_pidfd_open, process, 0)));
      if (!end) throw base::system_error("pidfd_open", errno);
      processes_.push_back({process, std::move(end), channel.name, std::move(trouble)});
    }
  }
}

Feeders::~Feeders() {
  for (const Process& process : processes_) {
    ::kill(process.id, SIGKILL);
    ::waitpid(process.id, nullptr, 0);
  }
}

void Feeders::watch(std::vector<pollfd>& fds) const {
  for (const Process& process : processes_) fds.push_back({process.end.get(), POLLIN, 0});
}

const std::optional<Feeders::Trouble>& Feeders::trouble() {
  std::erase_if(processes_, [&](const Process& process) {
    if (::waitpid(process.id, nullptr, WNOHANG) != process.id) return false;
    trouble_ =
        std::filesystem::exists(process.trouble)
            ? Trouble{base::read_file(process.trouble, size_t{1} << 20)}
            : Trouble{fmt::format("what wrote the pipe of channel {} was killed", process.channel), true};
    return true;
  });
  return trouble_;
}

}  // namespace textmill::fleet
