// ConfigMaps, Secrets, volumes and claims, limits and quotas.
#include "api/quantity.h"
#include "api/validate_names.h"
#include "api/validation/checker.h"

namespace api::validation {
namespace {

constexpr size_t kMaxData = 1024 * 1024;

size_t decoded_size(std::string_view base64) {
  size_t padding = base64.ends_with("==") ? 2 : base64.ends_with("=") ? 1 : 0;
  return base64.size() / 4 * 3 - padding;
}

void frozen(Checker& c, const object& before, const object& o, std::initializer_list<std::string_view> members) {
  if (!flag(before, "immutable")) return;
  if (!flag(o, "immutable")) c.forbidden("immutable", "field is immutable when `immutable` is set");
  for (std::string_view m : members) {
    if (map(before, m) != map(o, m)) c.forbidden(std::string(m), "field is immutable when `immutable` is set");
  }
}

void config_map(Checker& c, const object* before, const object& o) {
  size_t total = 0;
  for (const auto& [key, v] : map(o, "data")) {
    c.check_text(fmt::format("data[{}]", std::string_view(key)), key, check_config_key(key));
    if (map(o, "binaryData").contains(key)) {
      c.invalid_text(fmt::format("data[{}]", std::string_view(key)), key, "duplicate of key present in binaryData");
    }
    total += as_text(v).size();
  }
  for (const auto& [key, v] : map(o, "binaryData")) {
    c.check_text(fmt::format("binaryData[{}]", std::string_view(key)), key, check_config_key(key));
    total += decoded_size(as_text(v));
  }
  if (total > kMaxData) c.too_long("", kMaxData);
  if (before) frozen(c, *before, o, {"data", "binaryData"});
}

void secret(Checker& c, const object* before, const object& o) {
  size_t total = 0;
  for (const auto& [key, v] : map(o, "data")) {
    c.check_text(fmt::format("data[{}]", std::string_view(key)), key, check_config_key(key));
    total += decoded_size(as_text(v));
  }
  if (total > kMaxData) c.too_long("data", kMaxData);
  std::string_view type = text(o, "type");
  if (type == "kubernetes.io/service-account-token" &&
      text(map(map(o, "metadata"), "annotations"), "kubernetes.io/service-account.name").empty()) {
    c.required("metadata.annotations[kubernetes.io/service-account.name]");
  }
  if (!before) return;
  c.immutable(*before, o, "type", "type");
  frozen(c, *before, o, {"data"});
}

void claim(Checker& c, const object* before, const object& o) {
  const object& spec = map(o, "spec");
  if (list(spec, "accessModes").empty()) c.required("spec.accessModes", "at least 1 access mode is required");
  std::string_view size = text(map(map(spec, "resources"), "requests"), "storage");
  if (size.empty()) c.required("spec.resources[storage]");
  else if (auto q = Quantity::parse(size); q && q->sign() <= 0) c.invalid_text("spec.resources[storage]", size, "must be greater than zero");
  if (std::string_view name = text(spec, "storageClassName"); !name.empty()) c.check_text("spec.storageClassName", name, check_dns1123_subdomain(name));
  if (!before) return;
  object then = map(*before, "spec"), now = spec;
  bool bound = text(map(*before, "status"), "phase") == "Bound";
  auto free = [&](std::string_view member) {
    then.erase(member);
    now.erase(member);
  };
  // A binder fills in the volume; a default class may be given to a claim that had none.
  if (text(then, "volumeName").empty()) free("volumeName");
  if (!has(then, "storageClassName")) free("storageClassName");
  free("volumeAttributesClassName");
  std::string_view old_size = text(map(map(then, "resources"), "requests"), "storage");
  bool resized = old_size != size;
  if (resized && bound) {
    if (Quantity::of(size) < Quantity::of(old_size) && Quantity::of(size) < Quantity::of(text(map(map(*before, "status"), "capacity"), "storage"))) {
      c.forbidden("spec.resources.requests.storage", "field can not be less than status.capacity");
    }
    free("resources");
  }
  if (then != now) {
    c.forbidden("spec", "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims");
  }
}

void volume(Checker& c, const object* before, const object& o) {
  const object& spec = map(o, "spec");
  if (list(spec, "accessModes").empty()) c.required("spec.accessModes");
  if (text(map(spec, "capacity"), "storage").empty()) c.required("spec.capacity");
  static constexpr std::string_view sources[] = {
      "gcePersistentDisk", "awsElasticBlockStore", "hostPath", "glusterfs", "nfs", "rbd", "iscsi", "cinder", "cephfs", "fc", "flocker", "flexVolume",
      "azureFile", "vsphereVolume", "quobyte", "azureDisk", "photonPersistentDisk", "portworxVolume", "scaleIO", "local", "storageos", "csi"};
  int count = 0;
  for (std::string_view s : sources) {
    if (!has(spec, s)) continue;
    if (++count > 1) c.forbidden(fmt::format("spec.{}", s), "may not specify more than 1 volume type");
    if (before && map(*before, "spec").contains(s) && *map(*before, "spec").if_contains(s) != *spec.if_contains(s)) {
      c.forbidden("spec.persistentvolumesource", "spec.persistentvolumesource is immutable after creation");
    }
  }
  if (count == 0) c.required("spec", "must specify a volume type");
  if (has(spec, "local") && !has(spec, "nodeAffinity")) c.required("spec.nodeAffinity", "Local volume requires node affinity");
  if (before) c.immutable(map(*before, "spec"), spec, "volumeMode", "spec.volumeMode");
}

void limit_range(Checker& c, const object& o) {
  const array& limits = list(map(o, "spec"), "limits");
  for (size_t i = 0; i < limits.size(); ++i) {
    const object& item = as_object(limits[i]);
    std::string at = fmt::format("spec.limits[{}]", i);
    for (const auto& [name, amount] : map(item, "min")) {
      const value* most = map(item, "max").if_contains(name);
      if (most && Quantity::of(as_text(amount)) > Quantity::of(as_text(*most))) {
        c.invalid(fmt::format("{}.min[{}]", at, std::string_view(name)), amount, fmt::format("min value {} is greater than max value {}", as_text(amount), as_text(*most)));
      }
    }
    if (text(item, "type") == "Pod") {
      if (has(item, "default")) c.forbidden(at + ".default", "may not be specified when `type` is 'Pod'");
      if (has(item, "defaultRequest")) c.forbidden(at + ".defaultRequest", "may not be specified when `type` is 'Pod'");
    }
  }
}

void resource_quota(Checker& c, const object* before, const object& o) {
  const object& spec = map(o, "spec");
  for (const auto& [name, amount] : map(spec, "hard")) {
    std::string at = fmt::format("spec.hard[{}]", std::string_view(name));
    auto q = Quantity::parse(as_text(amount));
    if (q && q->sign() < 0) c.invalid(at, amount, "must be greater than or equal to 0");
  }
  if (before) c.immutable(map(*before, "spec"), spec, "scopes", "spec.scopes");
}

}  // namespace

bool check_data(Checker& c, const Kind& kind, const object* before, const object& o) {
  if (!kind.group.empty()) return false;
  std::string_view k = kind.kind;
  if (k == "ConfigMap") config_map(c, before, o);
  else if (k == "Secret") secret(c, before, o);
  else if (k == "PersistentVolumeClaim") claim(c, before, o);
  else if (k == "PersistentVolume") volume(c, before, o);
  else if (k == "LimitRange") limit_range(c, o);
  else if (k == "ResourceQuota") resource_quota(c, before, o);
  else return false;
  return true;
}

}  // namespace api::validation
