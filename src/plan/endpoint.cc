#include "plan/endpoint.h"

#include <algorithm>
#include <optional>

namespace textmill::plan {

namespace {

using Action = EndpointAction;
using What = EndpointAction::What;
using Status = Instance::Status;

/// SageMaker's sentence, and what the program said at last.
std::string no_ping(const std::string& variant, const std::string& last_words) {
  std::string text = "The primary container for production variant " + variant +
                     " did not pass the ping health check. Please check CloudWatch logs for this endpoint.";
  if (!last_words.empty()) text += " Its last lines: " + last_words;
  return text;
}

/// Why an instance will not become ready; empty: it still may, or it was never begun and another one takes its place.
std::string failure(const Instance& instance, const Variant& variant) {
  if (instance.status != Status::starting || instance.preparing) return {};
  if (!instance.trouble.empty()) return instance.trouble;
  if (!instance.alive) return instance.begun ? no_ping(variant.name, instance.last_words) : "";
  return instance.age > variant.startup_limit ? no_ping(variant.name, instance.last_words) : "";
}

class Decision {
 public:
  explicit Decision(const Endpoint& endpoint) : endpoint_(endpoint) {}

  std::vector<Action> make() {
    bool wanted =
        endpoint_.status == Endpoint::Status::creating || endpoint_.status == Endpoint::Status::in_service;
    for (const Instance& instance : endpoint_.instances) (wanted ? tend(instance) : end(instance));
    if (wanted && reason_.empty())
      for (const Variant& variant : endpoint_.variants) fill(variant);
    if (!reason_.empty()) {
      add(What::fail, "", reason_);
    } else if (endpoint_.status == Endpoint::Status::creating &&
               std::ranges::all_of(endpoint_.variants,
                                   [&](auto& v) { return count(v, Status::ready) >= v.wanted; })) {
      add(What::in_service, "");
    }
    if (endpoint_.status == Endpoint::Status::deleting && endpoint_.instances.empty()) add(What::remove, "");
    return std::move(actions_);
  }

 private:
  void add(What what, const std::string& of, const std::string& reason = "") {
    actions_.push_back({what, of, reason});
  }

  void tend(const Instance& instance) {
    if (instance.status == Status::stopping) return end(instance);
    const Variant* variant = nullptr;
    for (const Variant& one : endpoint_.variants)
      if (one.name == instance.variant) variant = &one;
    if (!variant) return end(instance);
    std::string why = failure(instance, *variant);
    if (!why.empty() && endpoint_.status == Endpoint::Status::creating && reason_.empty()) reason_ = why;
    if (!instance.preparing && !instance.alive) {
      if (instance.status == Status::ready) why = "it ended by itself";
      return add(What::forget, instance.id, why);
    }
    if (!why.empty()) return add(What::stop, instance.id, why);
    if (instance.status == Status::ready && instance.hung)
      return add(What::stop, instance.id, "it does not answer any more, not even /ping");
    if (instance.status == Status::starting && instance.healthy) add(What::ready, instance.id);
  }

  /// One that is not wanted any more; it may first answer what it has.
  void end(const Instance& instance) {
    if (!instance.alive && !instance.preparing)
      add(What::forget, instance.id);
    else if (instance.status != Status::stopping)
      add(What::stop, instance.id);
  }

  /// Instances that count towards what is wanted; with `status`, only those.
  int count(const Variant& variant, std::optional<Status> status = {}) const {
    return static_cast<int>(std::ranges::count_if(endpoint_.instances, [&](const Instance& one) {
      bool there =
          one.variant == variant.name && (one.alive || one.preparing) && one.status != Status::stopping;
      return there && (!status || one.status == *status);
    }));
  }

  void fill(const Variant& variant) {
    if (variant.pause > 0) return;
    for (int n = count(variant); n < variant.wanted; ++n) add(What::start, variant.name);
  }

  const Endpoint& endpoint_;
  std::vector<Action> actions_;
  std::string reason_;
};

}  // namespace

std::vector<EndpointAction> decide(const Endpoint& endpoint) { return Decision(endpoint).make(); }

}  // namespace textmill::plan
