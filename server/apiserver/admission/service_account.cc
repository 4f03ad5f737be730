// ServiceAccount: every pod has one that exists; its pull secrets and, unless declined, a volume with a token, the cluster's CA and the namespace are added.
#include <fmt/format.h>

#include "base/bytes.h"
#include "server/apiserver/admission/all.h"
#include "server/apiserver/registry/keys.h"

namespace server {
namespace {

using base::json::array;
using base::json::object;
using base::json::value;

constexpr std::string_view mount_path = "/var/run/secrets/kubernetes.io/serviceaccount";

object token_volume(const std::string& name) {
  return {{"name", name},
          {"projected",
           object{{"defaultMode", 420},
                  {"sources", array{object{{"serviceAccountToken", object{{"expirationSeconds", 3607}, {"path", "token"}}}},
                                    object{{"configMap", object{{"name", "kube-root-ca.crt"}, {"items", array{object{{"key", "ca.crt"}, {"path", "ca.crt"}}}}}}},
                                    object{{"downwardAPI", object{{"items", array{object{{"path", "namespace"},
                                                                                         {"fieldRef", object{{"apiVersion", "v1"}, {"fieldPath", "metadata.namespace"}}}}}}}}}}}}}};
}

bool mounts_token(const value& container) {
  if (const array* mounts = base::find_array(container, "volumeMounts"))
    for (const value& m : *mounts)
      if (base::get_string(m, "mountPath") == mount_path) return true;
  return false;
}

class ServiceAccountAdmission final : public AdmissionPlugin {
 public:
  std::string_view name() const override { return "ServiceAccount"; }
  bool handles(const Admit& a) const override { return a.operation == Operation::create && is_resource(a, "", "pods"); }

  base::Task<Result<>> mutate(Admit a) override {
    value& pod = *a.object;
    const object* annotations = base::find_object(pod, "metadata.annotations");
    if (annotations && annotations->contains("kubernetes.io/config.mirror")) co_return Result<>{};
    object& spec = base::make_object(pod, "spec");
    if (text_of(spec, "serviceAccountName").empty()) {
      std::string_view old = text_of(spec, "serviceAccount");
      spec["serviceAccountName"] = old.empty() ? std::string("default") : std::string(old);
    }
    std::string name(text_of(spec, "serviceAccountName"));
    spec["serviceAccount"] = name;
    datastore::RecordPtr record = a.attempt.store.get(object_key("", "serviceaccounts", a.attempt.ns, name));
    if (!record)
      co_return base::forbidden("pods", a.attempt.name,
                                fmt::format("error looking up service account {}/{}: serviceaccount \"{}\" not found", a.attempt.ns, name, name));
    CO_TRY(value account, base::parse_json(*record->value, 256));
    const value* pulls = spec.if_contains("imagePullSecrets");
    if (!pulls || !pulls->is_array() || pulls->get_array().empty())
      if (const array* theirs = base::find_array(account, "imagePullSecrets"); theirs && !theirs->empty()) spec["imagePullSecrets"] = *theirs;
    bool mount = base::get_bool(account, "automountServiceAccountToken", true);
    if (const value* own = spec.if_contains("automountServiceAccountToken"); own && own->is_bool()) mount = own->get_bool();
    if (mount) add_token(spec);
    co_return Result<>{};
  }

 private:
  static void add_token(object& spec) {
    bool needed = false;
    std::string volume = "kube-api-access-" + base::random_suffix(5);
    for (std::string_view list : {"initContainers", "containers"}) {
      value* containers = spec.if_contains(list);
      if (!containers || !containers->is_array()) continue;
      for (value& c : containers->get_array()) {
        if (!c.is_object() || mounts_token(c)) continue;
        value& mounts = c.get_object()["volumeMounts"];
        if (!mounts.is_array()) mounts.emplace_array();
        mounts.get_array().push_back(object{{"name", volume}, {"readOnly", true}, {"mountPath", mount_path}});
        needed = true;
      }
    }
    if (!needed) return;
    value& volumes = spec["volumes"];
    if (!volumes.is_array()) volumes.emplace_array();
    volumes.get_array().push_back(token_volume(volume));
  }
};

}  // namespace

std::unique_ptr<AdmissionPlugin> make_service_account_admission() { return std::make_unique<ServiceAccountAdmission>(); }

}  // namespace server
