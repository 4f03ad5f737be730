#include "network/policy.h"

#include <algorithm>
#include <map>
#include <set>

#include <fmt/format.h>

#include "base/bytes.h"
#include "network/parts.h"
#include "network/policy_model.h"

namespace network {
namespace {

using nft::Key;
using nft::Rule;
using nft::Transaction;

nft::SetSpec spec(const std::string& name, bool intervals, uint32_t id) {
  return {.name = name, .id = id, .key_type = nft::kTypeAddress, .key_size = 4, .intervals = intervals};
}

void add_ranges(Transaction& t, const std::string& set, const std::vector<AddressRange>& ranges) {
  for (auto& r : ranges) {
    Key low = Key().address(Ip::v4(r.first));
    if (r.last == UINT32_MAX)
      t.add_interval(set, low, {});
    else
      t.add_interval(set, low, Key().address(Ip::v4(r.last + 1)));
  }
}

class PoliciesImpl final : public Policies {
 public:
  explicit PoliciesImpl(Firewall& firewall) : firewall_(firewall) {
    part_ = firewall_.add_part({{"policy_ingress", "policy_egress"}, {"ingress_", "egress_", "peers_", "nets_"}, [this](Transaction& t) {
                                  difference(t, {}, model_);
                                }});
  }

  base::Result<> replace(std::vector<Policy> policies) override {
    std::scoped_lock lock(firewall_.mutex());
    policies_.clear();
    return update(std::move(policies), {});
  }

  base::Result<> update(std::vector<Policy> changed, const std::vector<std::string>& removed_keys) override {
    std::scoped_lock lock(firewall_.mutex());
    for (auto& key : removed_keys) policies_.erase(key);
    for (auto& p : changed) {
      std::string key = p.key;
      policies_[key] = std::move(p);
    }
    auto before = std::exchange(model_, model_of(policies_));
    auto t = firewall_.transaction();
    difference(t, before, model_);
    return firewall_.commit(part_, t);
  }

 private:
  static void difference(Transaction& t, const PolicyModel& from, const PolicyModel& to);

  Firewall& firewall_;  // whose mutex guards all below
  int part_ = 0;
  std::map<std::string, Policy> policies_;
  PolicyModel model_;
};

template <class Map>
const typename Map::mapped_type* find(const Map& map, const typename Map::key_type& key) {
  auto it = map.find(key);
  return it == map.end() ? nullptr : &it->second;
}

// Order: what refers to something is written after it and removed before it.
void PoliciesImpl::difference(Transaction& t, const PolicyModel& from, const PolicyModel& to) {
  uint32_t id = 1000;
  for (auto& [name, addresses] : to.addresses) {
    auto* old = find(from.addresses, name);
    if (!old) t.add_set(spec(name, false, ++id));
    for (auto a : addresses)
      if (!old || !old->contains(a)) t.add_element(name, Key().address(Ip::v4(a)));
    if (!old) continue;
    for (auto a : *old)
      if (!addresses.contains(a)) t.delete_element(name, Key().address(Ip::v4(a)));
  }
  for (auto& [name, ranges] : to.ranges) {
    auto* old = find(from.ranges, name);
    if (old && *old == ranges) continue;
    if (!old)
      t.add_set(spec(name, true, ++id));
    else
      t.flush_set(name);
    add_ranges(t, name, ranges);
  }
  for (auto& [name, rules] : to.chains) {
    auto* old = find(from.chains, name);
    if (old && *old == rules) continue;
    if (!old)
      t.add_chain(name);
    else
      t.flush_chain(name);
    for (auto& rule : rules) t.add_rule(name, rule);
  }
  for (int egress = 0; egress < 2; ++egress) {
    const char* map = egress ? "policy_egress" : "policy_ingress";
    for (auto& [pod, chain] : from.pods[egress])
      if (auto* now = find(to.pods[egress], pod); !now || *now != chain) t.delete_element(map, Key().address(Ip::v4(pod)));
    for (auto& [pod, chain] : to.pods[egress])
      if (auto* old = find(from.pods[egress], pod); !old || *old != chain) t.add_jump_element(map, Key().address(Ip::v4(pod)), chain);
  }
  for (auto& [name, rules] : from.chains)
    if (!to.chains.contains(name)) {
      t.flush_chain(name);
      t.delete_chain(name);
    }
  for (auto& [name, addresses] : from.addresses)
    if (!to.addresses.contains(name)) t.delete_set(name);
  for (auto& [name, ranges] : from.ranges)
    if (!to.ranges.contains(name)) t.delete_set(name);
}

}  // namespace

namespace {

// Ranges of a without what b covers. Both become sorted and merged.
std::vector<AddressRange> merged(const std::vector<Cidr>& cidrs) {
  std::vector<AddressRange> all, out;
  for (auto& c : cidrs) {
    if (!c.ip.is_v4()) continue;
    uint32_t first = c.ip.host_order();
    all.push_back({first, c.bits == 0 ? UINT32_MAX : c.bits == 32 ? first : first | 0xffffffffu >> c.bits});
  }
  std::ranges::sort(all);
  for (auto& r : all) {
    if (!out.empty() && (r.first <= out.back().last || r.first == out.back().last + 1))
      out.back().last = std::max(out.back().last, r.last);
    else
      out.push_back(r);
  }
  return out;
}

}  // namespace

std::vector<AddressRange> without(const std::vector<Cidr>& cidrs, const std::vector<Cidr>& except) {
  std::vector<AddressRange> out;
  auto holes = merged(except);
  for (auto r : merged(cidrs)) {
    bool gone = false;
    for (auto& h : holes) {
      if (h.last < r.first || h.first > r.last) continue;
      if (h.first > r.first) out.push_back({r.first, h.first - 1});
      if (h.last >= r.last) {
        gone = true;
        break;
      }
      r.first = h.last + 1;
    }
    if (!gone) out.push_back(r);
  }
  return out;
}

namespace {

// The rules that let pass what one rule of a policy allows. `egress`: the peer is the destination.
void add_rules(PolicyModel& m, std::vector<std::string>& chain, const std::string& name, const PolicyRule& rule, bool egress) {
  std::vector<Rule> peers;
  auto peer = [&](Rule& r) -> Rule& { return egress ? r.destination(0) : r.source(0); };
  if (rule.any_peer) {
    peers.emplace_back();
  } else {
    std::set<uint32_t> addresses;
    for (auto& ip : rule.peers)
      if (ip.is_v4()) addresses.insert(ip.host_order());
    // An empty set stays: pods that come are elements, not a new rule.
    if (!addresses.empty() || rule.cidrs.empty()) {
      m.addresses["peers_" + name] = std::move(addresses);
      peer(peers.emplace_back()).lookup("peers_" + name, 0);
    }
    if (auto ranges = without(rule.cidrs, rule.except); !ranges.empty()) {
      m.ranges["nets_" + name] = std::move(ranges);
      peer(peers.emplace_back()).lookup("nets_" + name, 0);
    }
  }
  for (auto& p : peers) {
    if (rule.ports.empty()) chain.push_back(Rule(p).leave().expressions().bytes());
    for (auto& port : rule.ports) {
      Rule r(p);
      r.protocol(0).equals8(0, static_cast<uint8_t>(port.protocol));
      if (port.port && port.end_port > port.port)
        r.destination_port(0).between_be16(0, port.port, port.end_port);
      else if (port.port)
        r.destination_port(0).equals_be16(0, port.port);
      chain.push_back(r.leave().expressions().bytes());
    }
  }
}

std::string short_name(const std::string& text) { return base::sha256_hex(text).substr(0, 12); }

}  // namespace

PolicyModel model_of(const std::map<std::string, Policy>& policies) {
  PolicyModel m;
  for (int egress = 0; egress < 2; ++egress) {
    // Pods that the same policies select share a chain.
    std::map<uint32_t, std::vector<const Policy*>> by_pod;
    for (auto& [key, p] : policies) {
      if (egress ? !p.egress : !p.ingress) continue;
      for (auto& ip : p.pods)
        if (ip.is_v4()) {
          auto& list = by_pod[ip.host_order()];
          if (list.empty() || list.back() != &p) list.push_back(&p);
        }
    }
    for (auto& [pod, list] : by_pod) {
      std::string keys;
      for (auto* p : list) keys += p->key + '\n';
      std::string chain = fmt::format("{}_{}", egress ? "egress" : "ingress", short_name(keys));
      m.pods[egress][pod] = chain;
      if (m.chains.contains(chain)) continue;
      auto& rules = m.chains[chain];
      for (auto* p : list) {
        auto& of = egress ? p->egress_rules : p->ingress_rules;
        for (size_t i = 0; i < of.size(); ++i) add_rules(m, rules, short_name(fmt::format("{}/{}/{}", p->key, egress, i)), of[i], egress);
      }
      rules.push_back(Rule().drop().expressions().bytes());
    }
  }
  return m;
}

std::unique_ptr<Policies> make_policies(Firewall& firewall) { return std::make_unique<PoliciesImpl>(firewall); }

}  // namespace network
