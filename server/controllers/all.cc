#include "server/controllers/all.h"

#include <deque>
#include <vector>

#include "base/log.h"
#include "server/controllers/controllers.h"
#include "server/controllers/pods.h"
#include "server/controllers/queue_metrics.h"

namespace server {

using namespace controllers;

namespace {

// The one list, each with the account it acts as (apiserver/bootstrap/default_roles.cc has their roles).
constexpr struct {
  Made (*make)(Context&);
  const char* account;
} makers[] = {
    {make_namespaces, "namespace-controller"},
    {make_service_accounts, "service-account-controller"},
    {make_root_ca, "root-ca-cert-publisher"},
    {make_role_aggregation, "clusterrole-aggregation-controller"},
    {make_deployment, "deployment-controller"},
    {make_replicaset, "replicaset-controller"},
    {make_daemonset, "daemon-set-controller"},
    {make_statefulset, "statefulset-controller"},
    {make_job, "job-controller"},
    {make_cronjob, "cronjob-controller"},
    {make_endpointslices, "endpointslice-controller"},
    {make_endpoints, "endpoint-controller"},
    {make_node_lifecycle, "node-controller"},
    {make_taint_eviction, "node-controller"},
    {make_pod_gc, "pod-garbage-collector"},
    {make_load_balancer, "service-controller"},
    {make_garbage_collector, "generic-garbage-collector"},
    {make_disruption, "disruption-controller"},
    {make_resource_quota, "resourcequota-controller"},
    {make_endpoint_mirror, "endpointslicemirroring-controller"},
    {make_token_secrets, ""},
    {make_token_cleaner, "token-cleaner"},
    {make_certificate_cleaner, "certificate-controller"},
    {make_persistent_volumes, "persistent-volume-binder"},
    {make_claim_protection, "pvc-protection-controller"},
    {make_volume_protection, "pv-protection-controller"},
    {make_ephemeral_volumes, "ephemeral-volume-controller"},
    {make_local_storage, "local-path-provisioner"},
    {make_replication, "replication-controller"},
    {make_autoscaler, "horizontal-pod-autoscaler"},
    {make_service_cidrs, "service-cidrs-controller"},
};

}  // namespace

struct Controllers::Impl {
  Impl(base::Runtime& runtime, const ClientFor& client_for, ControllerOptions o)
      : options(std::move(o)), client(client_for({})), tasks(runtime), informers(runtime, *client), events(runtime, *client) {
    informers.get<core::Pod>({}, {}, trim);
    for (const auto& [make, account] : makers) {
      clients.push_back(client_for(account));
      contexts.push_back({runtime, *clients.back(), informers, events, tasks, options});
      Made c = make(contexts.back());
      bool off = options.disabled.contains(std::string(c->name()));
      if (off) c->queue().close();
      (off ? retired : active).push_back(std::move(c));
    }
  }

  base::Task<> begin() {
    co_await informers.wait_synced();
    base::log::debug("controllers", "informers have synced");
    for (auto& c : active) {
      c->started();
      api::run_reconciler(tasks, *c, c->queue(), c->workers());
    }
  }

  const ControllerOptions options;
  const std::shared_ptr<api::Client> client;
  std::vector<std::shared_ptr<api::Client>> clients;
  base::Tasks tasks;
  api::Informers informers;
  api::EventRecorder events;
  std::deque<Context> contexts;  // the controllers refer to them
  std::vector<Made> active;
  std::vector<Made> retired;  // disabled ones: informers may still call their handlers
};

Controllers::Controllers(base::Runtime& runtime, const ClientFor& client_for, ControllerOptions options)
    : impl_(std::make_unique<Impl>(runtime, client_for, std::move(options))) {}
Controllers::~Controllers() = default;

void Controllers::start() {
  impl_->events.start();
  impl_->informers.start();
  impl_->tasks.spawn("controllers", impl_->begin());
}

void Controllers::append_metrics(std::string& out) const {
  std::vector<QueueMetrics> queues;
  for (const auto& c : impl_->active) queues.push_back({c->name(), c->queue().stats()});
  append_queue_metrics(out, queues);
}

base::Task<> Controllers::stop() {
  for (auto& c : impl_->active) c->queue().close();
  co_await impl_->tasks.stop();
  co_await impl_->informers.stop();
  co_await impl_->events.stop();
}

}  // namespace server
