#pragma once

#include <atomic>
#include <memory>

#include "http/router.h"
#include "serve/batcher.h"
#include "serve/request.h"

namespace textmill::serve {

/// The routes of a model server: GET /ping, POST /invocations, GET /metrics. It answers from the start, with 503 until a
/// model is there and again once it drains.
class Service {
 public:
  explicit Service(uint64_t max_body);

  /// From now on requests are answered. Both must outlive the service.
  void open(const Model& model, Batcher& batcher);
  /// From now on they are refused; those that wait are finished.
  void drain() { open_ = false; }

  const http::Router& router() const { return router_; }

 private:
  http::Response ping(http::Request& request) const;
  http::Response invoke(http::Request& request) const;

  std::atomic<bool> open_ = false;
  const Model* model_ = nullptr;
  Batcher* batcher_ = nullptr;
  http::Router router_;
};

}  // namespace textmill::serve
