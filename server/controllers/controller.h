// What every controller of this folder is made of: a queue of keys, watches that fill it, and access to the shared informers.
//
// A constructor says what is watched; reconcile() (api/reconciler.h) brings one object to its desired state. Constructors run before the informers start.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "api/event_recorder.h"
#include "api/informer.h"
#include "api/reconciler.h"
#include "api/types/core_v1.h"
#include "api/workqueue.h"
#include "server/controllers/all.h"

namespace server::controllers {

using api::ObjectKey;
using api::Result;
using base::Duration;
using base::Task;
using Requeue = std::optional<Duration>;
namespace core = api::core;
namespace meta = api::meta;

// What a controller is given: its own client, and what it shares with the others. Outlives it.
struct Context {
  base::Runtime& runtime;
  api::Client& client;
  api::Informers& informers;
  api::EventRecorder& events;
  base::Tasks& tasks;
  const ControllerOptions& options;
};

class Controller : public api::Reconciler {
 public:
  explicit Controller(Context& context) : context_(context), client_(context.client), events_(context.events) {}
  // How many keys are worked on at a time.
  virtual int workers() const { return 2; }
  // For those with work that no event causes. Called once, when the informers have synced.
  virtual void started() {}
  api::WorkQueue& queue() { return queue_; }

 protected:
  template <class T>
  api::Informer<T>& informer() {
    return context_.informers.get<T>();
  }
  // The objects themselves are reconciled.
  template <class T>
  api::Informer<T>& watch() {
    auto& i = informer<T>();
    i.on_change([this](const auto& before, const auto& after) { this->enqueue((after ? after : before)->metadata); });
    return i;
  }
  void enqueue(const meta::ObjectMeta& m) { queue_.add(ObjectKey{m.namespace_, m.name}.text()); }
  void enqueue(std::string ns, std::string object) { queue_.add(ObjectKey{std::move(ns), std::move(object)}.text()); }

  Context& context_;
  api::Client& client_;
  api::EventRecorder& events_;

 private:
  api::WorkQueue queue_;
};

// The informer index of objects by the uid of their controlling owner; objects without one are found under "orphans in <namespace>".
inline constexpr const char* by_owner = "owner";
std::vector<std::string> owner_index(const meta::ObjectMeta& m);
std::string orphans_in(const std::string& ns);
template <class T>
void index_by_owner(api::Informer<T>& informer) {
  informer.add_index(by_owner, [](const T& o) { return owner_index(o.metadata); });
}

}  // namespace server::controllers
