// Rows of what administers the cluster: roles, storage classes, certificates, extensions.
#include <fmt/format.h>

#include "api/table.h"
#include "api/tables/printer.h"

namespace api::tables {
namespace {

namespace json = base::json;

void role_cells(Row& row) {
  row.add_field("metadata.name");
  row.add_field("metadata.creationTimestamp");
}

void binding_cells(Row& row) {
  std::vector<std::string> users, groups, accounts;
  for (const json::value& s : row.list("subjects")) {
    std::string_view kind = base::get_string(s, "kind"), name = base::get_string(s, "name");
    if (kind == "User") users.emplace_back(name);
    else if (kind == "Group") groups.emplace_back(name);
    else accounts.push_back(fmt::format("{}/{}", base::get_string(s, "namespace"), name));
  }
  row.add_field("metadata.name");
  row.add(fmt::format("{}/{}", row.text("roleRef.kind"), row.text("roleRef.name")));
  row.add_age();
  row.add(joined(users, ", "));
  row.add(joined(groups, ", "));
  row.add(joined(accounts, ", "));
}

void storage_class_cells(Row& row) {
  std::string name(row.text("metadata.name"));
  const json::object& annotations = row.map("metadata.annotations");
  for (std::string_view key : {"storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"}) {
    const json::value* v = annotations.if_contains(key);
    if (v && v->is_string() && v->get_string() == "true") {
      name += " (default)";
      break;
    }
  }
  row.add(name);
  row.add_field("provisioner");
  row.add_field("reclaimPolicy", "Delete");
  row.add_field("volumeBindingMode", "Immediate");
  row.add(base::get_bool(row.object, "allowVolumeExpansion") ? "true" : "false");
  row.add_age();
}

void volume_attachment_cells(Row& row) {
  row.add_field("metadata.name");
  row.add_field("spec.attacher");
  row.add_field("spec.source.persistentVolumeName");
  row.add_field("spec.nodeName");
  row.add(base::get_bool(row.object, "status.attached") ? "true" : "false");
  row.add_age();
}

void csi_driver_cells(Row& row) {
  auto flag = [&](std::string_view path) { return base::get_bool(row.object, path) ? "true" : "false"; };
  std::vector<std::string> modes;
  for (const json::value& m : row.list("spec.volumeLifecycleModes"))
    modes.emplace_back(m.is_string() ? std::string_view(m.get_string()) : "");
  row.add_field("metadata.name");
  row.add(flag("spec.attachRequired"));
  row.add(flag("spec.podInfoOnMount"));
  row.add(flag("spec.storageCapacity"));
  std::vector<std::string> audiences;
  for (const json::value& t : row.list("spec.tokenRequests")) audiences.emplace_back(base::get_string(t, "audience"));
  row.add(audiences.empty() ? std::string("<unset>") : joined(audiences, ","));
  row.add(flag("spec.requiresRepublish"));
  row.add(modes.empty() ? std::string("<none>") : joined(modes, ","));
  row.add_age();
}

void csi_node_cells(Row& row) {
  row.add_field("metadata.name");
  row.add(static_cast<int64_t>(row.list("spec.drivers").size()));
  row.add_age();
}

void priority_class_cells(Row& row) {
  row.add_field("metadata.name");
  row.add(row.number("value"));
  row.add(base::get_bool(row.object, "globalDefault") ? "true" : "false");
  row.add_age();
  row.add_field("preemptionPolicy");
}

void runtime_class_cells(Row& row) {
  row.add_field("metadata.name");
  row.add_field("handler");
  row.add_age();
}

void lease_cells(Row& row) {
  row.add_field("metadata.name");
  row.add_field("spec.holderIdentity");
  row.add_age();
}

void trust_bundle_cells(Row& row) {
  row.add_field("metadata.name");
  std::string_view signer = row.text("spec.signerName");
  row.add(std::string(signer.empty() ? "<none>" : signer));
}

void certificate_request_cells(Row& row) {
  std::string approved, denied, failed;
  for (const json::value& c : row.list("status.conditions")) {
    std::string_view type = base::get_string(c, "type");
    if (type == "Approved") approved = "Approved";
    if (type == "Denied") denied = "Denied";
    if (type == "Failed") failed = "Failed";
  }
  std::string status = !denied.empty() ? denied : !approved.empty() ? approved : failed.empty() ? "Pending" : "";
  if (!failed.empty()) status += status.empty() ? failed : "," + failed;
  if (!row.text("status.certificate").empty()) status += ",Issued";
  row.add_field("metadata.name");
  row.add_age();
  row.add_field("spec.signerName");
  row.add_field("spec.username");
  row.add(base::find(row.object, "spec.expirationSeconds") ? human_duration(row.number("spec.expirationSeconds")) : std::string("<none>"));
  row.add(status);
}

void api_service_cells(Row& row) {
  std::string service = "Local", available = "Unknown";
  if (base::find(row.object, "spec.service"))
    service = fmt::format("{}/{}", row.text("spec.service.namespace"), row.text("spec.service.name"));
  for (const json::value& c : row.list("status.conditions")) {
    if (base::get_string(c, "type") != "Available") continue;
    available = base::get_string(c, "status");
    if (available != "True") available += fmt::format(" ({})", base::get_string(c, "reason"));
  }
  row.add_field("metadata.name");
  row.add(service);
  row.add(available);
  row.add_age();
}

void webhook_cells(Row& row) {
  row.add_field("metadata.name");
  row.add(static_cast<int64_t>(row.list("webhooks").size()));
  row.add_age();
}

void admission_policy_cells(Row& row) {
  row.add_field("metadata.name");
  row.add(
      static_cast<int64_t>((base::find(row.object, "spec.mutations") ? row.list("spec.mutations") : row.list("spec.validations")).size()));
  std::string parameters = "<unset>";
  if (base::find(row.object, "spec.paramKind"))
    parameters = fmt::format("{}/{}", row.text("spec.paramKind.apiVersion"), row.text("spec.paramKind.kind"));
  row.add(parameters);
  row.add_age();
}

void admission_binding_cells(Row& row) {
  row.add_field("metadata.name");
  row.add_field("spec.policyName");
  std::string parameter = "<unset>";
  if (base::find(row.object, "spec.paramRef")) {
    std::string_view ns = row.text("spec.paramRef.namespace"), name = row.text("spec.paramRef.name");
    parameter = ns.empty() ? std::string(name) : fmt::format("{}/{}", ns, name);
  }
  row.add(parameter);
  row.add_age();
}

void flow_schema_cells(Row& row) {
  row.add_field("metadata.name");
  row.add_field("spec.priorityLevelConfiguration.name");
  row.add(row.number("spec.matchingPrecedence"));
  row.add_field("spec.distinguisherMethod.type", "<none>");
  row.add_age();
  std::string missing = "?";
  for (const json::value& c : row.list("status.conditions")) {
    if (base::get_string(c, "type") == "Dangling") missing = base::get_string(c, "status");
  }
  row.add(missing);
}

void priority_level_cells(Row& row) {
  row.add_field("metadata.name");
  row.add_field("spec.type");
  const json::value* shares = base::find(row.object, "spec.limited.nominalConcurrencyShares");
  row.add(shares ? base::to_text(*shares) : std::string("<none>"));
  auto queue = [&](std::string_view name) {
    const json::value* v = base::find(row.object, fmt::format("spec.limited.limitResponse.queuing.{}", name));
    row.add(v ? base::to_text(*v) : std::string("<none>"));
  };
  queue("queues");
  queue("handSize");
  queue("queueLengthLimit");
  row.add_age();
}

void resource_claim_cells(Row& row) {
  std::string state = "pending";
  if (!row.text("metadata.deletionTimestamp").empty()) state = "deleted";
  if (base::find(row.object, "status.allocation")) state = state == "deleted" ? "deleted,allocated" : "allocated";
  if (!row.list("status.reservedFor").empty()) state += ",reserved";
  row.add_field("metadata.name");
  row.add(state);
  row.add_age();
}

void resource_slice_cells(Row& row) {
  row.add_field("metadata.name");
  row.add_field("spec.nodeName", "<unset>");
  row.add_field("spec.driver");
  row.add_field("spec.pool.name");
  row.add_age();
}

void storage_capacity_cells(Row& row) {
  row.add_field("metadata.name");
  row.add_field("storageClassName");
  row.add_field("capacity", "<unset>");
}

void name_and_age_cells(Row& row) {
  row.add_field("metadata.name");
  row.add_age();
}

void volume_attributes_class_cells(Row& row) {
  row.add_field("metadata.name");
  row.add_field("driverName");
  row.add_age();
}

constexpr ColumnInfo kRole[] = {{"Name", 0, "string", "name"}, {"Created At", 0, "date"}};
constexpr ColumnInfo kBinding[] = {{"Name", 0, "string", "name"}, {"Role"}, {"Age"}, {"Users", 1}, {"Groups", 1}, {"ServiceAccounts", 1}};
constexpr ColumnInfo kStorageClass[] = {{"Name", 0, "string", "name"}, {"Provisioner"}, {"ReclaimPolicy"}, {"VolumeBindingMode"},
                                        {"AllowVolumeExpansion"}, {"Age"}};
constexpr ColumnInfo kAttachment[] = {{"Name", 0, "string", "name"}, {"Attacher"}, {"PV"}, {"Node"}, {"Attached"}, {"Age"}};
constexpr ColumnInfo kCsiDriver[] = {{"Name", 0, "string", "name"}, {"AttachRequired"}, {"PodInfoOnMount"}, {"StorageCapacity"},
                                     {"TokenRequests"}, {"RequiresRepublish"}, {"Modes"}, {"Age"}};
constexpr ColumnInfo kCsiNode[] = {{"Name", 0, "string", "name"}, {"Drivers", 0, "integer"}, {"Age"}};
constexpr ColumnInfo kPriorityClass[] = {
    {"Name", 0, "string", "name"}, {"Value", 0, "integer"}, {"Global-Default"}, {"Age"}, {"PreemptionPolicy"}};
constexpr ColumnInfo kRuntimeClass[] = {{"Name", 0, "string", "name"}, {"Handler"}, {"Age"}};
constexpr ColumnInfo kLease[] = {{"Name", 0, "string", "name"}, {"Holder"}, {"Age"}};
constexpr ColumnInfo kTrustBundle[] = {{"Name", 0, "string", "name"}, {"SignerName"}};
constexpr ColumnInfo kRequest[] = {{"Name", 0, "string", "name"}, {"Age"},      {"SignerName"}, {"Requestor"},
                                   {"RequestedDuration"},         {"Condition"}};
constexpr ColumnInfo kApiService[] = {{"Name", 0, "string", "name"}, {"Service"}, {"Available"}, {"Age"}};
constexpr ColumnInfo kWebhook[] = {{"Name", 0, "string", "name"}, {"Webhooks", 0, "integer"}, {"Age"}};
constexpr ColumnInfo kPolicy[] = {{"Name", 0, "string", "name"}, {"Validations", 0, "integer"}, {"ParamKind"}, {"Age"}};
constexpr ColumnInfo kMutatingPolicy[] = {{"Name", 0, "string", "name"}, {"Mutations", 0, "integer"}, {"ParamKind"}, {"Age"}};
constexpr ColumnInfo kCapacity[] = {{"Name", 0, "string", "name"}, {"StorageClassName"}, {"Capacity"}};
constexpr ColumnInfo kNameAndAge[] = {{"Name", 0, "string", "name"}, {"Age"}};
constexpr ColumnInfo kPolicyBinding[] = {{"Name", 0, "string", "name"}, {"PolicyName"}, {"ParamRef"}, {"Age"}};
constexpr ColumnInfo kFlowSchema[] = {{"Name", 0, "string", "name"}, {"PriorityLevel"}, {"MatchingPrecedence", 0, "integer"},
                                      {"DistinguisherMethod"}, {"Age"}, {"MissingPL"}};
constexpr ColumnInfo kPriorityLevel[] = {{"Name", 0, "string", "name"}, {"Type"}, {"NominalConcurrencyShares"}, {"Queues"}, {"HandSize"},
                                         {"QueueLengthLimit"}, {"Age"}};
constexpr ColumnInfo kResourceClaim[] = {{"Name", 0, "string", "name"}, {"State"}, {"Age"}};
constexpr ColumnInfo kResourceSlice[] = {{"Name", 0, "string", "name"}, {"Node"}, {"Driver"}, {"Pool"}, {"Age"}};
constexpr ColumnInfo kAttributesClass[] = {{"Name", 0, "string", "name"}, {"DriverName"}, {"Age"}};

constexpr std::string_view kRbac = "rbac.authorization.k8s.io", kStorage = "storage.k8s.io", kAdmission = "admissionregistration.k8s.io";
constexpr Printer kPrinters[] = {
    {kRbac, "Role", kRole, role_cells},
    {kRbac, "ClusterRole", kRole, role_cells},
    {kRbac, "RoleBinding", kBinding, binding_cells},
    {kRbac, "ClusterRoleBinding", kBinding, binding_cells},
    {kStorage, "StorageClass", kStorageClass, storage_class_cells},
    {kStorage, "VolumeAttachment", kAttachment, volume_attachment_cells},
    {kStorage, "CSIDriver", kCsiDriver, csi_driver_cells},
    {kStorage, "CSINode", kCsiNode, csi_node_cells},
    {kStorage, "VolumeAttributesClass", kAttributesClass, volume_attributes_class_cells},
    {"scheduling.k8s.io", "PriorityClass", kPriorityClass, priority_class_cells},
    {"node.k8s.io", "RuntimeClass", kRuntimeClass, runtime_class_cells},
    {"coordination.k8s.io", "Lease", kLease, lease_cells},
    {"certificates.k8s.io", "CertificateSigningRequest", kRequest, certificate_request_cells},
    {"certificates.k8s.io", "ClusterTrustBundle", kTrustBundle, trust_bundle_cells},
    {"apiregistration.k8s.io", "APIService", kApiService, api_service_cells},
    {"apiextensions.k8s.io", "CustomResourceDefinition", kRole, role_cells},
    {kAdmission, "ValidatingWebhookConfiguration", kWebhook, webhook_cells},
    {kAdmission, "MutatingWebhookConfiguration", kWebhook, webhook_cells},
    {kAdmission, "ValidatingAdmissionPolicy", kPolicy, admission_policy_cells},
    {kAdmission, "ValidatingAdmissionPolicyBinding", kPolicyBinding, admission_binding_cells},
    {kAdmission, "MutatingAdmissionPolicy", kMutatingPolicy, admission_policy_cells},
    {kAdmission, "MutatingAdmissionPolicyBinding", kPolicyBinding, admission_binding_cells},
    {kStorage, "CSIStorageCapacity", kCapacity, storage_capacity_cells},
    {"resource.k8s.io", "DeviceClass", kNameAndAge, name_and_age_cells},
    {"resource.k8s.io", "ResourceClaimTemplate", kNameAndAge, name_and_age_cells},
    {"flowcontrol.apiserver.k8s.io", "FlowSchema", kFlowSchema, flow_schema_cells},
    {"flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration", kPriorityLevel, priority_level_cells},
    {"resource.k8s.io", "ResourceClaim", kResourceClaim, resource_claim_cells},
    {"resource.k8s.io", "ResourceSlice", kResourceSlice, resource_slice_cells},
};

}  // namespace

std::span<const Printer> cluster_printers() { return kPrinters; }

}  // namespace api::tables
