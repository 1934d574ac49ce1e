#pragma once

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace textmill::http::detail {

namespace asio = boost::asio;
using asio::awaitable;
using asio::ip::tcp;

/// `auto [code, n] = co_await x.async_y(..., kTuple)`: failures are values here, exceptions only for the unexpected.
inline constexpr auto kTuple = asio::as_tuple(asio::use_awaitable);

}  // namespace textmill::http::detail
