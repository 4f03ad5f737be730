// Volumes of pods and the sources that they share with PersistentVolumes.
#include <algorithm>
#include <set>

#include "api/quantity.h"
#include "api/validate_names.h"
#include "api/validation/containers.h"
#include "api/validation/rules.h"

namespace api::validation {
namespace {

// A path below some directory that leads neither out of it nor into the names the node keeps for itself.
void check_volume_path(Checker& c, const std::string& path, std::string_view p) {
  if (p.empty()) return;
  check_relative_path(c, path, p);
  if (p.starts_with("..") && !p.starts_with("../") && p != "..") c.invalid_text(path, p, "must not start with '..'");
}

void check_items(Checker& c, const object& source, const std::string& path) {
  const array& items = list(source, "items");
  for (size_t i = 0; i < items.size(); ++i)
    check_volume_path(c, fmt::format("{}.items[{}].path", path, i), text(as_object(items[i]), "path"));
}

void secret_volume(Checker& c, const object& o, const std::string& path) {
  if (text(o, "secretName").empty()) c.required(path + ".secretName");
  check_items(c, o, path);
}
void config_map_volume(Checker& c, const object& o, const std::string& path) {
  if (text(o, "name").empty()) c.required(path + ".name");
  check_items(c, o, path);
}
void projection(Checker& c, const object& o, const std::string& path) {
  if (text(o, "name").empty()) c.required(path + ".name");
  check_items(c, o, path);
}

void downward_file(Checker& c, const object& o, const std::string& path) {
  check_volume_path(c, path + ".path", text(o, "path"));
  if (has(o, "fieldRef")) {
    check_field_ref(c, map(o, "fieldRef"), path + ".fieldRef",
                    {"metadata.name", "metadata.namespace", "metadata.labels", "metadata.annotations", "metadata.uid"});
    if (has(o, "resourceFieldRef")) c.invalid_text(path, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously");
  } else if (has(o, "resourceFieldRef")) {
    check_resource_ref(c, map(o, "resourceFieldRef"), path + ".resourceFieldRef", true);
  } else {
    c.required(path, "one of fieldRef and resourceFieldRef is required");
  }
}

void host_path(Checker& c, const object& o, const std::string& path) {
  std::string_view p = text(o, "path");
  for (size_t at = 0; at <= p.size();) {
    size_t end = std::min(p.find('/', at), p.size());
    if (p.substr(at, end - at) == "..") {
      c.invalid_text(path + ".path", p, "must not contain '..'");
      return;
    }
    at = end + 1;
  }
}

void empty_dir(Checker& c, const object& o, const std::string& path) {
  std::string_view limit = text(o, "sizeLimit"), medium = text(o, "medium");
  if (!limit.empty() && Quantity::of(limit).sign() < 0)
    c.forbidden(path + ".sizeLimit", "SizeLimit field must be a valid resource quantity");
  if (!medium.empty() && medium != "Memory" && !medium.starts_with("HugePages"))
    c.unsupported(path + ".medium", medium, {"HugePages", "Memory"});
}

void projected(Checker& c, const object& o, const std::string& path) {
  const array& sources = list(o, "sources");
  std::set<std::string> paths;
  for (size_t i = 0; i < sources.size(); ++i) {
    std::string at = fmt::format("{}.sources[{}]", path, i);
    const object& source = as_object(sources[i]);
    auto kinds = present(source, {"secret", "configMap", "downwardAPI", "serviceAccountToken", "clusterTrustBundle", "podCertificate"});
    if (kinds.empty()) c.required(at, "must specify a projection source");  // an empty projection
    for (size_t k = 1; k < kinds.size(); ++k)
      c.forbidden(fmt::format("{}.{}", at, kinds[k]), "may not specify more than 1 volume type per source");
    const object& token = map(source, "serviceAccountToken");
    auto take = [&](std::string_view file, std::string_view name) {
      if (!file.empty() && !paths.emplace(file).second)
        c.invalid_text(path, text(source, name), fmt::format("conflicting duplicate paths"));
    };
    if (std::string_view file = text(token, "path"); !file.empty()) {
      check_volume_path(c, at + ".serviceAccountToken.path", file);
      take(file, "serviceAccountToken");
    }
    const object& bundle = map(source, "clusterTrustBundle");
    if (has(source, "clusterTrustBundle")) {
      bool name = has(bundle, "name"), signer = has(bundle, "signerName");
      if (name && signer) c.invalid(at + ".clusterTrustBundle", value(bundle), "only one of name and signerName may be used");
      else if (!name && !signer) c.required(at + ".clusterTrustBundle", "one of name or signerName is required");
      check_volume_path(c, at + ".clusterTrustBundle.path", text(bundle, "path"));
    }
    for (std::string_view k : {"secret", "configMap", "downwardAPI"}) {
      for (const value& item : list(map(source, k), "items")) take(text(as_object(item), "path"), k);
    }
  }
}

void iscsi(Checker& c, const object& o, const std::string& path) {
  std::string_view iqn = text(o, "iqn");
  if (!iqn.empty() && !iqn.starts_with("iqn") && !iqn.starts_with("eui") && !iqn.starts_with("naa"))
    c.invalid_text(path + ".iqn", iqn, "must be valid format starting with iqn, eui, or naa");
  if (int64_t lun = number(o, "lun"); lun < 0 || lun > 255) c.invalid(path + ".lun", value(lun), "must be between 0 and 255, inclusive");
  if ((flag(o, "chapAuthDiscovery") || flag(o, "chapAuthSession")) && !has(o, "secretRef")) c.required(path + ".secretRef");
}

void fibre_channel(Checker& c, const object& o, const std::string& path) {
  bool names = !list(o, "targetWWNs").empty(), ids = !list(o, "wwids").empty();
  if (!names && !ids) c.required(path + ".targetWWNs", "must specify either targetWWNs or wwids, but not both");
  if (names && ids)
    c.invalid(path + ".targetWWNs", *o.if_contains("targetWWNs"), "targetWWNs and wwids can not be specified simultaneously");
  if (!names) return;
  const value* lun = o.if_contains("lun");
  if (!lun || !lun->is_int64()) c.required(path + ".lun", "lun is required if targetWWNs is specified");
  else if (lun->get_int64() < 0 || lun->get_int64() > 255) c.invalid(path + ".lun", *lun, "must be between 0 and 255, inclusive");
}

void nfs(Checker& c, const object& o, const std::string& path) {
  if (std::string_view p = text(o, "path"); !p.empty() && p.front() != '/') c.invalid_text(path + ".path", p, "must be an absolute path");
}

void flocker(Checker& c, const object& o, const std::string& path) {
  bool name = !text(o, "datasetName").empty(), id = !text(o, "datasetUUID").empty();
  if (!name && !id) c.required(path, "one of datasetName and datasetUUID is required");
  if (name && id) c.invalid_text(path, "resource", "datasetName and datasetUUID can not be specified simultaneously");
  if (text(o, "datasetName").find('/') != std::string_view::npos)
    c.invalid_text(path + ".datasetName", text(o, "datasetName"), "must not contain '/'");
}

void csi_volume(Checker& c, const object& o, const std::string& path) {
  if (has(o, "nodePublishSecretRef") && text(map(o, "nodePublishSecretRef"), "name").empty())
    c.required(path + ".nodePublishSecretRef.name");
}

void ephemeral(Checker& c, const object& o, const std::string& path) {
  if (!has(o, "volumeClaimTemplate")) {
    c.required(path + ".volumeClaimTemplate");
    return;
  }
  const object& t = map(o, "volumeClaimTemplate");
  std::string at = path + ".volumeClaimTemplate";
  for (const auto& [key, v] : map(t, "metadata")) {
    if (key != "labels" && key != "annotations") c.forbidden(at + ".metadata", "cannot be set for a volumeClaimTemplate");
  }
  check_labels(c, map(map(t, "metadata"), "labels"), at + ".metadata.labels");
  check_claim_spec(c, map(t, "spec"), at + ".spec", true);
}

void image_volume(Checker& c, const object& o, const std::string& path) {
  if (text(o, "reference").empty()) c.required(path + ".reference");
}

void rbd(Checker& c, const object& o, const std::string& path) {
  if (text(o, "fsType").size() > 255) c.too_long(path + ".fsType", 255);
}

void azure_disk(Checker& c, const object& o, const std::string& path) {
  std::string_view kind = text(o, "kind"), uri = text(o, "diskURI");
  if (kind == "Managed" && !uri.starts_with("/subscriptions/")) {
    c.unsupported(path + ".diskURI", uri,
                  {"/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}"});
  } else if (kind != "Managed" && !kind.empty() && !uri.starts_with("https://") && !uri.empty()) {
    c.unsupported(path + ".diskURI", uri, {"https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"});
  }
}

constexpr TypeRule type_rules[] = {
    {"core.v1.SecretVolumeSource", secret_volume},
    {"core.v1.ConfigMapVolumeSource", config_map_volume},
    {"core.v1.SecretProjection", projection},
    {"core.v1.ConfigMapProjection", projection},
    {"core.v1.DownwardAPIVolumeFile", downward_file},
    {"core.v1.HostPathVolumeSource", host_path},
    {"core.v1.EmptyDirVolumeSource", empty_dir},
    {"core.v1.ProjectedVolumeSource", projected},
    {"core.v1.ISCSIVolumeSource", iscsi},
    {"core.v1.ISCSIPersistentVolumeSource", iscsi},
    {"core.v1.FCVolumeSource", fibre_channel},
    {"core.v1.NFSVolumeSource", nfs},
    {"core.v1.FlockerVolumeSource", flocker},
    {"core.v1.CSIVolumeSource", csi_volume},
    {"core.v1.EphemeralVolumeSource", ephemeral},
    {"core.v1.ImageVolumeSource", image_volume},
    {"core.v1.RBDVolumeSource", rbd},
    {"core.v1.AzureDiskVolumeSource", azure_disk},
};

}  // namespace

std::span<const TypeRule> volume_type_rules() { return type_rules; }

void check_relative_path(Checker& c, const std::string& path, std::string_view p) {
  if (p.starts_with('/')) c.invalid_text(path, p, "must be a relative path");
  for (size_t at = 0; at <= p.size();) {
    size_t end = std::min(p.find('/', at), p.size());
    if (p.substr(at, end - at) == "..") {
      c.invalid_text(path, p, "must not contain '..'");
      return;
    }
    at = end + 1;
  }
}

void check_volumes(Checker& c, const object& spec, const std::string& path) {
  std::set<std::string_view> names;
  const array& all = list(spec, "volumes");
  for (size_t i = 0; i < all.size(); ++i) {
    const object& v = as_object(all[i]);
    std::string at = fmt::format("{}.volumes[{}]", path, i);
    std::string_view name = text(v, "name");
    if (!name.empty() && !names.insert(name).second) c.duplicate(at + ".name", name);
    check_volume_source(c, v, at);
  }
}

void check_volume_source(Checker& c, const object& volume, const std::string& path) {
  std::vector<std::string_view> sources;
  for (const auto& [key, v] : volume) {
    if (key != "name" && !v.is_null()) sources.emplace_back(key);
  }
  if (sources.empty()) c.required(path, "must specify a volume type");
  for (size_t i = 1; i < sources.size(); ++i)
    c.forbidden(fmt::format("{}.{}", path, sources[i]), "may not specify more than 1 volume type");
}

}  // namespace api::validation
