#pragma once

#include <atomic>
#include <memory>

#include "http/router.h"
#include "serve/batcher.h"
#include "serve/request.h"

namespace textmill::serve {

/// The routes of a model server: SageMaker's GET /ping and POST /invocations; text-embeddings-inference's POST /predict,
/// /embed, /v1/embeddings and GET /info, /health; GET /metrics. It answers from the start, with 503 until a model is there
/// and again once it drains. Answers of a model say what it cost (x-compute-tokens, x-inference-time in ms, and their like).
class Service {
 public:
  explicit Service(uint64_t max_body);

  /// From now on requests are answered. Both must outlive the service.
  void open(const Model& model, Batcher& batcher);
  /// From now on they are refused; those that wait are finished.
  void drain() { open_ = false; }

  const http::Router& router() const { return router_; }

 private:
  /// Throws unavailable while no model is there.
  const Model& require_model() const;
  http::Response get(http::Request& request, const std::function<std::string(const Model&)>& answer) const;
  http::Response call(http::Request& request, Read* read) const;

  std::atomic<bool> open_ = false;
  const Model* model_ = nullptr;
  Batcher* batcher_ = nullptr;
  http::Router router_;
};

}  // namespace textmill::serve
