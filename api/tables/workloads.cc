// Rows of apps, batch, autoscaling and policy.
#include <fmt/format.h>

#include "api/table.h"
#include "api/tables/printer.h"

namespace api::tables {
namespace {

namespace json = base::json;

void add_template(Row& row) {
  add_containers(row, "spec.template.spec");
  row.add(selector_text(base::find(row.object, "spec.selector")));
}

void deployment_cells(Row& row) {
  row.add_field("metadata.name");
  row.add(fmt::format("{}/{}", row.number("status.readyReplicas"), row.number("spec.replicas")));
  row.add(row.number("status.updatedReplicas"));
  row.add(row.number("status.availableReplicas"));
  row.add_age();
  add_template(row);
}

void replica_set_cells(Row& row) {
  row.add_field("metadata.name");
  row.add(row.number("spec.replicas"));
  row.add(row.number("status.replicas"));
  row.add(row.number("status.readyReplicas"));
  row.add_age();
  add_template(row);
}

void replication_controller_cells(Row& row) {
  row.add_field("metadata.name");
  row.add(row.number("spec.replicas"));
  row.add(row.number("status.replicas"));
  row.add(row.number("status.readyReplicas"));
  row.add_age();
  add_containers(row, "spec.template.spec");
  row.add(labels_text(row.map("spec.selector")));
}

void stateful_set_cells(Row& row) {
  row.add_field("metadata.name");
  row.add(fmt::format("{}/{}", row.number("status.readyReplicas"), row.number("spec.replicas")));
  row.add_age();
  add_containers(row, "spec.template.spec");
}

void daemon_set_cells(Row& row) {
  row.add_field("metadata.name");
  row.add(row.number("status.desiredNumberScheduled"));
  row.add(row.number("status.currentNumberScheduled"));
  row.add(row.number("status.numberReady"));
  row.add(row.number("status.updatedNumberScheduled"));
  row.add(row.number("status.numberAvailable"));
  row.add(labels_text(row.map("spec.template.spec.nodeSelector")));
  row.add_age();
  add_template(row);
}

std::string_view job_status(const Row& row) {
  static constexpr std::string_view order[] = {"Complete", "Failed", "", "Suspended", "FailureTarget", "SuccessCriteriaMet"};
  for (std::string_view type : order) {
    if (type.empty() && !row.text("metadata.deletionTimestamp").empty()) return "Terminating";
    for (const json::value& c : row.list("status.conditions")) {
      if (!type.empty() && base::get_string(c, "type") == type && base::get_string(c, "status") == "True") return type;
    }
  }
  return "Running";
}

void job_cells(Row& row) {
  row.add_field("metadata.name");
  row.add(job_status(row));
  int64_t parallelism = row.number("spec.parallelism"), succeeded = row.number("status.succeeded");
  if (base::find(row.object, "spec.completions")) row.add(fmt::format("{}/{}", succeeded, row.number("spec.completions")));
  else if (parallelism > 1) row.add(fmt::format("{}/1 of {}", succeeded, parallelism));
  else row.add(fmt::format("{}/1", succeeded));
  std::string_view start = row.text("status.startTime"), end = row.text("status.completionTime");
  std::string duration;
  if (auto from = base::parse_rfc3339(start)) {
    auto to = base::parse_rfc3339(end);
    duration = human_duration(std::chrono::duration_cast<std::chrono::seconds>((to ? *to : row.now) - *from).count());
  }
  row.add(duration);
  row.add_age();
  add_template(row);
}

void cron_job_cells(Row& row) {
  row.add_field("metadata.name");
  row.add_field("spec.schedule");
  row.add_field("spec.timeZone", "<none>");
  row.add(base::get_bool(row.object, "spec.suspend") ? "True" : "False");
  row.add(static_cast<int64_t>(row.list("status.active").size()));
  std::string_view last = row.text("status.lastScheduleTime");
  row.add(last.empty() ? std::string("<none>") : row.since(last));
  row.add_age();
  add_containers(row, "spec.jobTemplate.spec.template.spec");
  row.add(selector_text(base::find(row.object, "spec.jobTemplate.spec.selector")));
}

void controller_revision_cells(Row& row) {
  row.add_field("metadata.name");
  std::string owner = "<none>";
  for (const json::value& o : row.list("metadata.ownerReferences")) {
    if (!base::get_bool(o, "controller")) continue;
    std::string_view kind = base::get_string(o, "kind"), group = base::get_string(o, "apiVersion");
    size_t slash = group.find('/');
    owner.clear();
    for (char c : kind) owner += c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    if (slash != std::string_view::npos) owner += fmt::format(".{}", group.substr(0, slash));
    owner += fmt::format("/{}", base::get_string(o, "name"));
  }
  row.add(owner);
  row.add(row.number("revision"));
  row.add_age();
}

// One target as "current/target".
std::string metric_text(const json::value& spec, const json::array& current) {
  static constexpr std::pair<std::string_view, std::string_view> kinds[] = {{"Resource", "resource"},
                                                                            {"ContainerResource", "containerResource"},
                                                                            {"Pods", "pods"},
                                                                            {"Object", "object"},
                                                                            {"External", "external"}};
  std::string_view type = base::get_string(spec, "type");
  for (auto [name, member] : kinds) {
    if (name != type) continue;
    std::string m(member);
    std::string_view resource = base::get_string(spec, m + ".name");
    std::string have = "<unknown>", want;
    bool utilisation = base::find(spec, m + ".target.averageUtilization") != nullptr;
    if (utilisation) want = fmt::format("{}%", base::get_int(spec, m + ".target.averageUtilization"));
    else want = base::get_string(spec, m + ".target.averageValue", base::get_string(spec, m + ".target.value"));
    for (const json::value& c : current) {
      if (base::get_string(c, "type") != type || base::get_string(c, m + ".name") != resource) continue;
      if (utilisation && base::find(c, m + ".current.averageUtilization")) {
        have = fmt::format("{}%", base::get_int(c, m + ".current.averageUtilization"));
      } else if (!utilisation) {
        have = base::get_string(c, m + ".current.averageValue", base::get_string(c, m + ".current.value", "<unknown>"));
      }
    }
    if (!base::find(spec, m + ".target.averageUtilization") && !base::find(spec, m + ".target.value") && type != "Resource")
      want += " (avg)";
    std::string text = fmt::format("{}/{}", have, want);
    return resource.empty() ? text : fmt::format("{}: {}", resource, text);
  }
  return "<unknown type>";
}

void autoscaler_cells(Row& row) {
  row.add_field("metadata.name");
  row.add(fmt::format("{}/{}", row.text("spec.scaleTargetRef.kind"), row.text("spec.scaleTargetRef.name")));
  std::vector<std::string> targets;
  if (base::find(row.object, "spec.targetCPUUtilizationPercentage")) {
    const json::value* now = base::find(row.object, "status.currentCPUUtilizationPercentage");
    targets.push_back(
        fmt::format("cpu: {}/{}%", now ? base::to_text(*now) + "%" : "<unknown>", row.number("spec.targetCPUUtilizationPercentage")));
  }
  for (const json::value& m : row.list("spec.metrics")) targets.push_back(metric_text(m, row.list("status.currentMetrics")));
  row.add(targets.empty() ? std::string("<none>") : limited(targets, 2, ", "));
  row.add(base::find(row.object, "spec.minReplicas") ? std::to_string(row.number("spec.minReplicas")) : std::string("<unset>"));
  row.add(row.number("spec.maxReplicas"));
  row.add(row.number("status.currentReplicas"));
  row.add_age();
}

std::string int_or_string(const json::value* v) {
  if (!v) return "N/A";
  return v->is_string() ? std::string(v->get_string()) : base::to_text(*v);
}

void disruption_budget_cells(Row& row) {
  row.add_field("metadata.name");
  row.add(int_or_string(base::find(row.object, "spec.minAvailable")));
  row.add(int_or_string(base::find(row.object, "spec.maxUnavailable")));
  row.add(row.number("status.disruptionsAllowed"));
  row.add_age();
}

constexpr ColumnInfo kDeployment[] = {{"Name", 0, "string", "name"}, {"Ready"}, {"Up-to-date", 0, "integer"}, {"Available", 0, "integer"}, {"Age"},
                                      {"Containers", 1}, {"Images", 1}, {"Selector", 1}};
constexpr ColumnInfo kReplicaSet[] = {{"Name", 0, "string", "name"}, {"Desired", 0, "integer"}, {"Current", 0, "integer"}, {"Ready", 0, "integer"},
                                      {"Age"}, {"Containers", 1}, {"Images", 1}, {"Selector", 1}};
constexpr ColumnInfo kStatefulSet[] = {{"Name", 0, "string", "name"}, {"Ready"}, {"Age"}, {"Containers", 1}, {"Images", 1}};
constexpr ColumnInfo kDaemonSet[] = {{"Name", 0, "string", "name"}, {"Desired", 0, "integer"}, {"Current", 0, "integer"}, {"Ready", 0, "integer"},
                                     {"Up-to-date", 0, "integer"}, {"Available", 0, "integer"}, {"Node Selector"}, {"Age"}, {"Containers", 1},
                                     {"Images", 1}, {"Selector", 1}};
constexpr ColumnInfo kJob[] = {{"Name", 0, "string", "name"}, {"Status"}, {"Completions"}, {"Duration"}, {"Age"}, {"Containers", 1}, {"Images", 1},
                               {"Selector", 1}};
constexpr ColumnInfo kCronJob[] = {{"Name", 0, "string", "name"}, {"Schedule"}, {"Timezone"}, {"Suspend"}, {"Active", 0, "integer"},
                                   {"Last Schedule"}, {"Age"}, {"Containers", 1}, {"Images", 1}, {"Selector", 1}};
constexpr ColumnInfo kRevision[] = {{"Name", 0, "string", "name"}, {"Controller"}, {"Revision", 0, "integer"}, {"Age"}};
constexpr ColumnInfo kAutoscaler[] = {{"Name", 0, "string", "name"}, {"Reference"}, {"Targets"}, {"MinPods"}, {"MaxPods", 0, "integer"},
                                      {"Replicas", 0, "integer"}, {"Age"}};
constexpr ColumnInfo kBudget[] = {
    {"Name", 0, "string", "name"}, {"Min Available"}, {"Max Unavailable"}, {"Allowed Disruptions", 0, "integer"}, {"Age"}};

constexpr Printer kPrinters[] = {
    {"apps", "Deployment", kDeployment, deployment_cells},
    {"apps", "ReplicaSet", kReplicaSet, replica_set_cells},
    {"", "ReplicationController", kReplicaSet, replication_controller_cells},
    {"apps", "StatefulSet", kStatefulSet, stateful_set_cells},
    {"apps", "DaemonSet", kDaemonSet, daemon_set_cells},
    {"apps", "ControllerRevision", kRevision, controller_revision_cells},
    {"batch", "Job", kJob, job_cells},
    {"batch", "CronJob", kCronJob, cron_job_cells},
    {"autoscaling", "HorizontalPodAutoscaler", kAutoscaler, autoscaler_cells},
    {"policy", "PodDisruptionBudget", kBudget, disruption_budget_cells},
};

}  // namespace

std::span<const Printer> workload_printers() { return kPrinters; }

}  // namespace api::tables
