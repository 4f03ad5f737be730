#include "server/apiserver/bootstrap/bootstrap.h"

#include <fmt/format.h>

#include "base/log.h"
#include "base/time.h"
#include "server/apiserver/bootstrap/default_roles.h"
#include "server/apiserver/bootstrap/role_reconciliation.h"
#include "server/apiserver/flow/defaults.h"
#include "server/apiserver/registry/cidr.h"
#include "server/apiserver/registry/keys.h"
#include "server/apiserver/registry/write.h"
#include "server/apiserver/strategy/service_ranges.h"

namespace server {
namespace {

using base::json::array;
using base::json::object;
using base::json::value;

// Gathers writes; complete objects in, one transaction out.
class Batch {
 public:
  Batch(const datastore::Store& store, const Resources& resources) : store_(store), resources_(resources) {}

  // Adds the object when nothing has its key; says whether it did.
  bool add(value v) {
    const ResourceInfo* r = row(v);
    if (!r) return false;
    object& meta = metadata_of(v.as_object());
    std::string ns(text_of(meta, "namespace")), key = r->key(ns, text_of(meta, "name"));
    if (store_.get(key)) return false;
    fill_new(meta, ns, r->has_generation);
    writes_.push_back(object_write(*r, key, v, 0));
    return true;
  }

  // Adds it, or puts it in place of one that says something else.
  void ensure(value v, std::string_view part) {
    const ResourceInfo* r = row(v);
    if (!r) return;
    object& meta = metadata_of(v.as_object());
    std::string ns(text_of(meta, "namespace")), key = r->key(ns, text_of(meta, "name"));
    datastore::RecordPtr record = store_.get(key);
    if (!record) {
      add(std::move(v));
      return;
    }
    auto live = base::parse_json(*record->value, 256);
    if (!live) return;
    const value *have = live->as_object().if_contains(part), *want = v.as_object().if_contains(part);
    if (have && want && *have == *want) return;
    replace(*r, key, record, std::move(*live), part, want ? *want : value());
  }

  void replace(const ResourceInfo& r, const std::string& key, const datastore::RecordPtr& record, value live, std::string_view part,
               value now) {
    live.as_object()[part] = std::move(now);
    put(r, key, record, std::move(live));
  }

  void put(const ResourceInfo& r, const std::string& key, const datastore::RecordPtr& record, value now) {
    writes_.push_back(object_write(r, key, now, record->revision));
  }

  const ResourceInfo* row(const value& v) const {
    auto [group, version] = api::split_api_version(base::get_string(v, "apiVersion"));
    return resources_.by_kind(group, version, base::get_string(v, "kind"));
  }
  const datastore::Store& store() const { return store_; }
  std::vector<datastore::Write> take() { return std::move(writes_); }

 private:
  const datastore::Store& store_;
  const Resources& resources_;
  std::vector<datastore::Write> writes_;
};

void add_namespaces(Batch& batch) {
  for (std::string_view name : {"default", "kube-system", "kube-public", "kube-node-lease"})
    batch.add(object{{"apiVersion", "v1"},
                     {"kind", "Namespace"},
                     {"metadata", object{{"name", name}, {"labels", object{{"kubernetes.io/metadata.name", name}}}}},
                     {"spec", object{{"finalizers", array{"kubernetes"}}}},
                     {"status", object{{"phase", "Active"}}}});
}

// Those that exist get back what they lack.
void add_roles(Batch& batch) {
  for (object& o : default_roles()) {
    if (batch.add(value(o))) continue;
    const ResourceInfo* r = batch.row(value(o));
    if (!r) continue;
    const std::string ns(text_of(metadata_of(o), "namespace")), key = r->key(ns, text_of(metadata_of(o), "name"));
    datastore::RecordPtr record = batch.store().get(key);
    auto live = record ? base::parse_json(*record->value, 256) : base::Result<value>(base::internal("gone"));
    if (!live) continue;
    auto now = reconcile_role(o, live->get_object());
    if (!now) continue;
    if (now->replaced) fill_new(metadata_of(now->object), ns, r->has_generation);
    batch.put(*r, key, record, value(std::move(now->object)));
  }
}

value service(std::string_view ns, std::string_view name, object labels, std::string_view ip, array ports) {
  return object{{"apiVersion", "v1"},
                {"kind", "Service"},
                {"metadata", object{{"name", name}, {"namespace", ns}, {"labels", std::move(labels)}}},
                {"spec", object{{"ports", std::move(ports)}, {"clusterIP", ip}, {"clusterIPs", array{value(ip)}}, {"type", "ClusterIP"}, {"sessionAffinity", "None"},
                                {"ipFamilies", array{"IPv4"}}, {"ipFamilyPolicy", "SingleStack"}, {"internalTrafficPolicy", "Cluster"}}},
                {"status", object{{"loadBalancer", object{}}}}};
}

value address_claim(std::string_view ip, std::string_view ns, std::string_view name) {
  return object{{"apiVersion", "networking.k8s.io/v1"},
                {"kind", "IPAddress"},
                {"metadata", object{{"name", ip},
                                    {"labels", object{{"ipaddress.kubernetes.io/ip-family", "IPv4"},
                                                      {"ipaddress.kubernetes.io/managed-by", "ipallocator.k8s.io"}}}}},
                {"spec", object{{"parentRef", object{{"resource", "services"}, {"namespace", ns}, {"name", name}}}}}};
}

void add_own_endpoints(Batch& batch, const std::string& address, uint16_t port) {
  batch.ensure(object{{"apiVersion", "v1"},
                      {"kind", "Endpoints"},
                      {"metadata", object{{"name", "kubernetes"},
                                          {"namespace", "default"},
                                          {"labels", object{{"endpointslice.kubernetes.io/skip-mirror", "true"}}}}},
                      {"subsets", array{object{{"addresses", array{object{{"ip", address}}}},
                                               {"ports", array{object{{"name", "https"}, {"port", port}, {"protocol", "TCP"}}}}}}}},
               "subsets");
  value slice =
      object{{"apiVersion", "discovery.k8s.io/v1"},
             {"kind", "EndpointSlice"},
             {"metadata",
              object{{"name", "kubernetes"}, {"namespace", "default"}, {"labels", object{{"kubernetes.io/service-name", "kubernetes"}}}}},
             {"addressType", "IPv4"},
             {"endpoints", array{object{{"addresses", array{value(address)}}, {"conditions", object{{"ready", true}}}}}},
             {"ports", array{object{{"name", "https"}, {"protocol", "TCP"}, {"port", port}}}}};
  batch.ensure(slice, "endpoints");
  if (batch.store().get(object_key("discovery.k8s.io", "endpointslices", "default", "kubernetes"))) batch.ensure(slice, "ports");
}

void add_services(Batch& batch, const ApiServerOptions& o, const std::string& ip, uint16_t port) {
  value kubernetes = service("default", "kubernetes", object{{"component", "apiserver"}, {"provider", "kubernetes"}}, ip,
                             array{object{{"name", "https"}, {"protocol", "TCP"}, {"port", 443}, {"targetPort", port}}});
  object ready{{"type", "Ready"}, {"status", "True"}, {"reason", ""}, {"message", "Kubernetes Service CIDR is ready"}, {"lastTransitionTime", base::now_rfc3339()}};
  batch.add(object{{"apiVersion", "networking.k8s.io/v1"},
                   {"kind", "ServiceCIDR"},
                   {"metadata", object{{"name", default_service_cidr}, {"finalizers", array{value(service_cidr_finalizer)}}}},
                   {"spec", object{{"cidrs", array{value(o.service_cidr)}}}},
                   {"status", object{{"conditions", array{std::move(ready)}}}}});
  batch.add(address_claim(ip, "default", "kubernetes"));
  batch.ensure(std::move(kubernetes), "spec");
  add_own_endpoints(batch, o.advertise_address, port);
  if (o.cluster_dns.empty()) return;
  batch.add(address_claim(o.cluster_dns, "kube-system", "kube-dns"));
  batch.add(service("kube-system", "kube-dns",
                    object{{"k8s-app", "kube-dns"}, {"kubernetes.io/cluster-service", "true"}, {"kubernetes.io/name", "CoreDNS"}},
                    o.cluster_dns,
                    array{object{{"name", "dns"}, {"protocol", "UDP"}, {"port", 53}, {"targetPort", 53}},
                          object{{"name", "dns-tcp"}, {"protocol", "TCP"}, {"port", 53}, {"targetPort", 53}}}));
}

void add_classes(Batch& batch) {
  for (auto [name, number, text] :
       {std::tuple("system-cluster-critical", 2000000000, "Pods the cluster cannot work without; they may move to another node."),
        std::tuple("system-node-critical", 2000001000, "Pods their node cannot work without.")})
    batch.add(object{{"apiVersion", "scheduling.k8s.io/v1"},
                     {"kind", "PriorityClass"},
                     {"metadata", object{{"name", name}}},
                     {"value", number},
                     {"description", text},
                     {"preemptionPolicy", "PreemptLowerPriority"}});
  batch.add(
      object{{"apiVersion", "networking.k8s.io/v1"},
             {"kind", "IngressClass"},
             {"metadata", object{{"name", "appliance"}, {"annotations", object{{"ingressclass.kubernetes.io/is-default-class", "true"}}}}},
             {"spec", object{{"controller", "appliance.dev/ingress"}}}});
}

// New ones whole; of those that are there, the specification, while it is ours to keep (annotation autoupdate-spec, docs of API Priority and Fairness).
void add_flow_objects(Batch& batch) {
  for (flow::DefaultObject& d : flow::default_objects()) {
    value v(std::move(d.object));
    if (batch.add(v)) continue;
    const ResourceInfo* r = batch.row(v);
    datastore::RecordPtr record = r ? batch.store().get(r->key({}, base::get_string(v, "metadata.name"))) : nullptr;
    auto live = record ? base::parse_json(*record->value, 256) : base::Result<value>(base::internal("gone"));
    if (!live) continue;
    bool ours = d.mandatory && base::get_string(v, "spec.type") != "Exempt";
    if (!d.mandatory) {
      const object* notes = base::find_object(*live, "metadata.annotations");
      const value* note = notes ? notes->if_contains(flow::kAutoUpdate) : nullptr;
      ours = note ? note->is_string() && note->get_string() == "true" : base::get_int(*live, "metadata.generation") == 1;
    }
    if (ours) batch.ensure(std::move(v), "spec");
  }
}

void add_config(Batch& batch, const std::string& ca_pem) {
  batch.ensure(object{{"apiVersion", "v1"},
                      {"kind", "ConfigMap"},
                      {"metadata", object{{"name", "extension-apiserver-authentication"}, {"namespace", "kube-system"}}},
                      {"data", object{{"client-ca-file", ca_pem}}}},
               "data");
}

Task<Result<>> write(datastore::Store& store, Batch batch) {
  std::vector<datastore::Write> writes = batch.take();
  if (writes.empty()) co_return Result<>{};
  size_t count = writes.size();
  auto written = co_await store.write(std::move(writes));
  if (!written) co_return std::unexpected(std::move(written).error());
  base::log::info("apiserver", "wrote {} objects of the cluster itself", count);
  co_return Result<>{};
}

}  // namespace

Result<std::string> kubernetes_service_ip(const ApiServerOptions& options) {
  TRY(Cidr range, parse_cidr(options.service_cidr));
  return ipv4_text(range.base + 1);
}

Task<Result<>> bootstrap(datastore::Store& store, const Resources& resources, ApiServerOptions options, uint16_t port, std::string ca_pem) {
  CO_TRY(std::string ip, kubernetes_service_ip(options));
  Batch batch(store, resources);
  add_namespaces(batch);
  add_roles(batch);
  add_services(batch, options, ip, port);
  add_classes(batch);
  add_flow_objects(batch);
  add_config(batch, ca_pem);
  co_return co_await write(store, std::move(batch));
}

Task<Result<>> write_own_endpoints(datastore::Store& store, const Resources& resources, std::string address, uint16_t port) {
  Batch batch(store, resources);
  add_own_endpoints(batch, address, port);
  co_return co_await write(store, std::move(batch));
}

}  // namespace server
