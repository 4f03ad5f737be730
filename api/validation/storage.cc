// Volumes and claims of the cluster, classes and drivers of storage.
#include <algorithm>
#include <set>

#include "api/quantity.h"
#include "api/validate_names.h"
#include "api/validation/rules.h"

namespace api::validation {
namespace {

void check_access_modes(Checker& c, const object& spec, const std::string& path, std::string_view why) {
  const array& modes = list(spec, "accessModes");
  if (modes.empty()) c.required(path + ".accessModes", why);
  bool alone = std::any_of(modes.begin(), modes.end(), [](const value& m) { return as_text(m) == "ReadWriteOncePod"; });
  if (alone && modes.size() > 1) c.forbidden(path + ".accessModes", "may not use ReadWriteOncePod with other access modes");
}

void check_data_source(Checker& c, const object& source, const std::string& path, bool with_namespace) {
  std::string_view group = text(source, "apiGroup"), kind = text(source, "kind");
  if (group.empty() && !kind.empty() && kind != "PersistentVolumeClaim") {
    c.invalid_text(path, kind, "must be 'PersistentVolumeClaim' when referencing the default apiGroup");
  }
  if (!group.empty()) c.check_text(path + ".apiGroup", group, check_dns1123_subdomain(group));
  if (with_namespace && !text(source, "namespace").empty())
    c.check_text(path + ".namespace", text(source, "namespace"), check_dns1123_label(text(source, "namespace")));
}

void claim(Checker& c, const object* before, const object& o) {
  const object& spec = map(o, "spec");
  check_claim_spec(c, spec, "spec", false);
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
  std::string_view old_size = text(map(map(then, "resources"), "requests"), "storage"),
                   size = text(map(map(spec, "resources"), "requests"), "storage");
  if (old_size != size && bound) {
    if (Quantity::of(size) < Quantity::of(old_size) &&
        Quantity::of(size) <= Quantity::of(text(map(map(*before, "status"), "capacity"), "storage"))) {
      c.forbidden("spec.resources.requests.storage", "field can not be less than status.capacity");
    }
    free("resources");
  }
  if (bound) free("volumeAttributesClassName");
  if (then != now) {
    c.forbidden("spec", "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims");
  }
}

constexpr std::string_view sources[] = {
    "gcePersistentDisk", "awsElasticBlockStore", "hostPath", "glusterfs", "nfs", "rbd", "iscsi", "cinder", "cephfs", "fc", "flocker", "flexVolume",
    "azureFile", "vsphereVolume", "quobyte", "azureDisk", "photonPersistentDisk", "portworxVolume", "scaleIO", "local", "storageos", "csi"};

void volume(Checker& c, const object* before, const object& o) {
  const object& spec = map(o, "spec");
  check_volume_spec(c, spec, "spec", false);
  if (!before) return;
  const object& old = map(*before, "spec");
  bool differs = std::any_of(std::begin(sources), std::end(sources), [&](std::string_view s) { return !same(old, spec, s); });
  if (differs) c.forbidden("spec.persistentvolumesource", "spec.persistentvolumesource is immutable after creation");
  if (has(old, "nodeAffinity") && !same(old, spec, "nodeAffinity")) {
    c.invalid("spec.nodeAffinity", has(spec, "nodeAffinity") ? *spec.if_contains("nodeAffinity") : value(),
              "field is immutable, except for updating from beta label to GA");
  }
  bool bound = text(map(*before, "status"), "phase") == "Bound";
  if (!bound && !same(old, spec, "volumeAttributesClassName")) {
    c.forbidden("spec.volumeAttributesClassName", "update is forbidden when the PersistentVolume is not bound");
  }
}

void storage_class(Checker& c, const object* before, const object& o) {
  size_t total = 0;
  for (const auto& [key, v] : map(o, "parameters")) {
    if (key.empty()) c.invalid("parameters", "", "field can not be empty.");
    total += key.size() + as_text(v).size();
  }
  if (map(o, "parameters").size() > 512) c.too_many("parameters", map(o, "parameters").size(), 512);
  if (total > 256 * 1024) c.too_long("parameters", 256 * 1024);
  if (std::string_view policy = text(o, "reclaimPolicy"); policy == "Recycle") c.unsupported("reclaimPolicy", policy, {"Delete", "Retain"});
  if (!before) return;
  for (std::string_view n : {"parameters", "provisioner", "reclaimPolicy"}) {
    if (!same(*before, o, n)) c.forbidden(std::string(n), fmt::format("updates to {} are forbidden.", n));
  }
  c.immutable(*before, o, "volumeBindingMode", "volumeBindingMode");
}

void attributes_class(Checker& c, const object* before, const object& o) {
  if (map(o, "parameters").empty()) c.required("parameters", "must contain at least one key/value pair");
  if (map(o, "parameters").size() > 512) c.too_long("parameters", 512);
  if (!before) return;
  for (std::string_view n : {"driverName", "parameters"}) {
    if (!same(*before, o, n)) c.forbidden(std::string(n), fmt::format("updates to {} are forbidden.", n));
  }
}

void csi_driver(Checker& c, const object* before, const object& o) {
  const object& spec = map(o, "spec");
  std::string_view name = text(map(o, "metadata"), "name");
  if (name.size() > 63) c.too_long("metadata.name", 63);
  const array& tokens = list(spec, "tokenRequests");
  std::set<std::string_view> audiences;
  for (size_t i = 0; i < tokens.size(); ++i) {
    const object& t = as_object(tokens[i]);
    std::string at = fmt::format("spec.tokenRequests[{}]", i);
    if (!audiences.insert(text(t, "audience")).second) c.duplicate(at + ".audience", text(t, "audience"));
    const value* seconds = t.if_contains("expirationSeconds");
    if (!seconds || !seconds->is_int64()) continue;
    if (seconds->get_int64() < 600) c.invalid(at + ".expirationSeconds", *seconds, "may not specify a duration less than 10 minutes");
    if (seconds->get_int64() > int64_t{1} << 32)
      c.invalid(at + ".expirationSeconds", *seconds, "may not specify a duration larger than 2^32 seconds");
  }
  if (const value* n = spec.if_contains("nodeAllocatableUpdatePeriodSeconds"); n && n->is_int64() && n->get_int64() < 10) {
    c.invalid("spec.nodeAllocatableUpdatePeriodSeconds", *n, "must be greater than or equal to 10 seconds");
  }
  if (!before) return;
  const object& old = map(*before, "spec");
  c.immutable(old, spec, "attachRequired", "spec.attachRequired");
  c.immutable(old, spec, "volumeLifecycleModes", "spec.volumeLifecycleModes");
}

void csi_node(Checker& c, const object* before, const object& o) {
  const array& drivers = list(map(o, "spec"), "drivers");
  for (size_t i = 0; i < drivers.size(); ++i) {
    const object& d = as_object(drivers[i]);
    std::string at = fmt::format("spec.drivers[{}]", i);
    const array& keys = list(d, "topologyKeys");
    std::set<std::string_view> seen;
    for (const value& k : keys) {
      if (!seen.insert(as_text(k)).second) c.duplicate(at + ".topologyKeys", as_text(k));
      if (as_text(k).empty()) c.required(at + ".topologyKeys");
      else c.check_text(at + ".topologyKeys", as_text(k), check_qualified_name(as_text(k)));
    }
    if (!before) continue;
    for (const value& was : list(map(*before, "spec"), "drivers")) {
      if (text(as_object(was), "name") != text(d, "name")) continue;
      object then = as_object(was), now = d;
      then.erase("allocatable");
      now.erase("allocatable");
      if (then != now) c.invalid(at, drivers[i], "field is immutable");
    }
  }
}

void volume_attachment(Checker& c, const object* before, const object& o) {
  const object& source = map(map(o, "spec"), "source");
  bool name = has(source, "persistentVolumeName"), spec = has(source, "inlineVolumeSpec");
  if (!name && !spec) c.required("spec.source", "must specify exactly one of inlineVolumeSpec and persistentVolumeName");
  if (name && spec) c.forbidden("spec.source", "must specify exactly one of inlineVolumeSpec and persistentVolumeName");
  if (name && text(source, "persistentVolumeName").empty())
    c.required("spec.source.persistentVolumeName", "must specify non empty persistentVolumeName");
  if (before && map(*before, "spec") != map(o, "spec")) c.invalid("spec", value(map(o, "spec")), "field is immutable");
}

void storage_capacity(Checker& c, const object*, const object& o) {
  for (std::string_view n : {"capacity", "maximumVolumeSize"}) {
    std::string_view s = text(o, n);
    if (!s.empty() && Quantity::of(s).sign() < 0) c.invalid_text(std::string(n), s, "must be greater than or equal to 0");
  }
}

constexpr KindRule kind_rules[] = {
    {"", "PersistentVolumeClaim", claim},
    {"", "PersistentVolume", volume},
    {"storage.k8s.io", "StorageClass", storage_class},
    {"storage.k8s.io", "VolumeAttributesClass", attributes_class},
    {"storage.k8s.io", "CSIDriver", csi_driver},
    {"storage.k8s.io", "CSINode", csi_node},
    {"storage.k8s.io", "VolumeAttachment", volume_attachment},
    {"storage.k8s.io", "CSIStorageCapacity", storage_capacity},
};

}  // namespace

std::span<const KindRule> storage_rules() { return kind_rules; }

void check_claim_spec(Checker& c, const object& spec, const std::string& path, bool) {
  check_access_modes(c, spec, path, "at least 1 access mode is required");
  const object& requests = map(map(spec, "resources"), "requests");
  std::string_view size = text(requests, "storage");
  if (size.empty()) c.required(path + ".resources[storage]");
  else if (auto q = Quantity::parse(size); q && q->sign() <= 0)
    c.invalid_text(path + ".resources[storage]", size, "must be greater than zero");
  if (std::string_view limit = text(map(map(spec, "resources"), "limits"), "storage");
      !limit.empty() && !size.empty() && Quantity::of(limit) < Quantity::of(size)) {
    c.invalid_text(path + ".resources.requests", size, fmt::format("must be less than or equal to storage limit of {}", limit));
  }
  if (has(spec, "dataSource")) check_data_source(c, map(spec, "dataSource"), path + ".dataSource", false);
  if (has(spec, "dataSourceRef")) check_data_source(c, map(spec, "dataSourceRef"), path + ".dataSourceRef", true);
  if (has(spec, "dataSource") && has(spec, "dataSourceRef")) {
    const object &a = map(spec, "dataSource"), &b = map(spec, "dataSourceRef");
    bool equal = text(a, "kind") == text(b, "kind") && text(a, "name") == text(b, "name") && text(a, "apiGroup") == text(b, "apiGroup");
    if (!equal) c.invalid(path, value(spec), "must match dataSourceRef");
  }
}

void check_volume_spec(Checker& c, const object& spec, const std::string& path, bool inline_spec) {
  check_access_modes(c, spec, path, {});
  if (!inline_spec) {
    const object& capacity = map(spec, "capacity");
    if (capacity.empty()) c.required(path + ".capacity");
    else if (!capacity.contains("storage") || capacity.size() > 1)
      c.unsupported(path + ".capacity", base::to_text(value(capacity)), {"storage"});
    for (const auto& [name, amount] : capacity) {
      auto q = Quantity::parse(as_text(amount));
      if (q && q->sign() <= 0) c.invalid(fmt::format("{}.capacity[{}]", path, std::string_view(name)), amount, "must be greater than zero");
    }
  }
  int count = 0;
  for (std::string_view s : sources) {
    if (has(spec, s) && ++count > 1) c.forbidden(fmt::format("{}.{}", path, s), "may not specify more than 1 volume type");
  }
  if (count == 0) c.required(path, "must specify a volume type");
  if (has(spec, "local")) {
    if (!has(spec, "nodeAffinity")) c.required(path + ".nodeAffinity", "Local volume requires node affinity");
    check_relative_path(
        c, path + ".local.path",
        std::string_view(text(map(spec, "local"), "path")).substr(text(map(spec, "local"), "path").starts_with('/') ? 1 : 0));
  }
  if (has(spec, "nodeAffinity") && !has(map(spec, "nodeAffinity"), "required"))
    c.required(path + ".nodeAffinity.required", "must specify required node constraints");
  if (text(map(spec, "hostPath"), "path") == "/" && text(spec, "persistentVolumeReclaimPolicy") == "Recycle") {
    c.forbidden(path + ".persistentVolumeReclaimPolicy", "may not be 'recycle' for a hostPath mount of '/'");
  }
}

}  // namespace api::validation
