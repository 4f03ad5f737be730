#include "server/controllers/all.h"

#include <vector>

#include "base/log.h"
#include "server/controllers/controllers.h"
#include "server/controllers/pods.h"
#include "server/controllers/queue_metrics.h"

namespace server {

using namespace controllers;

struct Controllers::Impl {
  Impl(base::Runtime& runtime, api::Client& client, ControllerOptions o)
      : options(std::move(o)), tasks(runtime), informers(runtime, client), events(runtime, client),
        context{runtime, client, informers, events, tasks, options} {
    informers.get<core::Pod>({}, {}, trim);
    // The one list.
    for (Made (*make)(Context&) : {
             make_namespaces,      make_service_accounts, make_root_ca,          make_role_aggregation,
             make_deployment,      make_replicaset,       make_daemonset,        make_statefulset,
             make_job,             make_cronjob,          make_endpointslices,   make_endpoints,
             make_node_lifecycle,  make_taint_eviction,   make_pod_gc,           make_load_balancer,
             make_garbage_collector, make_disruption,     make_resource_quota,   make_endpoint_mirror,
             make_token_secrets,   make_token_cleaner,    make_certificate_cleaner,
             make_persistent_volumes, make_claim_protection, make_volume_protection, make_ephemeral_volumes, make_local_storage,
             make_replication,     make_autoscaler,
         }) {
      Made c = make(context);
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
  base::Tasks tasks;
  api::Informers informers;
  api::EventRecorder events;
  Context context;
  std::vector<Made> active;
  std::vector<Made> retired;  // disabled ones: informers may still call their handlers
};

Controllers::Controllers(base::Runtime& runtime, api::Client& client, ControllerOptions options)
    : impl_(std::make_unique<Impl>(runtime, client, std::move(options))) {}
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
