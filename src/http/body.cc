#include "http/body.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/error.h"

namespace textmill::http {

OpenFile::OpenFile(const base::Path& path) : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
  if (fd_ < 0) throw base::system_error("cannot open " + path.string(), errno);
}

OpenFile::~OpenFile() { ::close(fd_); }

uint64_t OpenFile::size() const {
  struct stat status;
  if (::fstat(fd_, &status) != 0) throw base::system_error("cannot read the size of an open file", errno);
  return static_cast<uint64_t>(status.st_size);
}

std::string_view Body::text() const {
  if (!file_) return text_;
  if (!map_) map_ = std::make_shared<base::MappedFile>("/proc/self/fd/" + std::to_string(file_->fd()));
  return map_->text();
}

const std::string& Body::digest(Digest digest) const {
  auto found = digests_.find(digest);
  TEXTMILL_CHECK(found != digests_.end());
  return found->second;
}

void Body::keep_as(const base::Path& path) const {
  if (!file_) {
    if (std::filesystem::exists(path))
      throw base::system_error("cannot keep a body as " + path.string(), EEXIST);
    return base::write_file_durably(path, text_);
  }
  if (::fsync(file_->fd()) != 0) throw base::system_error("cannot sync a staging file", errno);
  auto open = "/proc/self/fd/" + std::to_string(file_->fd());
  if (::linkat(AT_FDCWD, open.c_str(), AT_FDCWD, path.c_str(), AT_SYMLINK_FOLLOW) != 0)
    throw base::system_error("cannot keep a body as " + path.string(), errno);
  base::sync_folder(path.parent_path());
}

}  // namespace textmill::http
