#include "http/detail/session.h"

#include <algorithm>
#include <random>

#include "base/log.h"

namespace textmill::http::detail {
namespace {

constexpr size_t kSmallRead = 4 << 10;
constexpr size_t kLargeRead = 256 << 10;
constexpr size_t kMaxChunkHeader = 16 << 10;
constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";

std::string_view view(const boost::beast::flat_buffer& input) {
  return {static_cast<const char*>(input.data().data()), input.size()};
}

std::string fresh_id() {
  static thread_local std::mt19937_64 random{std::random_device{}()};
  static constexpr char kHex[] = "0123456789abcdef";
  std::string id;
  for (int word = 0; word < 2; ++word)
    for (uint64_t bits = random(), i = 0; i < 16; ++i, bits >>= 4) id += kHex[bits & 15];
  return id;
}

/// What the client sent if it is fit for logs and headers, else a fresh one.
std::string request_id(const Headers& headers) {
  for (auto name : {"x-request-id", "x-amzn-requestid"})
    if (auto id = headers.find(name); id && !id->empty() && id->size() <= 128 &&
                                      std::ranges::all_of(*id, [](char c) { return c > ' ' && c < 0x7f; }))
      return std::string(*id);
  return fresh_id();
}

}  // namespace

Session::Session(std::shared_ptr<Connection> connection)
    : owner_(std::move(connection)),
      connection_(*owner_),
      loop_(connection_.loop()),
      service_(loop_.service),
      peer_(connection_.peer()) {}

awaitable<void> Session::run() {
  bool again = co_await connection_.handshake();
  bool served = false;
  while (again && !service_.draining) {
    again = co_await exchange();
    served = true;
  }
  if (served && !connection_.left()) co_await connection_.linger();
}

awaitable<bool> Session::exchange() {
  begin();
  Step step = co_await receive_head();
  Accepted accepted;
  if (step == Step::go_on) step = decide(accepted);
  if (step == Step::go_on) step = co_await receive_body(accepted);
  if (step == Step::go_on) step = co_await handle(accepted);
  bool complete = false;
  if (step == Step::answer) complete = co_await answer();
  connection_.unwatch();
  connection_.silence();
  if (step == Step::answer) report(complete);
  co_return complete&& keep_alive_;
}

void Session::begin() {
  parser_.emplace(service_.options.max_header);
  spool_.reset();
  request_ = {};
  response_ = {};
  stop_ = std::stop_source();
  request_.stop = stop_.get_token();
  keep_alive_ = true;
  received_ = sent_ = 0;
  if (connection_.input.capacity() > kMaxChunkHeader) connection_.input.shrink_to_fit();
}

awaitable<Session::Step> Session::receive_head() {
  auto& input = connection_.input;
  connection_.idle = input.size() == 0;
  connection_.expect_within(connection_.idle ? service_.options.idle_timeout
                                             : service_.options.header_timeout);
  std::string no_body;
  while (!parser_->head_done() && !parser_->refusal()) {
    while (!parser_->got_some() && view(input).starts_with("\r\n")) input.consume(2);  // RFC 9112, 2.2
    input.consume(parser_->feed(view(input), no_body));
    if (parser_->head_done() || parser_->refusal()) break;
    bool more = co_await connection_.read(kSmallRead);
    if (!more) co_return connection_.idle ? Step::gone : silence_or_timeout();
    if (std::exchange(connection_.idle, false)) connection_.expect_within(service_.options.header_timeout);
  }
  request_.method = std::move(parser_->method);
  request_.target = std::move(parser_->target);
  request_.version = parser_->version;
  request_.headers = std::move(parser_->headers);
  request_.id = request_id(request_.headers);
  request_.peer = peer_;
  request_.tls = connection_.tls();
  request_.received = base::steady_now();
  if (parser_->refusal()) co_return refuse_message();
  keep_alive_ = parser_->keep_alive();
  co_return Step::go_on;
}

Session::Step Session::decide(Accepted& accepted) {
  auto decided = service_.dispatch(request_);
  if (auto* response = std::get_if<Response>(&decided)) {
    response_ = std::move(*response);
    // A body that is not wanted ends the connection.
    keep_alive_ = keep_alive_ && parser_->done() && !expects_continue();
    return Step::answer;
  }
  accepted = std::get<Accepted>(std::move(decided));
  return Step::go_on;
}

// Also where there is no body to send: botocore, once it has seen a final answer in its place, takes the next request's
// answer on the same connection for that one's.
bool Session::expects_continue() const {
  return request_.version >= 11 && same_name(request_.headers.get("Expect"), "100-continue");
}

awaitable<Session::Step> Session::receive_body(const Accepted& accepted) {
  const uint64_t limit = std::min(accepted.body.limit, service_.options.max_body);
  if (auto length = parser_->content_length(); length && *length > limit)
    co_return refuse(413, {base::Kind::limit, "the body has " + std::to_string(*length) +
                                                  " bytes, the limit is " + std::to_string(limit)});
  if (expects_continue() && connection_.input.size() == 0) {
    bool written = co_await connection_.write(kContinue);
    if (!written) co_return Step::gone;
  }
  if (parser_->done() && accepted.body.digests.empty()) co_return Step::go_on;

  spool_.emplace(accepted.body, service_.options.spool, service_.body_memory);
  Step step = co_await spool(limit);
  Step stored = co_await settle();
  received_ = spool_->size();
  co_return step == Step::go_on ? stored : step;
}

awaitable<Session::Step> Session::spool(uint64_t limit) {
  auto& input = connection_.input;
  while (!parser_->done()) {
    size_t taken = 0;
    if (input.size() > 0)
      taken = spool_->fill([&](std::string& block) { return parser_->feed(view(input), block); });
    input.consume(taken);
    if (parser_->refusal()) co_return refuse_message();
    if (spool_->size() > limit || parser_->chunk_left() > limit - spool_->size())
      co_return refuse(
          413, {base::Kind::limit, "the body exceeds the limit of " + std::to_string(limit) + " bytes"});
    if (spool_->full()) {
      Step step = co_await store_block();
      if (step != Step::go_on) co_return step;
    }
    if (parser_->done() || (taken > 0 && input.size() > 0)) continue;
    if (input.size() >= kMaxChunkHeader)
      co_return refuse(400, {base::Kind::invalid, "the header of a chunk is too long"});
    connection_.expect_within(service_.options.stall_timeout);
    bool more = co_await read_body();
    if (!more) co_return silence_or_timeout();
  }
  Step step = Step::go_on;
  if (spool_->in_file()) step = co_await store_block();
  co_return step;
}

awaitable<bool> Session::read_body() {
  if (!spool_->in_file() || parser_->body_left() == 0)
    co_return co_await connection_.read(spool_->size() < kMaxChunkHeader ? kMaxChunkHeader : kLargeRead);
  // Nothing to parse: into the block itself.
  size_t n = co_await connection_.read_into(spool_->room(parser_->body_left()));
  parser_->passed(n);
  spool_->filled(n);
  co_return n > 0;
}

awaitable<Session::Step> Session::store_block() {
  Lane::Block block = spool_->take_block();
  for (auto& lane : spool_->lanes()) {
    if (!lane->push(block)) continue;
    storing_.push_back(
        connection_.start(service_.disk, [&lane, waker = connection_.waker()] { lane->run(waker); }));
  }
  auto behind = [this] {
    return std::ranges::any_of(spool_->lanes(), [](auto& lane) { return lane->waiting() > Spool::kAhead; });
  };
  connection_.expect_nothing();
  while (!storing_failed() && behind()) co_await connection_.wait();
  std::erase_if(storing_, [](const auto& work) { return work->done && !work->error; });
  Step step = Step::go_on;
  if (storing_failed()) step = co_await settle();
  co_return step;
}

bool Session::storing_failed() const {
  return std::ranges::any_of(storing_, [](const auto& work) { return work->done && work->error; });
}

awaitable<Session::Step> Session::settle() {
  auto works = std::exchange(storing_, {});
  for (const auto& work : works) co_await connection_.finish(*work);
  auto failed = std::ranges::find_if(works, [](const auto& work) { return work->error != nullptr; });
  if (failed == works.end()) co_return Step::go_on;
  response_ = service_.failed(request_, (*failed)->error);
  keep_alive_ = false;
  co_return Step::answer;
}

awaitable<Session::Step> Session::handle(const Accepted& accepted) {
  auto run = [this, &accepted] {
    response_ = service_.run(*accepted.handler, request_, spool_ ? &*spool_ : nullptr);
  };
  connection_.expect_nothing();
  if (!accepted.blocking) {
    run();
    co_return Step::answer;
  }
  connection_.watch(stop_);
  auto work = connection_.start(service_.handlers, run, true);
  if (!work) co_return refuse(429, {base::Kind::limit, "too many requests wait already"});
  co_await connection_.finish(*work);
  co_return Step::answer;
}

Session::Step Session::refuse(int status, const base::Error& error) {
  response_ = service_.refuse(request_, status, error);
  keep_alive_ = false;
  return Step::answer;
}

Session::Step Session::refuse_message() {
  return refuse(parser_->refusal()->status, {base::Kind::invalid, parser_->refusal()->message});
}

Session::Step Session::silence_or_timeout() {
  return connection_.expired() ? refuse(408, {base::Kind::cancelled, "the request did not come in time"})
                               : Step::gone;
}

void Session::report(bool complete) {
  if (!service_.options.finished) return;
  request_.body = {};
  service_.options.finished(
      {request_, response_.status, received_, sent_, base::seconds_since(request_.received), complete});
}

}  // namespace textmill::http::detail
