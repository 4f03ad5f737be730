// The controllers of the cluster: every loop that brings what is observed to what is declared.
//
// One explicit list (all.cc), one file per controller. They share informers, one event recorder and one set of tasks, and speak to the cluster through
// Clients alone, each with its own account and no more rights than that account's role. All work is caused by an event or a deadline: an idle cluster costs nothing.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <set>
#include <string>

#include "api/client.h"
#include "base/io.h"

namespace server {

struct ControllerOptions {
  // A node whose lease is older is Unknown.
  base::Duration node_monitor_grace_period = std::chrono::seconds(50);
  // Terminated pods beyond this number are removed, oldest first.
  size_t terminated_pod_threshold = 12500;
  // PEM of the CA that pods verify the API server with: published as kube-root-ca.crt in every namespace.
  std::string root_ca_pem;
  // A token for a Secret of type kubernetes.io/service-account-token; empty: such Secrets stay as they are.
  std::function<base::Result<std::string>(const std::string& ns, const std::string& account, const std::string& account_uid,
                                          const std::string& secret)>
      secret_token;
  // Names (Controller::name) that are not started: "servicelb", "nodeipam", ...
  std::set<std::string> disabled;
};

class Controllers {
 public:
  // A client that acts as the ServiceAccount kube-system/<account>, or as the controller manager itself when there is none.
  using ClientFor = std::function<std::shared_ptr<api::Client>(std::string account)>;
  Controllers(base::Runtime& runtime, const ClientFor& client_for, ControllerOptions options);
  ~Controllers();
  Controllers(const Controllers&) = delete;
  Controllers& operator=(const Controllers&) = delete;

  // Returns at once; the controllers begin when their informers have synced.
  void start();
  // Cancels all work and waits for its end.
  base::Task<> stop();
  // Prometheus text of the workqueue_* series. Thread-safe.
  void append_metrics(std::string& out) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace server
