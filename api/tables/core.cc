// Rows of the core group besides volumes.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "api/tables/printer.h"

namespace api::tables {
namespace {

namespace json = base::json;

void node_cells(Row& row) {
  std::string status = "Unknown";
  for (const json::value& c : row.list("status.conditions")) {
    if (base::get_string(c, "type") == "Ready") status = base::get_string(c, "status") == "True" ? "Ready" : "NotReady";
  }
  if (base::get_bool(row.object, "spec.unschedulable")) status += ",SchedulingDisabled";
  std::set<std::string> roles;
  for (const auto& [key, value] : row.map("metadata.labels")) {
    std::string_view name(key);
    static constexpr std::string_view prefix = "node-role.kubernetes.io/";
    if (name.starts_with(prefix) && name.size() > prefix.size()) roles.emplace(name.substr(prefix.size()));
    else if (name == "kubernetes.io/role" && value.is_string() && !value.get_string().empty()) roles.emplace(value.get_string());
  }
  std::string internal = "<none>", external = "<none>";
  for (const json::value& a : row.list("status.addresses")) {
    std::string_view type = base::get_string(a, "type"), address = base::get_string(a, "address");
    if (type == "InternalIP" && internal == "<none>") internal = address;
    if (type == "ExternalIP" && external == "<none>") external = address;
  }
  row.add_field("metadata.name");
  row.add(status);
  row.add(roles.empty() ? std::string("<none>") : fmt::format("{}", fmt::join(roles, ",")));
  row.add_age();
  row.add_field("status.nodeInfo.kubeletVersion");
  row.add(internal);
  row.add(external);
  row.add_field("status.nodeInfo.osImage", "<unknown>");
  row.add_field("status.nodeInfo.kernelVersion", "<unknown>");
  row.add_field("status.nodeInfo.containerRuntimeVersion", "<unknown>");
}

std::string lower(std::string_view s) {
  std::string out(s);
  for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  return out;
}

void event_cells(Row& row) {
  bool core = base::find(row.object, "involvedObject") != nullptr;
  std::string object = core ? "involvedObject" : "regarding";
  std::string_view micro = row.text("eventTime");
  std::string_view first = row.text(core ? "firstTimestamp" : "deprecatedFirstTimestamp", micro);
  std::string_view last = row.text("series.lastObservedTime", row.text(core ? "lastTimestamp" : "deprecatedLastTimestamp", first));
  int64_t count = row.number("series.count", row.number(core ? "count" : "deprecatedCount", 1));
  std::string source(
      row.text(core ? "source.component" : "deprecatedSource.component", row.text(core ? "reportingComponent" : "reportingController")));
  if (std::string_view host = row.text(core ? "source.host" : "deprecatedSource.host"); !host.empty()) source += fmt::format(", {}", host);
  std::string message(row.text(core ? "message" : "note"));
  while (!message.empty() && (message.back() == '\n' || message.back() == ' ')) message.pop_back();
  row.add(row.since(last));
  row.add_field("type");
  row.add_field("reason");
  std::string kind = lower(row.text(object + ".kind"));
  row.add(kind.empty() ? std::string(row.text(object + ".name")) : fmt::format("{}/{}", kind, row.text(object + ".name")));
  row.add_field(object + ".fieldPath");
  row.add(source);
  row.add(message);
  row.add(row.since(first));
  row.add(count);
  row.add_field("metadata.name");
}

void namespace_cells(Row& row) {
  row.add_field("metadata.name");
  row.add_field("status.phase");
  row.add_age();
}

void config_map_cells(Row& row) {
  row.add_field("metadata.name");
  row.add(static_cast<int64_t>(row.map("data").size() + row.map("binaryData").size()));
  row.add_age();
}

void secret_cells(Row& row) {
  row.add_field("metadata.name");
  row.add_field("type");
  row.add(static_cast<int64_t>(row.map("data").size()));
  row.add_age();
}

void service_account_cells(Row& row) {
  row.add_field("metadata.name");
  row.add(static_cast<int64_t>(row.list("secrets").size()));
  row.add_age();
}

std::string access_modes(const json::array& modes) {
  std::vector<std::string> out;
  for (const json::value& m : modes) {
    std::string_view mode = m.is_string() ? std::string_view(m.get_string()) : "";
    if (mode == "ReadWriteOnce") out.emplace_back("RWO");
    if (mode == "ReadOnlyMany") out.emplace_back("ROX");
    if (mode == "ReadWriteMany") out.emplace_back("RWX");
    if (mode == "ReadWriteOncePod") out.emplace_back("RWOP");
  }
  return joined(out, ",");
}

std::string_view phase(const Row& row) {
  return row.text("metadata.deletionTimestamp").empty() ? row.text("status.phase") : std::string_view("Terminating");
}

void persistent_volume_cells(Row& row) {
  row.add_field("metadata.name");
  row.add_field("spec.capacity.storage");
  row.add(access_modes(row.list("spec.accessModes")));
  row.add_field("spec.persistentVolumeReclaimPolicy");
  row.add(phase(row));
  std::string_view claim = row.text("spec.claimRef.name");
  row.add(claim.empty() ? std::string() : fmt::format("{}/{}", row.text("spec.claimRef.namespace"), claim));
  row.add_field("spec.storageClassName");
  row.add_field("spec.volumeAttributesClassName", "<unset>");
  row.add_field("status.reason");
  row.add_age();
  row.add_field("spec.volumeMode", "<unset>");
}

void persistent_volume_claim_cells(Row& row) {
  bool bound = !row.text("spec.volumeName").empty();
  row.add_field("metadata.name");
  row.add(phase(row));
  row.add_field("spec.volumeName");
  row.add(bound ? row.text("status.capacity.storage") : std::string_view());
  row.add(bound ? access_modes(row.list("status.accessModes")) : std::string());
  row.add_field("spec.storageClassName");
  row.add_field("spec.volumeAttributesClassName", "<unset>");
  row.add_age();
  row.add_field("spec.volumeMode", "<unset>");
}

void resource_quota_cells(Row& row) {
  std::vector<std::string> requests, limits;
  const json::object& used = row.map("status.used");
  for (const auto& [key, hard] : row.map("status.hard")) {
    const json::value* have = used.if_contains(key);
    std::string text =
        fmt::format("{}: {}/{}", std::string_view(key), have && have->is_string() ? std::string_view(have->get_string()) : "0",
                    hard.is_string() ? std::string_view(hard.get_string()) : "");
    (std::string_view(key).starts_with("limits") ? limits : requests).push_back(std::move(text));
  }
  std::sort(requests.begin(), requests.end());
  std::sort(limits.begin(), limits.end());
  row.add_field("metadata.name");
  row.add(joined(requests, ", "));
  row.add(joined(limits, ", "));
  row.add_age();
}

void limit_range_cells(Row& row) {
  row.add_field("metadata.name");
  row.add_field("metadata.creationTimestamp");
}

void component_status_cells(Row& row) {
  row.add_field("metadata.name");
  for (const json::value& c : row.list("conditions")) {
    if (base::get_string(c, "type") != "Healthy") continue;
    row.add(base::get_string(c, "status") == "True" ? "Healthy" : "Unhealthy");
    row.add(base::get_string(c, "message"));
    row.add(base::get_string(c, "error"));
    return;
  }
  for (int i = 0; i < 3; ++i) row.add(i == 0 ? "Unknown" : "");
}

void pod_template_cells(Row& row) {
  row.add_field("metadata.name");
  add_containers(row, "template.spec");
  row.add(labels_text(row.map("template.metadata.labels")));
}

constexpr ColumnInfo kPod[] = {{"Name", 0, "string", "name"}, {"Ready"}, {"Status"}, {"Restarts"}, {"Age"}, {"IP", 1}, {"Node", 1},
                               {"Nominated Node", 1}, {"Readiness Gates", 1}};
constexpr ColumnInfo kNode[] = {{"Name", 0, "string", "name"}, {"Status"}, {"Roles"}, {"Age"}, {"Version"}, {"Internal-IP", 1},
                                {"External-IP", 1}, {"OS-Image", 1}, {"Kernel-Version", 1}, {"Container-Runtime", 1}};
constexpr ColumnInfo kEvent[] = {{"Last Seen"}, {"Type"}, {"Reason"}, {"Object"}, {"Subobject", 1}, {"Source", 1}, {"Message"},
                                 {"First Seen", 1}, {"Count", 1, "integer"}, {"Name", 1, "string", "name"}};
constexpr ColumnInfo kNamespace[] = {{"Name", 0, "string", "name"}, {"Status"}, {"Age"}};
constexpr ColumnInfo kConfigMap[] = {{"Name", 0, "string", "name"}, {"Data", 0, "integer"}, {"Age"}};
constexpr ColumnInfo kSecret[] = {{"Name", 0, "string", "name"}, {"Type"}, {"Data", 0, "integer"}, {"Age"}};
constexpr ColumnInfo kServiceAccount[] = {{"Name", 0, "string", "name"}, {"Secrets", 0, "integer"}, {"Age"}};
constexpr ColumnInfo kVolume[] = {{"Name", 0, "string", "name"}, {"Capacity"}, {"Access Modes"}, {"Reclaim Policy"}, {"Status"}, {"Claim"},
                                  {"StorageClass"}, {"VolumeAttributesClass"}, {"Reason"}, {"Age"}, {"VolumeMode", 1}};
constexpr ColumnInfo kClaim[] = {{"Name", 0, "string", "name"}, {"Status"}, {"Volume"}, {"Capacity"}, {"Access Modes"}, {"StorageClass"},
                                 {"VolumeAttributesClass"}, {"Age"}, {"VolumeMode", 1}};
constexpr ColumnInfo kQuota[] = {{"Name", 0, "string", "name"}, {"Request"}, {"Limit"}, {"Age"}};
constexpr ColumnInfo kLimitRange[] = {{"Name", 0, "string", "name"}, {"Created At", 0, "date"}};
constexpr ColumnInfo kComponentStatus[] = {{"Name", 0, "string", "name"}, {"Status"}, {"Message"}, {"Error"}};
constexpr ColumnInfo kPodTemplate[] = {{"Name", 0, "string", "name"}, {"Containers"}, {"Images"}, {"Pod Labels"}};

constexpr Printer kPrinters[] = {
    {"", "Pod", kPod, pod_cells},
    {"", "Node", kNode, node_cells},
    {"", "Event", kEvent, event_cells},
    {"events.k8s.io", "Event", kEvent, event_cells},
    {"", "Namespace", kNamespace, namespace_cells},
    {"", "ConfigMap", kConfigMap, config_map_cells},
    {"", "Secret", kSecret, secret_cells},
    {"", "ServiceAccount", kServiceAccount, service_account_cells},
    {"", "PersistentVolume", kVolume, persistent_volume_cells},
    {"", "PersistentVolumeClaim", kClaim, persistent_volume_claim_cells},
    {"", "ResourceQuota", kQuota, resource_quota_cells},
    {"", "LimitRange", kLimitRange, limit_range_cells},
    {"", "ComponentStatus", kComponentStatus, component_status_cells},
    {"", "PodTemplate", kPodTemplate, pod_template_cells},
};

}  // namespace

std::span<const Printer> core_printers() { return kPrinters; }

}  // namespace api::tables
