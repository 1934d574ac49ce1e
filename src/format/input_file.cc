#include "format/input_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/error.h"
#include "base/utf8.h"

namespace textmill::format {

using base::Error;
using base::Kind;

namespace {
constexpr size_t kBufferBytes = size_t{128} << 10;
}

struct InputFile::Decoder {
  z_stream gzip{};
  ZSTD_DStream* zstd = nullptr;
  bool within = false;  // a member or frame has begun and not ended

  explicit Decoder(bool is_zstd) {
    if (is_zstd)
      TEXTMILL_CHECK(zstd = ZSTD_createDStream());
    else
      TEXTMILL_CHECK(inflateInit2(&gzip, 16 + MAX_WBITS) == Z_OK);
  }
  ~Decoder() {
    if (zstd)
      ZSTD_freeDStream(zstd);
    else
      inflateEnd(&gzip);
  }
};

InputFile::InputFile(const base::Path& path)
    : path_(path), file_(base::open_file(path, O_RDONLY)), buffer_(new char[kBufferBytes]) {
  refill();
  std::string_view front(buffer_.get(), end_);
  if (front.starts_with("\x1f\x8b")) decoder_ = std::make_unique<Decoder>(false);
  if (front.starts_with("\x28\xb5\x2f\xfd")) decoder_ = std::make_unique<Decoder>(true);
}

InputFile::InputFile(std::string_view text, const base::Path& name)
    : path_(name), buffer_(new char[text.size()]), end_(text.size()) {
  std::copy(text.begin(), text.end(), buffer_.get());
}

InputFile::~InputFile() = default;

void InputFile::fail(std::string_view what) const {
  throw Error(Kind::invalid, fmt::format("{}: {}", path_.string(), what));
}

bool InputFile::refill() {
  if (begin_ < end_) return true;
  if (!file_) return false;
  ssize_t n;
  do n = ::read(file_.get(), buffer_.get(), kBufferBytes);
  while (n < 0 && errno == EINTR);
  if (n < 0) throw base::system_error(path_.string(), errno);
  begin_ = 0;
  end_ = static_cast<size_t>(n);
  return n > 0;
}

size_t InputFile::read(std::span<char> out) {
  if (out.empty()) return 0;
  if (!decoder_) return read_raw(out);
  while (true) {
    if (!refill()) {
      if (decoder_->within) fail("the compressed data ends early");
      return 0;
    }
    if (size_t n = decoder_->zstd ? decode_zstd(out) : decode_gzip(out)) return n;
  }
}

size_t InputFile::read_raw(std::span<char> out) {
  if (!refill()) return 0;
  size_t n = std::min(out.size(), end_ - begin_);
  std::memcpy(out.data(), buffer_.get() + begin_, n);
  begin_ += n;
  return n;
}

size_t InputFile::decode_gzip(std::span<char> out) {
  z_stream& stream = decoder_->gzip;
  stream.next_in = reinterpret_cast<Bytef*>(buffer_.get() + begin_);
  stream.avail_in = static_cast<uInt>(end_ - begin_);
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(std::min<size_t>(out.size(), 1u << 30));
  decoder_->within = true;
  uInt room = stream.avail_out;
  int code = ::inflate(&stream, Z_NO_FLUSH);
  if (code != Z_OK && code != Z_STREAM_END && code != Z_BUF_ERROR) {
    fail(fmt::format("damaged gzip data: {}", stream.msg ? stream.msg : "unknown reason"));
  }
  begin_ = end_ - stream.avail_in;
  if (code == Z_STREAM_END) {
    decoder_->within = false;
    ::inflateReset(&stream);
  }
  return room - stream.avail_out;
}

size_t InputFile::decode_zstd(std::span<char> out) {
  ZSTD_inBuffer from{buffer_.get(), end_, begin_};
  ZSTD_outBuffer to{out.data(), out.size(), 0};
  size_t rest = ZSTD_decompressStream(decoder_->zstd, &to, &from);
  if (ZSTD_isError(rest)) fail(fmt::format("damaged zstd data: {}", ZSTD_getErrorName(rest)));
  begin_ = from.pos;
  decoder_->within = rest != 0;
  return to.pos;
}

LineReader::LineReader(const base::Path& path, size_t limit)
    : file_(path), limit_(limit), buffer_(kBufferBytes, '\0') {}

LineReader::LineReader(std::string_view text, const base::Path& name, size_t limit)
    : file_(text, name), limit_(limit), buffer_(kBufferBytes, '\0') {}

std::string LineReader::where() const { return fmt::format("{}:{}", path().string(), line_); }

std::optional<std::string_view> LineReader::next_raw() {
  size_t searched = begin_;
  const char* found;
  while (!(found = static_cast<const char*>(std::memchr(buffer_.data() + searched, '\n', end_ - searched)))) {
    if (end_ - begin_ > limit_) {
      throw Error(Kind::limit,
                  fmt::format("{}:{}: the line is longer than {} bytes", path().string(), line_ + 1, limit_));
    }
    if (begin_ > 0) {
      std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
      end_ -= std::exchange(begin_, 0);
    }
    searched = end_;
    if (end_ == buffer_.size()) buffer_.resize(2 * end_);
    size_t n = file_.read(std::span(buffer_).subspan(end_));
    if (n == 0) break;
    end_ += n;
  }
  size_t stop = found ? static_cast<size_t>(found - buffer_.data()) + 1 : end_;
  if (stop == begin_) return std::nullopt;
  std::string_view line(buffer_.data() + begin_, stop - begin_);
  begin_ = stop;
  ++line_;
  if (auto bad = base::invalid_utf8(line)) {
    throw Error(Kind::invalid, fmt::format("{}: not UTF-8: byte {:#04x} at column {}", where(),
                                           static_cast<unsigned char>(line[*bad]), *bad + 1));
  }
  if (line_ == 1 && line.starts_with("\xEF\xBB\xBF")) line.remove_prefix(3);
  if (line.empty()) return std::nullopt;  // a file of nothing but the mark
  return line;
}

std::optional<std::string_view> LineReader::next() {
  auto line = next_raw();
  if (line && line->ends_with('\n')) line->remove_suffix(1);
  if (line && line->ends_with('\r')) line->remove_suffix(1);
  return line;
}

}  // namespace textmill::format
