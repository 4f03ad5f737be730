#include "agent/node/node_object.h"

#include <algorithm>

#include <fmt/format.h>

#include "agent/streams/scope.h"
#include "agent/volumes/local_volumes.h"
#include "api/types/coordination_v1.h"
#include "base/json.h"
#include "base/log.h"
#include "base/time.h"

namespace agent {

using namespace std::chrono_literals;

namespace {

constexpr int kLeaseSeconds = 40;
constexpr auto kLeaseEvery = 10s;

void set_condition(std::vector<api::core::NodeCondition>& to, const api::core::NodeStatus& before, const std::string& type, bool value,
                   std::string reason, std::string message, const std::string& now) {
  api::core::NodeCondition c;
  c.type = type;
  c.status = value ? "True" : "False";
  c.reason = std::move(reason);
  c.message = std::move(message);
  c.lastHeartbeatTime = now;
  c.lastTransitionTime = now;
  for (const auto& b : before.conditions) {
    if (b.type == type && b.status == c.status && !b.lastTransitionTime.empty()) c.lastTransitionTime = b.lastTransitionTime;
  }
  to.push_back(std::move(c));
}

// Equal but for the heartbeat.
bool same(api::core::NodeStatus a, api::core::NodeStatus b) {
  for (auto* s : {&a, &b}) {
    for (auto& c : s->conditions) c.lastHeartbeatTime.clear();
  }
  return a == b;
}

}  // namespace

Result<api::core::Taint> parse_taint(const std::string& text) {
  api::core::Taint t;
  size_t colon = text.rfind(':');
  if (colon == std::string::npos) return base::bad_request(fmt::format("taint \"{}\" is not key=value:Effect", text));
  t.effect = text.substr(colon + 1);
  std::string rest = text.substr(0, colon);
  size_t equal = rest.find('=');
  t.key = rest.substr(0, equal);
  if (equal != std::string::npos) t.value = rest.substr(equal + 1);
  if (t.key.empty() || (t.effect != "NoSchedule" && t.effect != "PreferNoSchedule" && t.effect != "NoExecute")) {
    return base::bad_request(fmt::format("taint \"{}\" is not key=value:Effect with NoSchedule, PreferNoSchedule or NoExecute", text));
  }
  return t;
}

std::map<std::string, std::string> node_labels(const AgentOptions& options, const Machine& machine) {
  std::map<std::string, std::string> l = options.labels;
  l["kubernetes.io/hostname"] = options.node_name;
  l["kubernetes.io/os"] = l["beta.kubernetes.io/os"] = "linux";
  l["kubernetes.io/arch"] = l["beta.kubernetes.io/arch"] = machine.architecture;
  if (options.control_plane) l["node-role.kubernetes.io/control-plane"] = "true";
  return l;
}

std::map<std::string, std::string> node_capacity(const AgentOptions& options, const NodeFacts& f, bool allocatable) {
  std::map<std::string, std::string> c;
  // The system keeps what eviction would defend: 100 MiB of memory, a tenth of the disk.
  uint64_t memory = f.machine.memory_bytes, disk = f.disk_bytes;
  if (allocatable) {
    memory = memory > (200u << 20) ? memory - (100u << 20) : memory;
    disk = disk / 10 * 9;
  }
  c["cpu"] = std::to_string(f.machine.cpus);
  c["memory"] = fmt::format("{}Ki", memory / 1024);
  c["ephemeral-storage"] = allocatable ? std::to_string(disk) : fmt::format("{}Ki", disk / 1024);
  c["pods"] = std::to_string(options.max_pods);
  c["hugepages-2Mi"] = "0";
  c["hugepages-1Gi"] = "0";
  return c;
}

api::core::NodeStatus make_node_status(const AgentOptions& options, const NodeFacts& f, const api::core::NodeStatus& before,
                                       const std::string& now) {
  api::core::NodeStatus s;
  s.capacity = node_capacity(options, f, false);
  s.allocatable = node_capacity(options, f, true);
  s.allocatable.insert(f.extended.begin(), f.extended.end());
  for (const auto& a : f.addresses) s.addresses.push_back({"InternalIP", a});
  s.addresses.push_back({"Hostname", options.node_name});
  auto& info = s.nodeInfo.emplace();
  info.machineID = f.machine.machine_id;
  info.systemUUID = f.machine.system_uuid;
  info.bootID = f.machine.boot_id;
  info.kernelVersion = f.machine.kernel_version;
  info.osImage = f.machine.os_image;
  info.containerRuntimeVersion = "appliance://" + (options.version.find('+') == std::string::npos
                                                       ? options.version
                                                       : options.version.substr(options.version.find('+') + 1));
  info.kubeletVersion = options.version;
  info.kubeProxyVersion = options.version;
  info.operatingSystem = "linux";
  info.architecture = f.machine.architecture;
  auto& c = s.conditions;
  auto pressure = [&](const char* type, bool on, const char* yes, const char* no, const char* what_yes, const char* what_no) {
    set_condition(c, before, type, on, on ? yes : no, on ? what_yes : what_no, now);
  };
  pressure("MemoryPressure", f.pressure.memory, "NodeHasInsufficientMemory", "NodeHasSufficientMemory",
           "node has insufficient memory available", "node has sufficient memory available");
  pressure("DiskPressure", f.pressure.disk, "NodeHasDiskPressure", "NodeHasNoDiskPressure", "node has disk pressure",
           "node has no disk pressure");
  pressure("PIDPressure", f.pressure.pids, "NodeHasInsufficientPID", "NodeHasSufficientPID", "node has insufficient PID available",
           "node has sufficient PID available");
  if (f.network_ready) {
    set_condition(c, before, "Ready", true, "AgentReady", "the agent is posting ready status", now);
  } else {
    set_condition(c, before, "Ready", false, "NetworkNotReady",
                  f.network_message.empty() ? "the network of the node is being set up" : f.network_message, now);
  }
  s.images = f.images;
  return s;
}

NodeObject::NodeObject(base::Runtime& runtime, api::Client& client, const AgentOptions& options)
    : runtime_(runtime), client_(client), options_(options) {}
NodeObject::~NodeObject() = default;

NodeFacts NodeObject::facts() const {
  std::scoped_lock lock(mutex_);
  return facts_;
}

std::map<std::string, std::string> NodeObject::allocatable() const { return node_capacity(options_, facts(), true); }

void NodeObject::set_facts(std::function<void(NodeFacts&)> change) {
  {
    std::scoped_lock lock(mutex_);
    change(facts_);
  }
  changed_.notify();
}

void NodeObject::follow(const api::core::Node& node) {
  std::map<std::string, std::string> extended;
  for (const auto& [name, amount] : node.status.capacity)
    if (name.find('/') != std::string::npos) extended.emplace(name, amount);
  if (facts().extended != extended) set_facts([&](NodeFacts& f) { f.extended = std::move(extended); });
}

Task<Result<std::string>> NodeObject::register_node(NodeFacts facts) {
  {
    std::scoped_lock lock(mutex_);
    facts_ = facts;
  }
  const auto labels = node_labels(options_, facts.machine);
  // Where volumes of local-path are: the server cannot know this node's directories.
  const std::map<std::string, std::string> annotations{{"volumes.kubernetes.io/controller-managed-attach-detach", "true"},
                                                       {"appliance.dev/storage-dir", storage_directory(options_.data_dir)}};
  const api::ObjectKey key{{}, options_.node_name};
  base::Duration wait = 200ms;
  bool told = false;
  for (;;) {
    auto node = co_await api::get<api::core::Node>(client_, key);
    if (!node && base::is_not_found(node.error())) {
      api::core::Node fresh;
      fresh.metadata.name = options_.node_name;
      fresh.metadata.labels = labels;
      fresh.metadata.annotations = annotations;
      for (const auto& t : options_.taints) {
        CO_TRY(auto taint, parse_taint(t));
        fresh.spec.taints.push_back(std::move(taint));
      }
      fresh.status = make_node_status(options_, facts, {}, base::now_rfc3339());
      node = co_await api::create(client_, std::move(fresh));
    }
    if (node) {
      uid_ = node->metadata.uid;
      auto missing = [](const std::map<std::string, std::string>& wanted, const std::map<std::string, std::string>& have) {
        base::json::object out;
        for (const auto& [k, v] : wanted)
          if (auto it = have.find(k); it == have.end() || it->second != v) out[k] = v;
        return out;
      };
      base::json::object changed = missing(labels, node->metadata.labels), notes = missing(annotations, node->metadata.annotations);
      if (!changed.empty() || !notes.empty()) {
        base::json::object patch{{"metadata", base::json::object{{"labels", std::move(changed)}, {"annotations", std::move(notes)}}}};
        auto patched = co_await api::patch<api::core::Node>(client_, key, api::PatchType::merge, base::to_text(patch));
        if (!patched) base::log::warn("agent", "labelling the node: {}", patched.error().message);
      }
      follow(*node);
      sent_ = node->status;
      if (!node->spec.podCIDR.empty()) co_return node->spec.podCIDR;
      if (!told) base::log::info("agent", "waiting for a pod prefix");
      told = true;
    } else {
      const base::Error& e = node.error();
      if (e.code == 400 || e.code == 422 || e.code == 403) co_return std::unexpected(e);
      base::log::warn("agent", "registering the node: {}", e.message);
    }
    co_await base::sleep_for(wait);
    wait = std::min<base::Duration>(wait * 2, 5s);
  }
}

Task<> NodeObject::run() {
  co_await with_children(runtime_, [this](base::Tasks& children) -> Task<> {
    auto strand = co_await base::this_executor();
    children.spawn("node lease", strand, leases());
    co_await statuses();
  });
}

Task<> NodeObject::leases() {
  for (;;) {
    auto r = co_await renew_lease();
    if (!r) {
      base::log::warn("agent", "renewing the node's lease: {}", r.error().message);
      co_await base::sleep_for(2s);
      continue;
    }
    co_await base::sleep_for(kLeaseEvery);
  }
}

Task<Result<>> NodeObject::renew_lease() {
  const api::ObjectKey key{"kube-node-lease", options_.node_name};
  api::coordination::Lease lease;
  lease.metadata.name = key.name;
  lease.metadata.namespace_ = key.ns;
  lease.spec.holderIdentity = options_.node_name;
  lease.spec.leaseDurationSeconds = kLeaseSeconds;
  lease.spec.renewTime = base::rfc3339_micro(base::WallClock::now());
  if (!uid_.empty()) {
    api::meta::OwnerReference owner;
    owner.apiVersion = "v1";
    owner.kind = "Node";
    owner.name = options_.node_name;
    owner.uid = uid_;
    lease.metadata.ownerReferences.push_back(std::move(owner));
  }
  if (!lease_version_.empty()) {
    lease.metadata.resourceVersion = lease_version_;
    auto updated = co_await api::update(client_, lease);
    if (updated) {
      lease_version_ = updated->metadata.resourceVersion;
      co_return Result<>{};
    }
    lease_version_.clear();
    if (!base::is_not_found(updated.error()) && !base::is_conflict(updated.error())) co_return std::unexpected(updated.error());
    lease.metadata.resourceVersion.clear();
  }
  auto there = co_await api::get<api::coordination::Lease>(client_, key);
  if (there) {
    there->spec = lease.spec;
    there->metadata.ownerReferences = lease.metadata.ownerReferences;
    auto updated = co_await api::update(client_, std::move(*there));
    if (!updated) co_return std::unexpected(std::move(updated).error());
    lease_version_ = updated->metadata.resourceVersion;
    co_return Result<>{};
  }
  if (!base::is_not_found(there.error())) co_return std::unexpected(std::move(there).error());
  auto created = co_await api::create(client_, std::move(lease));
  if (!created) co_return std::unexpected(std::move(created).error());
  lease_version_ = created->metadata.resourceVersion;
  co_return Result<>{};
}

Task<> NodeObject::statuses() {
  base::Duration retry = 500ms;
  for (;;) {
    uint64_t seen = changed_.version();
    auto r = co_await write_status();
    if (!r) {
      base::log::warn("agent", "writing the node's status: {}", r.error().message);
      if (base::is_not_found(r.error())) {
        // Someone deleted the Node: a node that runs belongs into the list.
        auto again = co_await register_node(facts());
        (void)again;
      }
      co_await base::sleep_for(retry);
      retry = std::min<base::Duration>(retry * 2, 10s);
      continue;
    }
    retry = 500ms;
    co_await changed_.wait(seen);
  }
}

Task<Result<>> NodeObject::write_status() {
  auto status = make_node_status(options_, facts(), sent_, base::now_rfc3339());
  if (sent_once_ && same(status, sent_)) co_return Result<>{};
  base::json::object patch;
  base::json::value text = api::encode_json(status);
  // Addresses are merged by type: say that this list is all there is.
  if (auto* o = text.if_object()) {
    base::json::array addresses;
    if (auto* a = o->if_contains("addresses"); a && a->is_array()) addresses = a->as_array();
    addresses.insert(addresses.begin(), base::json::object{{"$patch", "replace"}});
    (*o)["addresses"] = std::move(addresses);
    // Maps are merged: what is gone must be said.
    for (const auto& [name, amount] : sent_.allocatable)
      if (!status.allocatable.contains(name)) (*o)["allocatable"].as_object()[name] = nullptr;
    if (!o->contains("images")) (*o)["images"] = base::json::array();
  }
  patch["status"] = std::move(text);
  api::WriteOptions options;
  options.subresource = "status";
  auto r = co_await api::patch<api::core::Node>(client_, api::ObjectKey{{}, options_.node_name}, api::PatchType::strategic,
                                                base::to_text(patch), std::move(options));
  if (!r) co_return std::unexpected(std::move(r).error());
  sent_ = std::move(status);
  sent_once_ = true;
  co_return Result<>{};
}

}  // namespace agent
