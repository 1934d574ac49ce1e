#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace textmill::fleet {

/// A process that answers /invocations on this machine.
struct Replica {
  std::string id;  // "i-0123456789abcdef0"
  uint16_t port = 0;
  mutable std::atomic<int> outstanding = 0;  // requests that it has not answered yet
  mutable std::atomic<uint64_t> answered = 0;
};

/// The replicas of a production variant that are ready.
struct VariantRoute {
  std::string name;
  double weight = 1;
  std::vector<std::shared_ptr<const Replica>> replicas;
};

/// Endpoints in service, by name in lower case.
using Routes = std::map<std::string, std::vector<VariantRoute>, std::less<>>;

/// A request's hold on a replica: it counts as outstanding as long as this lives.
class Lease {
 public:
  Lease(std::shared_ptr<const Replica> replica, std::string variant)
      : replica_(std::move(replica)), variant_(std::move(variant)) {
    replica_->outstanding.fetch_add(1, std::memory_order_relaxed);
  }
  Lease(const Lease&) = delete;
  ~Lease() { replica_->outstanding.fetch_sub(1, std::memory_order_relaxed); }
  const Replica& replica() const { return *replica_; }
  const std::string& variant() const { return variant_; }

 private:
  std::shared_ptr<const Replica> replica_;
  std::string variant_;
};

/// Where requests to endpoints go: a snapshot that the reconciler publishes, read by any thread without waiting for it.
class Router {
 public:
  void publish(Routes routes) { routes_.store(std::make_shared<const Routes>(std::move(routes))); }

  /// A variant by the weights, or the one that is named; in it, the replica with the fewest outstanding requests that is
  /// none of `without` (ids). Throws not_found for an endpoint that is not in service, invalid for a variant that it does
  /// not have, unavailable when no replica is ready.
  std::shared_ptr<Lease> choose(std::string_view endpoint, std::string_view variant,
                                const std::vector<std::string>& without = {});

 private:
  std::atomic<std::shared_ptr<const Routes>> routes_ = std::make_shared<const Routes>();
  std::atomic<uint64_t> turn_ = 0;
};

}  // namespace textmill::fleet
