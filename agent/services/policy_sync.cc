#include "agent/services/policy_sync.h"

#include <algorithm>
#include <map>

#include "api/selector.h"
#include "base/log.h"

namespace agent {

using namespace std::chrono_literals;
using base::Task;

namespace {

using api::core::Pod;

std::vector<network::Ip> addresses(const Pod& pod) {
  std::vector<network::Ip> out;
  if (pod.spec.hostNetwork.value_or(false) || pod.status.phase == "Succeeded" || pod.status.phase == "Failed") return out;
  for (const auto& ip : pod.status.podIPs) {
    if (auto a = network::Ip::parse(ip.ip)) out.push_back(*a);
  }
  return out;
}

uint16_t named_port(const Pod& pod, const std::string& name) {
  for (const auto& c : pod.spec.containers)
    for (const auto& p : c.ports)
      if (p.name == name) return static_cast<uint16_t>(p.containerPort);
  return 0;
}

}  // namespace

network::Policy translate_policy(const api::networking::NetworkPolicy& policy, const std::vector<std::shared_ptr<const Pod>>& pods,
                                 const std::vector<std::shared_ptr<const api::core::Namespace>>& namespaces, const std::string& node_name) {
  network::Policy out;
  const std::string& ns = policy.metadata.namespace_;
  out.key = ns + "/" + policy.metadata.name;
  std::vector<std::shared_ptr<const Pod>> selected;
  for (const auto& p : pods) {
    if (p->metadata.namespace_ != ns) continue;
    if (policy.spec.podSelector && !api::selects(*policy.spec.podSelector, p->metadata.labels)) continue;
    selected.push_back(p);
    if (p->spec.nodeName != node_name) continue;
    for (const auto& ip : addresses(*p)) out.pods.push_back(ip);
  }
  const auto& types = policy.spec.policyTypes;
  auto has = [&](const char* t) { return std::find(types.begin(), types.end(), t) != types.end(); };
  out.ingress = types.empty() || has("Ingress");
  out.egress = types.empty() ? !policy.spec.egress.empty() : has("Egress");

  std::map<std::string, const api::core::Namespace*> by_name;
  for (const auto& n : namespaces) by_name[n->metadata.name] = n.get();
  auto matching = [&](const api::networking::NetworkPolicyPeer& peer) {
    std::vector<std::shared_ptr<const Pod>> found;
    for (const auto& p : pods) {
      if (peer.namespaceSelector) {
        auto it = by_name.find(p->metadata.namespace_);
        if (it == by_name.end() || !api::selects(*peer.namespaceSelector, it->second->metadata.labels)) continue;
      } else if (p->metadata.namespace_ != ns) {
        continue;
      }
      if (peer.podSelector && !api::selects(*peer.podSelector, p->metadata.labels)) continue;
      found.push_back(p);
    }
    return found;
  };
  auto rules = [&](const std::vector<api::networking::NetworkPolicyPeer>& peers,
                   const std::vector<api::networking::NetworkPolicyPort>& ports, bool incoming) {
    network::PolicyRule rule;
    rule.any_peer = peers.empty();
    std::vector<std::shared_ptr<const Pod>> peer_pods;
    for (const auto& peer : peers) {
      if (peer.ipBlock) {
        if (auto c = network::Cidr::parse(peer.ipBlock->cidr)) rule.cidrs.push_back(*c);
        for (const auto& e : peer.ipBlock->except) {
          if (auto c = network::Cidr::parse(e)) rule.except.push_back(*c);
        }
        continue;
      }
      for (const auto& p : matching(peer)) {
        peer_pods.push_back(p);
        for (const auto& ip : addresses(*p)) rule.peers.push_back(ip);
      }
    }
    std::sort(rule.peers.begin(), rule.peers.end());
    rule.peers.erase(std::unique(rule.peers.begin(), rule.peers.end()), rule.peers.end());
    bool named_without_pod = false;
    for (const auto& p : ports) {
      network::PolicyPort port;
      auto protocol = network::parse_protocol(p.protocol);
      if (!protocol) continue;
      port.protocol = *protocol;
      if (p.port && p.port->is_string) {
        // A name means what it means in the pods that are connected to: ours coming in, the peers going out.
        const auto& where = incoming ? selected : rule.any_peer ? pods : peer_pods;
        bool any = false;
        for (const auto& pod : where) {
          port.port = named_port(*pod, p.port->text);
          if (port.port && std::find(rule.ports.begin(), rule.ports.end(), port) == rule.ports.end()) rule.ports.push_back(port);
          any = any || port.port;
        }
        named_without_pod = named_without_pod || !any;
        continue;
      }
      if (p.port && p.port->has_value()) port.port = static_cast<uint16_t>(p.port->number);
      port.end_port = static_cast<uint16_t>(p.endPort.value_or(0));
      rule.ports.push_back(port);
    }
    // Without a port that exists the rule allows nothing; an empty list would allow all.
    bool nothing = !ports.empty() && rule.ports.empty();
    (void)named_without_pod;
    return nothing ? std::optional<network::PolicyRule>() : std::optional<network::PolicyRule>(std::move(rule));
  };
  if (out.ingress) {
    for (const auto& r : policy.spec.ingress) {
      if (auto rule = rules(r.from, r.ports, true)) out.ingress_rules.push_back(std::move(*rule));
    }
  }
  if (out.egress) {
    for (const auto& r : policy.spec.egress) {
      if (auto rule = rules(r.to, r.ports, false)) out.egress_rules.push_back(std::move(*rule));
    }
  }
  return out;
}

PolicySync::PolicySync(base::Runtime&, api::Informers& informers, std::string node_name)
    : informers_(informers), node_name_(std::move(node_name)), policies_(informers.get<api::networking::NetworkPolicy>()),
      namespaces_(informers.get<api::core::Namespace>()) {
  policies_.on_change([this](const auto&, const auto&) { changed_.notify(); });
  namespaces_.on_change([this](const auto& before, const auto& after) {
    if (before && after && before->metadata.labels == after->metadata.labels) return;
    changed_.notify();
  });
}

Task<base::Result<>> PolicySync::cover(std::shared_ptr<const Pod> pod, std::vector<std::string> ips) {
  bool selected = false;
  for (const auto& p : policies_.list()) {
    if (p->metadata.namespace_ != pod->metadata.namespace_) continue;
    selected = selected || !p->spec.podSelector || api::selects(*p->spec.podSelector, pod->metadata.labels);
  }
  if (!network_ || !selected) co_return base::Result<>{};
  auto known = std::make_shared<Pod>(*pod);
  known->status.podIPs.clear();
  for (auto& ip : ips) known->status.podIPs.emplace_back().ip = std::move(ip);
  const std::string uid = pod->metadata.uid;
  const base::TimePoint now = base::Clock::now();
  {
    std::scoped_lock lock(mutex_);
    beginning_[uid] = {known, now};
  }
  changed_.notify();
  for (bool in_time = true; in_time;) {
    uint64_t seen = covered_.version();
    {
      std::scoped_lock lock(mutex_);
      auto it = beginning_.find(uid);
      if (it == beginning_.end() || it->second.covered) co_return base::Result<>{};
    }
    in_time = co_await covered_.wait(seen, now + 10s);
  }
  co_return base::unavailable("the network policies of the pod are not in place");
}

void PolicySync::add_beginning(std::vector<std::shared_ptr<const Pod>>& pods) {
  std::scoped_lock lock(mutex_);
  std::erase_if(beginning_, [](const auto& b) { return base::Clock::now() - b.second.since > 1min; });
  for (auto& [uid, b] : beginning_) {
    auto it = std::find_if(pods.begin(), pods.end(), [&](const auto& p) { return p->metadata.uid == uid; });
    if (it == pods.end()) pods.push_back(b.pod);
    else if ((*it)->status.podIPs.empty()) *it = b.pod;
  }
}

Task<> PolicySync::run() {
  co_await policies_.wait_synced();
  co_await namespaces_.wait_synced();
  bool any_before = true;  // what an earlier process left is replaced once
  for (;;) {
    uint64_t seen = changed_.version();
    auto policies = policies_.list();
    if (!policies.empty() && !pods_) {
      // A selector that every pod matches makes it another informer than the one of this node's pods.
      pods_ = &informers_.get<Pod>();
      pods_->on_change([this](const auto& before, const auto& after) {
        if (before && after && before->metadata.labels == after->metadata.labels && before->status.podIPs == after->status.podIPs &&
            before->status.phase == after->status.phase && before->spec.nodeName == after->spec.nodeName) {
          return;
        }
        changed_.notify();
      });
      co_await pods_->wait_synced();
    }
    if (network_ && (!policies.empty() || any_before)) {
      std::vector<std::shared_ptr<const Pod>> pods;
      if (pods_) pods = pods_->list();
      add_beginning(pods);
      auto namespaces = namespaces_.list();
      std::vector<network::Policy> list;
      for (const auto& p : policies) list.push_back(translate_policy(*p, pods, namespaces, node_name_));
      auto set = co_await base::offload([n = network_, list = std::move(list)]() mutable { return n->replace(std::move(list)); });
      if (!set) {
        base::log::warn("agent", "network policies: {}", set.error().message);
        co_await base::sleep_for(1s);
        continue;
      }
      any_before = !policies.empty();
      {
        std::scoped_lock lock(mutex_);
        for (auto& [uid, b] : beginning_)
          b.covered =
              b.covered || std::find(pods.begin(), pods.end(), b.pod) != pods.end() ||
              std::any_of(pods.begin(), pods.end(), [&](const auto& p) { return p->metadata.uid == uid && !p->status.podIPs.empty(); });
      }
      covered_.notify();
    }
    // Many pods change at once; policies follow a moment later.
    co_await changed_.wait(seen);
    co_await base::sleep_for(5ms);
  }
}

}  // namespace agent
