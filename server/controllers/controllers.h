// The makers of all controllers; all.cc holds the one list of them.
#pragma once

#include "server/controllers/controller.h"

namespace server::controllers {

using Made = std::unique_ptr<Controller>;

Made make_replicaset(Context&);
Made make_deployment(Context&);
Made make_endpoints(Context&);
Made make_endpointslices(Context&);
Made make_endpoint_mirror(Context&);
Made make_namespaces(Context&);
Made make_garbage_collector(Context&);
Made make_service_accounts(Context&);
Made make_root_ca(Context&);
Made make_node_lifecycle(Context&);
Made make_taint_eviction(Context&);
Made make_pod_gc(Context&);
Made make_role_aggregation(Context&);
Made make_load_balancer(Context&);
Made make_job(Context&);
Made make_cronjob(Context&);
Made make_daemonset(Context&);
Made make_statefulset(Context&);
Made make_disruption(Context&);
Made make_resource_quota(Context&);
Made make_certificate_cleaner(Context&);
Made make_token_cleaner(Context&);
Made make_token_secrets(Context&);
Made make_persistent_volumes(Context&);
Made make_claim_protection(Context&);
Made make_volume_protection(Context&);
Made make_ephemeral_volumes(Context&);
Made make_local_storage(Context&);
Made make_replication(Context&);
Made make_autoscaler(Context&);
Made make_service_cidrs(Context&);

}  // namespace server::controllers
