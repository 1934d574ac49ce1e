#pragma once

#include <boost/beast/core/flat_buffer.hpp>
#include <optional>

#include "base/time.h"
#include "http/detail/asio.h"
#include "http/detail/parser.h"

namespace textmill::http::detail {

/// A connection to another server, for one exchange after another.
struct Upstream {
  explicit Upstream(asio::io_context& context) : socket(context) {}

  tcp::socket socket;
  boost::beast::flat_buffer input{1 << 20};
  std::optional<ResponseParser> parser;
  bool reused = false;
  bool sent = false;      // the request went out whole
  bool answered = false;  // at least one byte of the answer has come
  base::SteadyTime due;   // by when the answer is to be there
};

}  // namespace textmill::http::detail
