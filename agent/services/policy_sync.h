// NetworkPolicy: evaluates selectors over the pods of the cluster and hands the kernel addresses. All pods are watched only while there is a policy.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "api/informer.h"
#include "api/types/core_v1.h"
#include "api/types/networking_v1.h"
#include "network/policy.h"

namespace agent {

using PolicyPtr = std::shared_ptr<const api::networking::NetworkPolicy>;

// Addresses of one policy; pure. `pods` are all pods of the cluster, `namespaces` all namespaces.
network::Policy translate_policy(const api::networking::NetworkPolicy& policy,
                                 const std::vector<std::shared_ptr<const api::core::Pod>>& pods,
                                 const std::vector<std::shared_ptr<const api::core::Namespace>>& namespaces, const std::string& node_name);

class PolicySync {
 public:
  // Sets handlers, so before Informers::start().
  PolicySync(base::Runtime& runtime, api::Informers& informers, std::string node_name);
  void set_network(network::Policies* policies) { network_ = policies; }  // before run()
  base::Task<> run();
  // Returns when the policies that select a pod of this node hold in the kernel, for addresses of which the API does not know yet. At once when
  // none selects it. Any strand; an error when it takes longer than ten seconds.
  base::Task<base::Result<>> cover(std::shared_ptr<const api::core::Pod> pod, std::vector<std::string> ips);

 private:
  // Pods of this node that begin: with the addresses that their status does not show yet.
  struct Beginning {
    std::shared_ptr<const api::core::Pod> pod;
    base::TimePoint since;
    bool covered = false;
  };
  void add_beginning(std::vector<std::shared_ptr<const api::core::Pod>>& pods);
  api::Informers& informers_;
  const std::string node_name_;
  api::Informer<api::networking::NetworkPolicy>& policies_;
  api::Informer<api::core::Namespace>& namespaces_;
  api::Informer<api::core::Pod>* pods_ = nullptr;
  network::Policies* network_ = nullptr;
  base::Event changed_, covered_;
  std::mutex mutex_;  // guards beginning_
  std::map<std::string, Beginning> beginning_;  // by uid
};

}  // namespace agent
