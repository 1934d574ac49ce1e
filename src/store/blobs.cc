#include "store/blobs.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>

#include "base/error.h"

namespace textmill::store {

/// How often each hash is on its way in.
struct Blobs::Pins {
  std::mutex mutex;
  std::map<std::string, int> counts;
};

namespace {

std::string raw(const std::array<uint8_t, 32>& digest) { return {digest.begin(), digest.end()}; }

/// Whatever is wrong with our own files, who sent the bytes did nothing wrong.
base::Error file_error(int code) {
  base::Error error = base::system_error("an object's file", code);
  bool passing = error.kind() == base::Kind::exists || error.kind() == base::Kind::limit ||
                 error.kind() == base::Kind::unavailable;
  return passing ? error : base::Error(base::Kind::internal, error.what());
}

void write_whole(int fd, std::string_view bytes) {
  if (!base::write_all(fd, bytes)) throw file_error(errno);
}

/// Gives a nameless file its name.
void link_file(int fd, const base::Path& path) {
  if (::linkat(AT_FDCWD, fmt::format("/proc/self/fd/{}", fd).c_str(), AT_FDCWD, path.c_str(),
               AT_SYMLINK_FOLLOW) != 0)
    throw file_error(errno);
}

}  // namespace

Blobs::Blobs(const base::Path& folder, Sync sync)
    : folder_(folder), sync_(sync), pins_(std::make_shared<Pins>()) {
  std::filesystem::create_directories(folder_);
}

base::Path Blobs::path(std::string_view hash) const {
  std::string name = base::hex(hash);
  return folder_ / name.substr(0, 2) / name.substr(2);
}

Blobs::Staged Blobs::pinned(std::string hash, uint64_t size) {
  Staged staged;
  {
    std::lock_guard lock(pins_->mutex);
    ++pins_->counts[hash];
  }
  staged.pin_ = std::shared_ptr<void>(nullptr, [pins = pins_, hash](void*) {
    std::lock_guard lock(pins->mutex);
    if (--pins->counts[hash] == 0) pins->counts.erase(hash);
  });
  staged.hash_ = std::move(hash);
  staged.size_ = size;
  return staged;
}

Blobs::Staged Blobs::stage(std::string bytes, std::string hash) {
  if (bytes.size() > kMaxRow) {
    Writer writer(*this);
    writer.write(bytes);
    return writer.finish();
  }
  Staged staged = pinned(std::move(hash), bytes.size());
  staged.bytes_ = std::move(bytes);
  return staged;
}

Blobs::Staged Blobs::stage(std::string bytes) {
  base::Sha256 sha256;
  sha256.update(bytes);
  return stage(std::move(bytes), raw(sha256.digest()));
}

Blobs::Staged Blobs::stage(std::string hash, uint64_t size,
                           const std::function<void(const base::Path&)>& name_it) {
  Staged staged = pinned(std::move(hash), size);
  base::Path file = path(staged.hash_);
  // The pin keeps a file that is there. Only a twin of this call can make it meanwhile.
  if (!std::filesystem::exists(file)) {
    std::filesystem::create_directory(file.parent_path());
    try {
      name_it(file);
    } catch (const base::Error& error) {
      if (error.kind() != base::Kind::exists) throw;
    }
  }
  // Also when the names are not of this call: a twin, or a process that was killed, may not have come to it.
  if (sync_ == Sync::full) {
    base::sync_folder(file.parent_path());
    base::sync_folder(folder_);
  }
  return staged;
}

Blobs::Writer::~Writer() {
  if (fd_ >= 0) ::close(fd_);
}

void Blobs::Writer::write(std::string_view bytes) {
  sha256_.update(bytes);
  size_ += bytes.size();
  if (size_ <= kMaxRow) {
    bytes_ += bytes;
    return;
  }
  if (fd_ < 0) fd_ = ::open(blobs_.folder_.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (fd_ < 0) throw file_error(errno);
  write_whole(fd_, std::exchange(bytes_, {}));
  write_whole(fd_, bytes);
}

Blobs::Staged Blobs::Writer::finish() {
  std::string hash = raw(sha256_.digest());
  if (fd_ < 0) return blobs_.stage(std::move(bytes_), std::move(hash));
  if (blobs_.sync_ == Sync::full && ::fdatasync(fd_)) throw file_error(errno);
  return blobs_.stage(std::move(hash), size_, [&](const base::Path& path) { link_file(fd_, path); });
}

int64_t Blobs::enter(Connection& connection, const Staged& staged) const {
  if (auto id = connection.integer("SELECT id FROM blobs WHERE hash = ?", Bytes{staged.hash_})) return *id;
  bool in_row = staged.size_ <= kMaxRow;
  connection.execute("INSERT INTO blobs (hash, size, uses, data) VALUES (?, ?, 0, ?)", Bytes{staged.hash_},
                     staged.size_, in_row ? std::optional(Bytes{staged.bytes_}) : std::nullopt);
  return connection.last_id();
}

std::variant<std::string, base::Path> Blobs::content(Connection& connection, int64_t blob) const {
  Rows rows = connection.query("SELECT hash, data FROM blobs WHERE id = ?", blob);
  TEXTMILL_CHECK(rows.next());
  if (rows.is_null(1)) return path(rows.text(0));
  return std::string(rows.text(1));
}

size_t Blobs::sweep(Database& database) {
  std::lock_guard sweeping(sweep_mutex_);
  std::vector<std::string> files;
  size_t removed = 0;
  auto now_unused = database.read([](Connection& c) {
    std::vector<int64_t> ids;
    Rows rows = c.query("SELECT id FROM blobs WHERE uses = 0 ORDER BY id LIMIT 10000");
    while (rows.next()) ids.push_back(rows.integer(0));
    return ids;
  });
  std::vector<int64_t> doomed;
  std::ranges::set_intersection(unused_, now_unused, std::back_inserter(doomed));
  if (!doomed.empty())
    database.write(
        [&](Connection& c) {
          std::lock_guard lock(pins_->mutex);
          for (int64_t id : doomed) {
            std::string hash;
            {
              Rows rows = c.query("SELECT hash, data IS NULL FROM blobs WHERE id = ? AND uses = 0", id);
              if (!rows.next() || pins_->counts.contains(std::string(rows.text(0)))) continue;
              if (rows.integer(1)) files.emplace_back(rows.text(0));
            }
            c.execute("DELETE FROM blobs WHERE id = ?", id);
            ++removed;
          }
        },
        Purpose::frees);
  for (const auto& hash : files) remove_file(database, hash);
  unused_ = std::move(now_unused);
  return removed;
}

// A file whose bytes are neither on their way in nor in a row. The order matters: a pin ends after its row is there.
bool Blobs::remove_file(const Database& database, const std::string& hash) {
  std::lock_guard lock(pins_->mutex);
  if (pins_->counts.contains(hash)) return false;
  bool known = database.read([&](Connection& c) {
    return c.integer("SELECT 1 FROM blobs WHERE hash = ?", Bytes{hash}).has_value();
  });
  return !known && std::filesystem::remove(path(hash));
}

size_t Blobs::sweep_files(const Database& database) {
  std::lock_guard sweeping(sweep_mutex_);
  size_t removed = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder_)) {
    if (!entry.is_regular_file()) continue;
    std::string name = entry.path().parent_path().filename().string() + entry.path().filename().string(),
                hash;
    for (size_t i = 0; i + 1 < name.size(); i += 2)
      hash += static_cast<char>(std::strtol(name.substr(i, 2).c_str(), nullptr, 16));
    removed += path(hash) == entry.path() && remove_file(database, hash);
  }
  return removed;
}

void use_blob(Connection& connection, int64_t blob) {
  int64_t changed = connection.execute("UPDATE blobs SET uses = uses + 1 WHERE id = ?", blob);
  TEXTMILL_CHECK(changed == 1);
}

void release_blob(Connection& connection, int64_t blob) {
  int64_t changed = connection.execute("UPDATE blobs SET uses = uses - 1 WHERE id = ? AND uses > 0", blob);
  TEXTMILL_CHECK(changed == 1);
}

}  // namespace textmill::store
