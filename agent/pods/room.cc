#include "agent/pods/room.h"

#include <algorithm>
#include <array>
#include <charconv>

#include <fmt/format.h>

#include "agent/pods/status.h"
#include "api/quantity.h"

namespace agent {

namespace {

std::vector<std::string> host_ports(const api::core::Pod& pod) {
  std::vector<std::string> out;
  auto add = [&](const api::core::Container& c) {
    for (const auto& p : c.ports) {
      if (p.hostPort.value_or(0) <= 0) continue;
      out.push_back(fmt::format("{}/{}/{}", p.protocol.empty() ? "TCP" : p.protocol, p.hostIP.empty() ? "0.0.0.0" : p.hostIP, *p.hostPort));
    }
  };
  for (const auto& c : pod.spec.containers) add(c);
  for (const auto& c : pod.spec.initContainers) {
    if (is_sidecar(c)) add(c);
  }
  return out;
}

// One address of all is in the way of every single one.
bool conflict(const std::string& a, const std::string& b) {
  auto parts = [](const std::string& s) {
    size_t one = s.find('/'), two = s.rfind('/');
    return std::array<std::string_view, 3>{std::string_view(s).substr(0, one), std::string_view(s).substr(one + 1, two - one - 1),
                                           std::string_view(s).substr(two + 1)};
  };
  auto x = parts(a), y = parts(b);
  return x[0] == y[0] && x[2] == y[2] && (x[1] == y[1] || x[1] == "0.0.0.0" || y[1] == "0.0.0.0");
}

std::optional<int64_t> number(const std::string& s) {
  int64_t n = 0;
  auto [end, ec] = std::from_chars(s.data(), s.data() + s.size(), n);
  return ec == std::errc() && end == s.data() + s.size() ? std::optional(n) : std::nullopt;
}

bool meets(const api::core::NodeSelectorRequirement& r, const std::string* value) {
  bool in = value && std::find(r.values.begin(), r.values.end(), *value) != r.values.end();
  if (r.operator_ == "In") return in;
  if (r.operator_ == "NotIn") return !in;
  if (r.operator_ == "Exists") return value != nullptr;
  if (r.operator_ == "DoesNotExist") return value == nullptr;
  if (r.operator_ != "Gt" && r.operator_ != "Lt") return false;
  auto have = value ? number(*value) : std::nullopt, bound = r.values.empty() ? std::nullopt : number(r.values[0]);
  return have && bound && (r.operator_ == "Gt" ? *have > *bound : *have < *bound);
}

int64_t whole(const std::map<std::string, std::string>& from, const char* name, bool milli = false) {
  auto it = from.find(name);
  if (it == from.end()) return 0;
  auto q = api::Quantity::of(it->second);
  return milli ? q.milli_value() : q.value();
}

}  // namespace

std::optional<std::string> forbidden_sysctl(const api::core::Pod& pod) {
  if (!pod.spec.securityContext) return std::nullopt;
  bool own_network = !pod.spec.hostNetwork.value_or(false), own_ipc = !pod.spec.hostIPC.value_or(false);
  for (const auto& s : pod.spec.securityContext->sysctls) {
    std::string name = s.name;
    std::replace(name.begin(), name.end(), '/', '.');
    bool network = name.starts_with("net.");
    bool ipc = name.starts_with("kernel.shm") || name.starts_with("kernel.msg") || name == "kernel.sem" || name.starts_with("fs.mqueue.");
    if (!(network && own_network) && !(ipc && own_ipc)) return s.name;
  }
  return std::nullopt;
}

bool selects_node(const api::core::Pod& pod, const api::core::Node& node) {
  const auto& labels = node.metadata.labels;
  auto label = [&](const std::string& key) {
    auto it = labels.find(key);
    return it == labels.end() ? nullptr : &it->second;
  };
  for (const auto& [key, value] : pod.spec.nodeSelector) {
    const std::string* have = label(key);
    if (!have || *have != value) return false;
  }
  if (!pod.spec.affinity || !pod.spec.affinity->nodeAffinity ||
      !pod.spec.affinity->nodeAffinity->requiredDuringSchedulingIgnoredDuringExecution)
    return true;
  const auto& terms = pod.spec.affinity->nodeAffinity->requiredDuringSchedulingIgnoredDuringExecution->nodeSelectorTerms;
  return std::any_of(terms.begin(), terms.end(), [&](const api::core::NodeSelectorTerm& t) {
    if (t.matchExpressions.empty() && t.matchFields.empty()) return false;
    return std::all_of(t.matchExpressions.begin(), t.matchExpressions.end(), [&](const auto& r) { return meets(r, label(r.key)); }) &&
           std::all_of(t.matchFields.begin(), t.matchFields.end(),
                       [&](const auto& r) { return r.key == "metadata.name" && meets(r, &node.metadata.name); });
  });
}

Room::Room(std::map<std::string, std::string> allocatable)
    : capacity_{whole(allocatable, "cpu", true), whole(allocatable, "memory"), whole(allocatable, "ephemeral-storage")},
      max_pods_(whole(allocatable, "pods")) {}

PodRequest Room::used_by_others(const std::string& uid) const {
  PodRequest sum;
  for (const auto& [id, share] : shares_) {
    if (id == uid) continue;
    sum.cpu_milli += share.request.cpu_milli;
    sum.memory_bytes += share.request.memory_bytes;
    sum.ephemeral_bytes += share.request.ephemeral_bytes;
  }
  return sum;
}

std::optional<Room::Lack> Room::lacking(const PodRequest& r, const PodRequest& used) const {
  const Lack all[] = {{"cpu", r.cpu_milli, used.cpu_milli, capacity_.cpu_milli},
                      {"memory", r.memory_bytes, used.memory_bytes, capacity_.memory_bytes},
                      {"ephemeral-storage", r.ephemeral_bytes, used.ephemeral_bytes, capacity_.ephemeral_bytes}};
  for (const Lack& l : all) {
    if (l.requested > 0 && l.requested > l.capacity - l.used) return l;
  }
  return std::nullopt;
}

std::optional<Refusal> Room::take(const api::core::Pod& pod, const api::core::Node* node) {
  const std::string& uid = pod.metadata.uid;
  if (auto name = forbidden_sysctl(pod)) {
    return Refusal{"SysctlForbidden", fmt::format("forbidden sysctl: \"{}\" does not belong to a namespace of the pod", *name)};
  }
  if (node && !selects_node(pod, *node)) {
    return Refusal{"NodeAffinity", "Pod was rejected: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"};
  }
  Share mine{pod_request(pod), host_ports(pod)};
  std::scoped_lock lock(mutex_);
  std::optional<Lack> lack = lacking(mine.request, used_by_others(uid));
  auto others = static_cast<int64_t>(shares_.size() - shares_.count(uid));
  if (!lack && max_pods_ > 0 && others >= max_pods_) lack = Lack{"pods", 1, others, max_pods_};
  if (lack) {
    return Refusal{"OutOf" + lack->resource,
                   fmt::format("Pod was rejected: Node didn't have enough resource: {}, requested: {}, used: {}, capacity: {}",
                               lack->resource, lack->requested, lack->used, lack->capacity)};
  }
  for (const auto& [id, share] : shares_) {
    if (id == uid) continue;
    for (const auto& p : mine.ports) {
      if (std::any_of(share.ports.begin(), share.ports.end(), [&](const auto& q) { return conflict(p, q); })) {
        return Refusal{"NodePorts",
                       "Pod was rejected: Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"};
      }
    }
  }
  shares_[uid] = std::move(mine);
  return std::nullopt;
}

void Room::keep(const api::core::Pod& pod) {
  Share share{pod_request(pod), host_ports(pod)};
  std::scoped_lock lock(mutex_);
  shares_[pod.metadata.uid] = std::move(share);
}

std::optional<Refusal> Room::change(const api::core::Pod& pod) {
  PodRequest wanted = pod_request(pod);
  std::scoped_lock lock(mutex_);
  auto& share = shares_[pod.metadata.uid];
  // Less is always possible: only what grows is measured.
  PodRequest grown{wanted.cpu_milli > share.request.cpu_milli ? wanted.cpu_milli : 0,
                   wanted.memory_bytes > share.request.memory_bytes ? wanted.memory_bytes : 0, 0};
  if (auto never = lacking(grown, {})) {
    return Refusal{"Infeasible", fmt::format("Node didn't have enough capacity: {}, requested: {}, capacity: {}", never->resource,
                                             never->requested, never->capacity)};
  }
  if (auto now = lacking(grown, used_by_others(pod.metadata.uid))) {
    return Refusal{"Deferred", fmt::format("Node didn't have enough resource: {}, requested: {}, used: {}, capacity: {}", now->resource,
                                           now->requested, now->used, now->capacity)};
  }
  share.request = wanted;
  return std::nullopt;
}

void Room::release(const std::string& uid) {
  std::scoped_lock lock(mutex_);
  shares_.erase(uid);
}

}  // namespace agent
