// All pods of this node: one worker for each that the API assigns to it, and an end for what it no longer knows.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "agent/pods/context.h"
#include "agent/pods/worker.h"
#include "api/informer.h"

namespace agent {

class PodManager {
 public:
  // `pods` must select this node's pods; its handler is set here, so it is not started yet.
  PodManager(PodContext& context, api::Informer<api::core::Pod>& pods);
  ~PodManager();

  // With the sandboxes that survived and the informer synced: adopts those that are wanted, removes the others, begins the rest.
  Task<> start(std::vector<runtime::SandboxPtr> survivors);
  // Workers end; pods run on.
  Task<> stop();

  void runtime_event(const runtime::SandboxEvent& event);  // any thread

  // For the node API; any thread.
  std::optional<PodView> find(const std::string& ns, const std::string& name) const;
  std::optional<PodView> find_by_ip(const std::string& ip) const;
  std::vector<PodView> all() const;
  // Ends the pod as Failed, Evicted (see PodWorker::evict); false when it is not here.
  bool evict(const std::string& uid, std::string message, bool pressure);

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace agent
