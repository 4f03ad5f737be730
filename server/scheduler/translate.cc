#include "server/scheduler/translate.h"

#include "api/quantity.h"
#include "base/time.h"

namespace server::scheduler {
namespace {

namespace core = api::core;

int64_t milli(const std::string& text) { return api::Quantity::of(text).milli_value(); }
int64_t whole(const std::string& text) { return api::Quantity::of(text).value(); }

Resources amounts(const std::map<std::string, std::string>& from) {
  Resources out;
  for (const auto& [name, text] : from) {
    if (name == "cpu") out.cpu = milli(text);
    else if (name == "memory") out.memory = whole(text);
    else if (name == "ephemeral-storage") out.ephemeral = whole(text);
    else if (name == "pods") out.pods = whole(text);
    else if (int64_t n = whole(text); n != 0) out.extended[name] = n;
  }
  return out;
}

Resources requests(const core::Container& c) { return c.resources ? amounts(c.resources->requests) : Resources{}; }

// For scores, a container that asks for nothing is taken to need a little.
Resources scored(const core::Container& c) {
  Resources r = requests(c);
  if (r.cpu == 0) r.cpu = 100;
  if (r.memory == 0) r.memory = 200 * 1024 * 1024;
  return r;
}

template <class F>
Resources sum_of(const core::PodSpec& spec, F of) {
  Resources running;
  for (const auto& c : spec.containers) running.add(of(c));
  // Init containers run one at a time, beside the sidecars (restartPolicy Always) started before them.
  Resources sidecars, peak;
  for (const auto& c : spec.initContainers) {
    Resources r = of(c);
    if (c.restartPolicy == "Always") {
      sidecars.add(r);
      peak.raise_to(sidecars);
    } else {
      r.add(sidecars);
      peak.raise_to(r);
    }
  }
  running.add(sidecars);
  running.raise_to(peak);
  if (spec.resources) {
    Resources pod = amounts(spec.resources->requests);
    if (spec.resources->requests.contains("cpu")) running.cpu = pod.cpu;
    if (spec.resources->requests.contains("memory")) running.memory = pod.memory;
  }
  running.add(amounts(spec.overhead));
  return running;
}

Requirement requirement(const std::string& key, const std::string& op, const std::vector<std::string>& values) {
  using Op = Requirement::Op;
  Op o = op == "In" ? Op::in : op == "NotIn" ? Op::not_in : op == "Exists" ? Op::exists : op == "Gt" ? Op::greater : op == "Lt" ? Op::less : Op::absent;
  return {key, o, values};
}

NodeTerm node_term(const core::NodeSelectorTerm& t, int32_t weight = 0) {
  NodeTerm out;
  for (const auto& e : t.matchExpressions) out.labels.push_back(requirement(e.key, e.operator_, e.values));
  for (const auto& e : t.matchFields) out.fields.push_back(requirement(e.key, e.operator_, e.values));
  out.weight = weight;
  return out;
}

PodTerm pod_term(const core::PodAffinityTerm& t, const core::Pod& pod, int32_t weight = 0) {
  PodTerm out;
  out.pods = translate(t.labelSelector.get());
  for (const auto& key : t.matchLabelKeys)
    if (auto it = pod.metadata.labels.find(key); it != pod.metadata.labels.end())
      out.pods.all.push_back({key, Requirement::Op::in, {it->second}});
  for (const auto& key : t.mismatchLabelKeys)
    if (auto it = pod.metadata.labels.find(key); it != pod.metadata.labels.end())
      out.pods.all.push_back({key, Requirement::Op::not_in, {it->second}});
  out.namespaces.insert(t.namespaces.begin(), t.namespaces.end());
  if (t.namespaceSelector) out.namespace_selector = translate(t.namespaceSelector.get());
  else if (out.namespaces.empty()) out.namespaces.insert(pod.metadata.namespace_);
  out.topology_key = t.topologyKey;
  out.weight = weight;
  return out;
}

void add_affinity(Pod& out, const core::Pod& pod) {
  const core::Affinity& a = *pod.spec.affinity;
  if (a.nodeAffinity) {
    if (const auto& required = a.nodeAffinity->requiredDuringSchedulingIgnoredDuringExecution) {
      out.node_terms.emplace();
      for (const auto& t : required->nodeSelectorTerms) out.node_terms->push_back(node_term(t));
    }
    for (const auto& t : a.nodeAffinity->preferredDuringSchedulingIgnoredDuringExecution)
      out.preferred_nodes.push_back(node_term(t.preference, t.weight));
  }
  auto each = [&](const auto& from, std::vector<PodTerm>& required, std::vector<PodTerm>& preferred) {
    for (const auto& t : from.requiredDuringSchedulingIgnoredDuringExecution) required.push_back(pod_term(t, pod));
    for (const auto& t : from.preferredDuringSchedulingIgnoredDuringExecution)
      preferred.push_back(pod_term(t.podAffinityTerm, pod, t.weight));
  };
  if (a.podAffinity) each(*a.podAffinity, out.affinity, out.preferred_affinity);
  if (a.podAntiAffinity) each(*a.podAntiAffinity, out.anti_affinity, out.preferred_anti_affinity);
}

Spread spread(const core::TopologySpreadConstraint& c, const core::Pod& pod) {
  Spread out;
  out.topology_key = c.topologyKey;
  out.max_skew = c.maxSkew;
  out.hard = c.whenUnsatisfiable != "ScheduleAnyway";
  out.pods = translate(c.labelSelector.get());
  for (const auto& key : c.matchLabelKeys)
    if (auto it = pod.metadata.labels.find(key); it != pod.metadata.labels.end())
      out.pods.all.push_back({key, Requirement::Op::in, {it->second}});
  out.min_domains = c.minDomains.value_or(1);
  out.honor_affinity = c.nodeAffinityPolicy != "Ignore";
  out.honor_taints = c.nodeTaintsPolicy == "Honor";
  return out;
}

}  // namespace

Selector translate(const api::meta::LabelSelector* selector) {
  if (!selector) return {true, {}};
  Selector out;
  for (const auto& [key, value] : selector->matchLabels) out.all.push_back({key, Requirement::Op::in, {value}});
  for (const auto& e : selector->matchExpressions) out.all.push_back(requirement(e.key, e.operator_, e.values));
  return out;
}

Resources requests_of(const core::PodSpec& spec) {
  Resources out = sum_of(spec, requests);
  out.pods = 1;
  return out;
}

Pod translate(const core::Pod& pod) {
  Pod out;
  const auto& m = pod.metadata;
  const auto& s = pod.spec;
  out.ns = m.namespace_;
  out.name = m.name;
  out.uid = m.uid;
  out.labels = m.labels;
  for (const auto& o : m.ownerReferences)
    if (o.controller.value_or(false)) out.owner_uid = o.uid;
  out.node_name = s.nodeName;
  out.nominated_node = pod.status.nominatedNodeName;
  out.scheduler_name = s.schedulerName.empty() ? "default-scheduler" : s.schedulerName;
  out.priority = s.priority.value_or(0);
  out.may_preempt = s.preemptionPolicy != "Never";
  out.terminating = !m.deletionTimestamp.empty();
  out.finished = pod.status.phase == "Succeeded" || pod.status.phase == "Failed";
  out.gated = !s.schedulingGates.empty();
  if (auto t = base::parse_rfc3339(pod.status.startTime.empty() ? m.creationTimestamp : pod.status.startTime))
    out.started = std::chrono::duration_cast<std::chrono::seconds>(t->time_since_epoch()).count();
  out.request = requests_of(s);
  Resources assumed = sum_of(s, scored);
  out.scored_cpu = assumed.cpu;
  out.scored_memory = assumed.memory;
  for (const auto& t : s.tolerations) out.tolerations.push_back({t.key, t.value, t.effect, t.operator_ == "Exists"});
  for (const auto& [key, value] : s.nodeSelector) out.node_selector.push_back({key, Requirement::Op::in, {value}});
  if (s.affinity) add_affinity(out, pod);
  for (const auto& c : s.topologySpreadConstraints) out.spread.push_back(spread(c, pod));
  auto ports = [&](const core::Container& c) {
    for (const auto& p : c.ports) {
      if (p.hostPort.value_or(0) == 0) continue;
      bool everywhere = p.hostIP.empty() || p.hostIP == "0.0.0.0" || p.hostIP == "::";
      out.host_ports.push_back({p.protocol.empty() ? "TCP" : p.protocol, everywhere ? "" : p.hostIP, *p.hostPort});
    }
  };
  for (const auto& c : s.containers) ports(c), out.images.push_back(c.image);
  for (const auto& c : s.initContainers)
    if (c.restartPolicy == "Always") ports(c);
  for (const auto& v : s.volumes)
    if (std::string claim = claim_name(m.name, v); !claim.empty()) out.claims.push_back(std::move(claim));
  for (const auto& c : pod.status.conditions)
    if (c.type == "PodScheduled" && c.status == "False") out.told = c.reason + ": " + c.message;
  return out;
}

Node translate(const core::Node& node) {
  Node out;
  out.name = node.metadata.name;
  out.labels = node.metadata.labels;
  for (const auto& t : node.spec.taints) out.taints.push_back({t.key, t.value, t.effect});
  out.unschedulable = node.spec.unschedulable.value_or(false);
  out.allocatable = amounts(node.status.allocatable.empty() ? node.status.capacity : node.status.allocatable);
  for (const auto& i : node.status.images)
    for (const auto& name : i.names) out.images[name] = i.sizeBytes.value_or(0);
  return out;
}

std::string claim_name(const std::string& pod, const core::Volume& v) {
  if (v.persistentVolumeClaim) return v.persistentVolumeClaim->claimName;
  return v.ephemeral ? pod + "-" + v.name : std::string();
}

namespace {

std::string annotation(const api::meta::ObjectMeta& m, const char* name) {
  auto it = m.annotations.find(name);
  return it == m.annotations.end() ? std::string() : it->second;
}

std::string class_of(const api::meta::ObjectMeta& m, const std::string& named) {
  std::string old = annotation(m, "volume.beta.kubernetes.io/storage-class");
  return old.empty() ? named : old;
}

int64_t storage(const std::map<std::string, std::string>& amounts) {
  auto it = amounts.find("storage");
  return it == amounts.end() ? 0 : whole(it->second);
}

}  // namespace

Claim translate(const core::PersistentVolumeClaim& c) {
  Claim out;
  out.ns = c.metadata.namespace_;
  out.name = c.metadata.name;
  out.uid = c.metadata.uid;
  out.storage_class = class_of(c.metadata, c.spec.storageClassName);
  out.attributes_class = c.spec.volumeAttributesClassName;
  out.volume = c.spec.volumeName;
  out.mode = c.spec.volumeMode.empty() ? "Filesystem" : c.spec.volumeMode;
  out.selected_node = annotation(c.metadata, selected_node);
  out.complete = !out.volume.empty() && !annotation(c.metadata, bind_completed).empty();
  out.deleting = !c.metadata.deletionTimestamp.empty();
  out.lost = c.status.phase == "Lost";
  if (c.spec.resources) out.request = storage(c.spec.resources->requests);
  out.access = c.spec.accessModes;
  if (c.spec.selector) out.labels = translate(c.spec.selector.get());
  return out;
}

Volume translate(const core::PersistentVolume& v) {
  Volume out;
  out.name = v.metadata.name;
  out.version = v.metadata.resourceVersion;
  out.storage_class = class_of(v.metadata, v.spec.storageClassName);
  out.attributes_class = v.spec.volumeAttributesClassName;
  out.mode = v.spec.volumeMode.empty() ? "Filesystem" : v.spec.volumeMode;
  if (v.spec.claimRef) {
    out.claimed = true;
    out.claim_ns = v.spec.claimRef->namespace_;
    out.claim_name = v.spec.claimRef->name;
    out.claim_uid = v.spec.claimRef->uid;
  }
  out.available = v.status.phase == "Available";
  out.deleting = !v.metadata.deletionTimestamp.empty();
  out.capacity = storage(v.spec.capacity);
  out.access = v.spec.accessModes;
  out.labels = v.metadata.labels;
  if (v.spec.nodeAffinity && v.spec.nodeAffinity->required) {
    out.reach.emplace();
    for (const auto& t : v.spec.nodeAffinity->required->nodeSelectorTerms) out.reach->push_back(node_term(t));
  }
  return out;
}

StorageClass translate(const api::storage::StorageClass& c) {
  StorageClass out;
  out.provisioner = c.provisioner;
  out.waits = c.volumeBindingMode == "WaitForFirstConsumer";
  for (const auto& t : c.allowedTopologies) {
    NodeTerm term;
    for (const auto& e : t.matchLabelExpressions) term.labels.push_back({e.key, Requirement::Op::in, e.values});
    out.topologies.push_back(std::move(term));
  }
  return out;
}

Budget translate(const api::policy::PodDisruptionBudget& budget) {
  return {budget.metadata.namespace_, translate(budget.spec.selector.get()), budget.status.disruptionsAllowed.value_or(0)};
}

}  // namespace server::scheduler
