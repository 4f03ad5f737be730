// NodeRestriction: an agent changes its own Node and the pods bound to it, nothing else, and not what others decide about it (taints, owners,
// labels of node-restriction.kubernetes.io and those of kubernetes.io that say what it is for).
#include <fmt/format.h>

#include "base/bytes.h"
#include "server/apiserver/admission/all.h"
#include "server/apiserver/auth/node_access.h"
#include "server/apiserver/pki/certificate.h"
#include "server/apiserver/registry/attributes.h"
#include "server/apiserver/registry/keys.h"

namespace server {
namespace {

using base::json::array;
using base::json::object;
using base::json::value;

bool same(const value* a, const value* b) {
  auto empty = [](const value* v) {
    return !v || v->is_null() || (v->is_array() && v->get_array().empty()) || (v->is_object() && v->get_object().empty());
  };
  if (empty(a) || empty(b)) return empty(a) == empty(b);
  return *a == *b;
}
bool same(const value& a, const value& b, std::string_view path) { return same(base::find(a, path), base::find(b, path)); }

bool below(std::string_view ns, std::string_view domain) {
  return ns == domain || (ns.ends_with(domain) && ns[ns.size() - domain.size() - 1] == '.');
}

// Labels that a node may not give itself: restricted ones, and those of kubernetes.io but for the ones every kubelet sets.
bool restricted_label(std::string_view name) {
  size_t slash = name.find('/');
  if (slash == name.npos) return false;
  std::string_view ns = name.substr(0, slash);
  if (below(ns, "node-restriction.kubernetes.io")) return true;
  if (!below(ns, "kubernetes.io") && !below(ns, "k8s.io")) return false;
  if (below(ns, "kubelet.kubernetes.io") || below(ns, "node.kubernetes.io")) return false;
  for (std::string_view own :
       {"kubernetes.io/hostname", "kubernetes.io/arch", "kubernetes.io/os", "beta.kubernetes.io/arch", "beta.kubernetes.io/os",
        "beta.kubernetes.io/instance-type", "topology.kubernetes.io/region", "topology.kubernetes.io/zone",
        "failure-domain.beta.kubernetes.io/region", "failure-domain.beta.kubernetes.io/zone"})
    if (name == own) return false;
  return true;
}

class NodeRestriction final : public AdmissionPlugin {
 public:
  explicit NodeRestriction(std::string own_node) : own_node_(std::move(own_node)) {}
  std::string_view name() const override { return "NodeRestriction"; }
  bool handles(const Admit& a) const override { return node_of(*a.attempt.call.user).has_value(); }

  base::Task<Result<>> validate(Admit a) override {
    const std::string node = *node_of(*a.attempt.call.user);
    if (is_resource(a, "", "nodes")) co_return check_node(a, node);
    if (is_resource(a, "", "pods")) co_return a.operation == Operation::create ? check_mirror(a, node) : check_pod(a, node);
    if (is_resource(a, "", "persistentvolumes")) co_return check_volume(a, node);
    if (is_resource(a, "certificates.k8s.io", "certificatesigningrequests")) co_return check_request(a, node);
    if (is_resource(a, "coordination.k8s.io", "leases")) {
      if (a.attempt.ns != "kube-node-lease") co_return refuse(a, "can only access leases in the \"kube-node-lease\" system namespace");
      if (a.attempt.name != node) co_return refuse(a, "can only access node lease with the same name as the requesting node");
    }
    if (is_resource(a, "storage.k8s.io", "csinodes") && a.attempt.name != node)
      co_return refuse(a, "can only access CSINode with the same name as the requesting node");
    co_return Result<>{};
  }

 private:
  static base::Failure refuse(const Admit& a, std::string_view why) {
    return base::forbidden(a.attempt.resource.qualified, a.attempt.name, why);
  }

  Result<> check_node(const Admit& a, const std::string& node) const {
    if (a.attempt.name != node) return refuse(a, fmt::format("node \"{}\" is not allowed to modify node \"{}\"", node, a.attempt.name));
    if (a.operation == Operation::remove) return refuse(a, fmt::format("node \"{}\" is not allowed to delete itself", node));
    static const value none = object{};
    const value& before = a.before ? *a.before : none;
    if (!same(*a.object, before, "metadata.ownerReferences"))
      return refuse(a, fmt::format("node \"{}\" is not allowed to modify ownerReferences", node));
    if (a.before && !same(*a.object, before, "spec.taints"))
      return refuse(a, fmt::format("node \"{}\" is not allowed to modify taints", node));
    const object *now = base::find_object(*a.object, "metadata.labels"), *was = base::find_object(before, "metadata.labels");
    std::vector<std::string> wrong;
    for (const object* labels : {now, was}) {
      if (!labels) continue;
      for (const auto& [name, v] : *labels) {
        const value *x = now ? now->if_contains(name) : nullptr, *y = was ? was->if_contains(name) : nullptr;
        bool role = std::string_view(name).starts_with("node-role.kubernetes.io/") && node == own_node_;
        if (restricted_label(name) && !role && (!x || !y || *x != *y)) wrong.emplace_back(name);
      }
    }
    if (wrong.empty()) return {};
    std::sort(wrong.begin(), wrong.end());
    wrong.erase(std::unique(wrong.begin(), wrong.end()), wrong.end());
    return refuse(a, fmt::format("is not allowed to {} the following labels: {}", a.before ? "modify" : "set", fmt::join(wrong, ", ")));
  }

  // A node makes no pods but the images of those it was given as files, and these reach nothing in the API.
  static Result<> check_mirror(const Admit& a, const std::string& node) {
    const value& pod = *a.object;
    const object* annotations = base::find_object(pod, "metadata.annotations");
    auto no = [&](std::string_view what) { return refuse(a, fmt::format("node \"{}\" {}", node, what)); };
    if (!annotations || !annotations->contains("kubernetes.io/config.mirror"))
      return refuse(
          a, fmt::format("pod does not have \"kubernetes.io/config.mirror\" annotation, node \"{}\" can only create mirror pods", node));
    if (base::get_string(pod, "spec.nodeName") != node) return no("can only create pods with spec.nodeName set to itself");
    if (const array* owners = base::find_array(pod, "metadata.ownerReferences"); owners && !owners->empty()) {
      const value& o = owners->front();
      if (owners->size() > 1) return no("can only create pods with a single owner reference set to itself");
      if (base::get_string(o, "apiVersion") != "v1" || base::get_string(o, "kind") != "Node" || base::get_string(o, "name") != node)
        return no("can only create pods with an owner reference set to itself");
      if (!base::get_bool(o, "controller")) return no("can only create pods with a controller owner reference set to itself");
      if (base::get_bool(o, "blockOwnerDeletion")) return no("must not set blockOwnerDeletion on an owner reference");
      datastore::RecordPtr record = a.attempt.store.get(object_key("", "nodes", {}, node));
      if (!record) return refuse(a, fmt::format("could not verify node \"{}\"", node));
      if (const std::string& uid = attributes_of(*record).uid; base::get_string(o, "uid") != uid)
        return refuse(a, fmt::format("node {} UID mismatch: expected {} got {}", node, base::get_string(o, "uid"), uid));
    }
    if (!base::get_string(pod, "spec.serviceAccountName").empty()) return no("can not create pods that reference a service account");
    if (const array* claims = base::find_array(pod, "spec.resourceClaims"); claims && !claims->empty())
      return no("can not create pods that reference resourceclaims");
    struct Source {
      const char *member, *what;
    };
    static constexpr Source sources[] = {{"secret", "secrets"},
                                         {"configMap", "configmaps"},
                                         {"persistentVolumeClaim", "persistentvolumeclaims"},
                                         {"ephemeral", "persistentvolumeclaims"},
                                         {"serviceAccountToken", "a service account"}};
    auto check = [&](const value& v) -> Result<> {
      for (const Source& s : sources)
        if (base::find(v, s.member)) return no(fmt::format("can not create pods that reference {}", s.what));
      return {};
    };
    if (const array* volumes = base::find_array(pod, "spec.volumes"))
      for (const value& v : *volumes) {
        CHECK_OK(check(v));
        if (const array* projected = base::find_array(v, "projected.sources"))
          for (const value& s : *projected) CHECK_OK(check(s));
      }
    for (const char* list : {"spec.initContainers", "spec.containers"})
      if (const array* containers = base::find_array(pod, list))
        for (const value& c : *containers) {
          const array *env = base::find_array(c, "env"), *from = base::find_array(c, "envFrom");
          if (env)
            for (const value& e : *env) {
              if (base::find(e, "valueFrom.secretKeyRef")) return no("can not create pods that reference secrets");
              if (base::find(e, "valueFrom.configMapKeyRef")) return no("can not create pods that reference configmaps");
            }
          if (from)
            for (const value& e : *from) {
              if (base::find(e, "secretRef")) return no("can not create pods that reference secrets");
              if (base::find(e, "configMapRef")) return no("can not create pods that reference configmaps");
            }
        }
    if (const array* pulls = base::find_array(pod, "spec.imagePullSecrets"); pulls && !pulls->empty())
      return no("can not create pods that reference secrets");
    return {};
  }

  static Result<> check_pod(const Admit& a, const std::string& node) {
    const bool remove = a.operation == Operation::remove;
    if (base::get_string(*a.before, "spec.nodeName") != node)
      return refuse(a, fmt::format("node \"{}\" can only {} pods with spec.nodeName set to itself", node,
                                   remove ? "delete" : "update pod status for"));
    if (remove) return {};
    if (a.attempt.subresource != "status") return refuse(a, fmt::format("node \"{}\" can only update the status of pods", node));
    if (!same(*a.object, *a.before, "metadata.labels"))
      return refuse(a, fmt::format("node \"{}\" cannot update labels through pod status", node));
    if (!same(*a.object, *a.before, "status.resourceClaimStatuses"))
      return refuse(a, fmt::format("node \"{}\" cannot update resource claim statuses", node));
    return {};
  }

  // Of a volume that is a directory of the node: the finalizer that says it is there goes.
  static Result<> check_volume(const Admit& a, const std::string& node) {
    constexpr std::string_view finalizer = "appliance.dev/local-path";
    if (a.operation != Operation::update || !a.attempt.subresource.empty() ||
        base::get_string(*a.before, "metadata.deletionTimestamp").empty())
      return refuse(a, fmt::format("node \"{}\" can only release volumes that are being deleted", node));
    value now = *a.object, was = *a.before;
    set_finalizer(metadata_of(was.as_object()), finalizer, false);
    for (value* v : {&now, &was}) {
      object& meta = metadata_of(v->as_object());
      for (std::string_view name : {"managedFields", "resourceVersion", "generation"}) meta.erase(name);
      if (!has_finalizers(meta)) meta.erase("finalizers");
    }
    if (!(now == was)) return refuse(a, fmt::format("node \"{}\" can only remove the finalizer {}", node, finalizer));
    return {};
  }

  // Certificates it serves with carry its own name.
  static Result<> check_request(const Admit& a, const std::string& node) {
    if (a.operation != Operation::create || !base::get_string(*a.object, "spec.signerName").starts_with("kubernetes.io/kubelet-serving"))
      return {};
    auto pem = base::base64_decode(base::get_string(*a.object, "spec.request"));
    auto facts = pem ? pki::read_request(*pem) : base::Result<pki::RequestFacts>(base::bad_request(""));
    if (!facts) return refuse(a, "unable to parse csr");
    if (facts->subject.common_name != "system:node:" + node)
      return refuse(a, fmt::format("can only create a node CSR with CN=system:node:{}", node));
    return {};
  }

  const std::string own_node_;
};

}  // namespace

Plugin make_node_restriction_admission(std::string own_node) { return std::make_unique<NodeRestriction>(std::move(own_node)); }

}  // namespace server
