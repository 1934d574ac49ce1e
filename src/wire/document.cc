#include "wire/document.h"

#include <fmt/format.h>
#include <zlib.h>

#include <memory>

#include "wire/fault.h"

namespace textmill::wire {
namespace {

Fault too_large() {
  return {"RequestEntityTooLarge", 413,
          fmt::format("The request's document is longer than {} bytes", kMaxDocument)};
}

std::string gunzip(std::string_view packed) {
  z_stream stream{};
  constexpr int kGzip = 15 + 16;
  TEXTMILL_CHECK(inflateInit2(&stream, kGzip) == Z_OK);
  std::unique_ptr<z_stream, int (*)(z_stream*)> end(&stream, inflateEnd);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(packed.data()));
  stream.avail_in = static_cast<uInt>(packed.size());
  std::string out;
  for (int code = Z_OK; code != Z_STREAM_END;) {
    size_t have = out.size();
    if (have > kMaxDocument) throw too_large();
    out.resize(have + (64 << 10));
    stream.next_out = reinterpret_cast<Bytef*>(out.data() + have);
    stream.avail_out = static_cast<uInt>(out.size() - have);
    code = inflate(&stream, Z_NO_FLUSH);
    if (code != Z_OK && code != Z_STREAM_END)
      throw base::Error(base::Kind::invalid, "The request's body is not whole gzip data");
    out.resize(out.size() - stream.avail_out);
  }
  return out;
}

}  // namespace

std::string_view document(const http::Request& request, std::string& unpacked) {
  auto text = request.body.text();
  if (text.size() > kMaxDocument) throw too_large();
  if (request.headers.get("content-encoding") != "gzip") return text;
  return unpacked = gunzip(text);
}

}  // namespace textmill::wire
