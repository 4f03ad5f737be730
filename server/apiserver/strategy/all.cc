#include "server/apiserver/strategy/all.h"

namespace server {
namespace {

class Plain final : public Strategy {};

// A PUT of an absent object makes it.
class Upsert final : public Strategy {
 public:
  bool creates_on_update() const override { return true; }
};

class Volume final : public Strategy {
 public:
  Result<> prepare_create(WriteAttempt&, base::json::object& o) const override {
    o["status"] = base::json::object{{"phase", "Pending"}};
    return {};
  }
};

}  // namespace

std::unique_ptr<const Strategy> make_plain_strategy() { return std::make_unique<Plain>(); }
std::unique_ptr<const Strategy> make_upsert_strategy() { return std::make_unique<Upsert>(); }
std::unique_ptr<const Strategy> make_volume_strategy() { return std::make_unique<Volume>(); }

Strategies make_strategies(const ApiServerOptions& options) {
  Strategies out;
  out["*"] = make_plain_strategy();
  out["/pods"] = make_pod_strategy();
  out["/services"] = make_service_strategy(options);
  out["networking.k8s.io/servicecidrs"] = make_service_cidr_strategy();
  out["/namespaces"] = make_namespace_strategy();
  out["/secrets"] = make_secret_strategy();
  out["/nodes"] = make_node_strategy(options);
  out["/persistentvolumes"] = make_volume_strategy();
  out["/persistentvolumeclaims"] = make_volume_strategy();
  out["/endpoints"] = make_upsert_strategy();
  out["/events"] = make_upsert_strategy();
  out["coordination.k8s.io/leases"] = make_upsert_strategy();
  out["batch/jobs"] = make_job_strategy();
  out["certificates.k8s.io/certificatesigningrequests"] = make_certificate_request_strategy();
  out["certificates.k8s.io/clustertrustbundles"] = make_trust_bundle_strategy();
  return out;
}

}  // namespace server
