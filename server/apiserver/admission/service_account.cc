// ServiceAccount: every pod has one that exists; its pull secrets and, unless declined, a volume with a token, the cluster's CA and the namespace are added.
// An account with enforce-mountable-secrets limits the secrets of its pods.
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
  return {
      {"name", name},
      {"projected",
       object{{"defaultMode", 420},
              {"sources", array{object{{"serviceAccountToken", object{{"expirationSeconds", 3607}, {"path", "token"}}}},
                                object{{"configMap", object{{"name", "kube-root-ca.crt"},
                                                            {"items", array{object{{"key", "ca.crt"}, {"path", "ca.crt"}}}}}}},
                                object{{"downwardAPI",
                                        object{{"items", array{object{{"path", "namespace"},
                                                                      {"fieldRef", object{{"apiVersion", "v1"},
                                                                                          {"fieldPath", "metadata.namespace"}}}}}}}}}}}}}};
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
    if (annotations && annotations->contains("kubernetes.io/config.mirror")) co_return check_mirror(a);
    object& spec = base::make_object(pod, "spec");
    if (text_of(spec, "serviceAccountName").empty()) {
      std::string_view old = text_of(spec, "serviceAccount");
      spec["serviceAccountName"] = old.empty() ? std::string("default") : std::string(old);
    }
    std::string name(text_of(spec, "serviceAccountName"));
    spec["serviceAccount"] = name;
    datastore::RecordPtr record = a.attempt.store.get(object_key("", "serviceaccounts", a.attempt.ns, name));
    if (!record)
      co_return base::forbidden(
          "pods", a.attempt.name,
          fmt::format("error looking up service account {}/{}: serviceaccount \"{}\" not found", a.attempt.ns, name, name));
    CO_TRY(value account, base::parse_json(*record->value, 256));
    const value* pulls = spec.if_contains("imagePullSecrets");
    if (!pulls || !pulls->is_array() || pulls->get_array().empty())
      if (const array* theirs = base::find_array(account, "imagePullSecrets"); theirs && !theirs->empty())
        spec["imagePullSecrets"] = *theirs;
    CO_CHECK_OK(check_secrets(a, account));
    bool mount = base::get_bool(account, "automountServiceAccountToken", true);
    if (const value* own = spec.if_contains("automountServiceAccountToken"); own && own->is_bool()) mount = own->get_bool();
    if (mount) add_token(spec);
    co_return Result<>{};
  }

 private:
  // What an agent reports of its own brings no rights with it.
  static Result<> check_mirror(const Admit& a) {
    auto refuse = [&](std::string_view why) { return base::forbidden("pods", a.attempt.name, why); };
    if (!base::get_string(*a.object, "spec.serviceAccountName").empty()) return refuse("a mirror pod may not reference service accounts");
    if (const array* volumes = base::find_array(*a.object, "spec.volumes"))
      for (const value& v : *volumes) {
        if (base::find(v, "secret")) return refuse("a mirror pod may not reference secrets");
        if (const array* sources = base::find_array(v, "projected.sources"))
          for (const value& s : *sources)
            if (base::find(s, "serviceAccountToken")) return refuse("a mirror pod may not use ServiceAccountToken volume projections");
      }
    return {};
  }

  // An account may say that its pods use no secrets but those it names.
  static Result<> check_secrets(const Admit& a, const value& account) {
    const object* annotations = base::find_object(account, "metadata.annotations");
    if (!annotations || text_of(*annotations, "kubernetes.io/enforce-mountable-secrets") != "true") return {};
    const std::string who(base::get_string(account, "metadata.name"));
    auto refuse = [&](std::string why) { return base::forbidden("pods", a.attempt.name, why); };
    auto lists = [&](const char* list, std::string_view secret) {
      const array* names = base::find_array(account, list);
      return names && std::any_of(names->begin(), names->end(), [&](const value& s) { return base::get_string(s, "name") == secret; });
    };
    auto each = [](const value& from, std::string_view path, auto f) -> Result<> {
      if (const array* list = base::find_array(from, path))
        for (const value& v : *list) CHECK_OK(f(v));
      return {};
    };
    CHECK_OK(each(*a.object, "spec.volumes", [&](const value& v) -> Result<> {
      std::string_view name = base::get_string(v, "secret.secretName");
      if (name.empty() || lists("secrets", name)) return {};
      return refuse(fmt::format(
          "volume with secret.secretName=\"{}\" is not allowed because service account {} does not reference that secret", name, who));
    }));
    for (const char* list : {"spec.initContainers", "spec.containers"}) {
      const std::string kind = std::string_view(list) == "spec.containers" ? "container" : "init container";
      CHECK_OK(each(*a.object, list, [&](const value& c) -> Result<> {
        return each(c, "env", [&](const value& e) -> Result<> {
          std::string_view name = base::get_string(e, "valueFrom.secretKeyRef.name");
          if (name.empty() || lists("secrets", name)) return {};
          return refuse(
              fmt::format("{} {} with envVar {} referencing secret.secretName=\"{}\" is not allowed because service account {} does not "
                          "reference that secret",
                          kind, base::get_string(c, "name"), base::get_string(e, "name"), name, who));
        });
      }));
    }
    size_t i = 0;
    return each(*a.object, "spec.imagePullSecrets", [&](const value& s) -> Result<> {
      std::string_view name = base::get_string(s, "name");
      size_t at = i++;
      if (lists("imagePullSecrets", name)) return {};
      return refuse(
          fmt::format("imagePullSecrets[{}].name=\"{}\" is not allowed because service account {} does not reference that imagePullSecret",
                      at, name, who));
    });
  }

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

Plugin make_service_account_admission() { return std::make_unique<ServiceAccountAdmission>(); }

}  // namespace server
