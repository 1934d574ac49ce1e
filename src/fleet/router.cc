#include "fleet/router.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "records/kind.h"

namespace textmill::fleet {

namespace {

/// One of the ready variants, so that any run of turns holds each by its share (an additive recurrence of the golden
/// ratio); all weights 0: any. Null: none is ready.
const VariantRoute* by_weight(const std::vector<VariantRoute>& variants, uint64_t turn) {
  double total = 0;
  size_t ready = 0;
  for (const auto& variant : variants)
    if (!variant.replicas.empty()) total += variant.weight, ++ready;
  auto share = [&](const VariantRoute& variant) { return total > 0 ? variant.weight / total : 1.0 / ready; };
  double at = static_cast<double>(turn * 0x9e3779b97f4a7c15u >> 11) * 0x1p-53;
  const VariantRoute* chosen = nullptr;
  for (const auto& variant : variants) {
    if (variant.replicas.empty() || share(variant) == 0) continue;
    chosen = &variant;
    at -= share(variant);
    if (at < 0) break;
  }
  return chosen;
}

}  // namespace

std::shared_ptr<Lease> Router::choose(std::string_view endpoint, std::string_view variant,
                                      const std::vector<std::string>& without) {
  auto routes = routes_.load();
  auto found = routes->find(records::key_of(records::kEndpoint, endpoint));
  if (found == routes->end())
    throw base::Error(base::Kind::not_found, fmt::format("Endpoint {} is not in service.", endpoint));
  const VariantRoute* route = nullptr;
  uint64_t turn = turn_.fetch_add(1, std::memory_order_relaxed);
  if (variant.empty()) {
    route = by_weight(found->second, turn);
  } else {
    auto named = std::ranges::find(found->second, variant, &VariantRoute::name);
    if (named == found->second.end())
      throw base::Error(base::Kind::invalid,
                        fmt::format("Variant {} not found in endpoint {}.", variant, endpoint));
    route = &*named;
  }
  const std::shared_ptr<const Replica>* best = nullptr;
  for (size_t i = 0; route && i < route->replicas.size(); ++i) {
    // Equal ones take turns.
    const auto& replica = route->replicas[(turn + i) % route->replicas.size()];
    if (std::ranges::find(without, replica->id) != without.end()) continue;
    if (!best || replica->outstanding < (*best)->outstanding) best = &replica;
  }
  if (!best)
    throw base::Error(base::Kind::unavailable,
                      fmt::format("Endpoint {}: no instance is ready; one is being started.", endpoint));
  return std::make_shared<Lease>(*best, route->name);
}

}  // namespace textmill::fleet
