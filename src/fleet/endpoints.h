#pragma once

#include <atomic>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "base/threads.h"
#include "base/time.h"
#include "fleet/access.h"
#include "fleet/containers.h"
#include "fleet/model_cache.h"
#include "fleet/news.h"
#include "fleet/remover.h"
#include "fleet/requirements.h"
#include "fleet/router.h"
#include "fleet/serving.h"
#include "fleet/task.h"
#include "plan/endpoint.h"
#include "records/resources.h"
#include "store/store.h"

namespace textmill::fleet {

inline constexpr std::string_view kIsolated = "_Isolated";

/// The reconciler of endpoints: looks at rows, locks and /ping, asks plan what to do, does it. The instances that it
/// starts outlive this process; the next one finds them by their locks.
///
/// A row of the kind endpoint holds {EndpointConfigName, Variants: the configuration's, each with its Container and
/// kIsolated of a model with EnableNetworkIsolation, FailureReason}; one of the kind replica {Endpoint, Variant, Port, Model: in the cache, Offset, Next: of the journal}.
class Endpoints {
 public:
  /// Publishes what is ready, and does nothing else yet.
  Endpoints(store::Store& store, const records::Resources& resources, Router& router,
            Requirements& requirements, Containers& containers, Remover& remover, News& news);
  Endpoints(const Endpoints&) = delete;
  ~Endpoints();

  /// From here on instances are started, watched, ended; those that give no answer for so long as `hung` are replaced.
  void start(Access server, std::chrono::seconds hung);
  ModelCache& models() { return models_; }
  /// Something was written: look now.
  void wake();

 private:
  /// What is known of an instance beside its row.
  struct Known {
    std::shared_ptr<Replica> replica;
    std::stop_source stop;                 // of what lays it out
    std::atomic<bool> installing = false;  // packages, a container's files: that may take its time
    std::unique_ptr<base::Work<std::string>> preparing;  // why it could not be started; empty: it runs
    std::unique_ptr<base::Work<bool>> pinging;           // whether /ping gave a good answer
    std::string trouble;
    std::deque<std::string> last_lines;
    bool watched = false, asked_to_stop = false;
    uint64_t answered = 0;          // requests, as far as was seen
    base::SteadyTime heard, asked;  // of a ready one: its last answer, our last /ping
    base::SteadyTime stopping_since;
  };
  /// Instances that fail one after the other, whatever they answered before, are started ever more slowly.
  struct Setback {
    int count = 0;
    base::SteadyTime until;
  };
  struct World {
    std::vector<records::Resource> endpoints, replicas;
  };

  void run(std::stop_token stop);
  void wait(std::stop_token stop);
  World read_world();
  /// True if something was done: then what comes next is looked at anew.
  bool pass();
  bool tend(records::Resource& endpoint, std::vector<records::Resource*>& replicas);
  plan::Endpoint look(const records::Resource& endpoint, const std::vector<records::Resource*>& replicas);
  plan::Instance look(records::Resource& replica);
  void publish(const World& world);

  void act(records::Resource& endpoint, const plan::EndpointAction& action);
  void start_instance(const records::Resource& endpoint, const std::string& variant);
  std::string prepare(Known& known, const std::string& id, const records::Resource& endpoint,
                      const std::string& variant, uint16_t port, const std::string& token);
  void add_program(Known& known, Task& task, const AttemptFolder& place, const ServingRequest& request);
  void forget(const std::string& id, const std::string& endpoint, bool failed);
  void set_status(const records::Kind& kind, const std::string& name, std::string_view status);
  void put_in_service(const std::string& name);
  void fail(const records::Resource& endpoint, const std::string& reason);

  void say_trouble(store::Connection& c, const records::Resource& replica, const std::string& trouble);
  void take_journal(records::Resource& replica, Known& known);
  bool answers(Known& known, uint16_t port);
  bool hangs(Known& known, uint16_t port);
  AttemptFolder folder(const std::string& id) const { return {store_.folder() / "attempts" / id}; }

  store::Store& store_;
  const records::Resources& resources_;
  Router& router_;
  Requirements& requirements_;
  Containers& containers_;
  Remover& remover_;
  News& told_;  // what was done
  const base::Path program_;
  ModelCache models_;
  Access server_;
  std::chrono::seconds hung_{0};
  base::Descriptor news_, awake_;            // inotify of journals; eventfd
  std::map<std::string, Known> known_;       // its threads wake this one
  std::map<std::string, Setback> setbacks_;  // by endpoint/variant
  int due_ = 0;                              // milliseconds until the next look
  std::jthread thread_;
};

}  // namespace textmill::fleet
