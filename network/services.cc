#include "network/services.h"

#include <linux/netfilter/nf_tables.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <unordered_map>
#include <unordered_set>

#include <fmt/format.h>

#include "base/log.h"
#include "network/conntrack.h"
#include "network/frontends.h"
#include "network/parts.h"

namespace network {
namespace {

using nft::Key;
using nft::Rule;
using nft::Transaction;

Key frontend_key(const FrontendId& id) {
  Key k;
  if (!id.any_address) k.address(Ip::v4(id.address));
  return k.protocol(id.protocol).port(id.port);
}

constexpr uint32_t kInside = 0x80000000;  // added to the indexes of what clients inside the cluster get

Key endpoint_key(const FrontendId& id, uint32_t index) {
  return Key().address(Ip::v4(id.address)).protocol(id.protocol).port(id.port).number(id.inside ? index + kInside : index);
}
Key endpoint_data(const Target& t) { return Key().address(Ip::v4(t.address)).port(t.port); }
// A chain that picks one of `count` endpoints, for all frontends with that many.
struct Chooser {
  bool any_address = false, inside = false;
  uint32_t count = 0;
  auto operator<=>(const Chooser&) const = default;
  std::string name() const { return fmt::format("{}_{}{}", any_address ? "node" : "pick", inside ? "inside_" : "", count); }
};

void add_chooser(Transaction& t, const Chooser& c) {
  t.add_chain(c.name());
  Rule r;
  if (c.any_address)
    r.set_register(0, std::string_view("\0\0\0\0", 4));
  else
    r.destination(0);
  t.add_rule(c.name(), r.protocol(1).destination_port(2).random(c.count, 3, c.inside ? kInside : 0).map("endpoints", 0, 4).dnat(4, 5));
}

// A frontend with affinity has a chain of its own. `affinity` holds client . endpoint . frontend for as long as the client stays.
std::string sticky_chain(const FrontendId& id) {
  return fmt::format("sticky_{}{}_{}_{}", id.inside ? "inside_" : "", id.any_address ? "node" : Ip::v4(id.address).str(),
                     protocol_str(id.protocol), id.port);
}

void add_sticky_rules(Transaction& t, const FrontendId& id, const std::vector<Target>& targets, uint32_t seconds) {
  const std::string chain = sticky_chain(id);
  const uint64_t timeout = uint64_t{seconds} * 1000;
  auto load = [&](Rule& r, const Target& target) {
    const Key parts = Key().address(Ip::v4(target.address)).port(target.port).address(Ip::v4(id.address)).port(id.port);
    r.source(0);
    for (int i = 0; i < 4; ++i) r.set_register(i + 1, std::string_view(parts).substr(static_cast<size_t>(i) * 4, i % 2 ? 2 : 4));
  };
  for (auto& target : targets) {
    Rule again;
    load(again, target);
    t.add_rule(chain, again.lookup("affinity", 0).remember("affinity", NFT_DYNSET_OP_UPDATE, 0, -1, timeout).dnat(1, 2));
  }
  for (size_t i = 0; i < targets.size(); ++i) {
    Rule pick;
    if (i + 1 < targets.size()) pick.random(static_cast<uint32_t>(targets.size() - i), 0).equals32(0, 0);
    load(pick, targets[i]);
    t.add_rule(chain, pick.remember("affinity", NFT_DYNSET_OP_UPDATE, 0, -1, timeout).dnat(1, 2));
  }
}

class ServicesImpl final : public Services {
 public:
  explicit ServicesImpl(Firewall& firewall) : firewall_(firewall) {
    for (auto& ip : firewall.options().dns_addresses) ours_.insert(ip.host_order());
    part_ = firewall_.add_part({{"services", "nodeports", "services_inside", "nodeports_inside", "closed", "closed_nodeports", "endpoints",
                                 "hairpin", "limited", "allowed"},
                                {"pick_", "node_", "sticky_"},
                                [this](Transaction& t) { dump(t); }});
  }

  base::Result<> replace(std::vector<Service> services) override;
  base::Result<> update(std::vector<Service> changed, const std::vector<std::string>& removed_keys) override;
  ServicesStats stats() const override;

 private:
  // What a frontend leads to: a chain that picks an endpoint, or, in the maps of closed frontends, refusal or (no chain) a silent drop.
  struct Verdict {
    bool closed = false;
    std::string chain;
    bool operator==(const Verdict&) const = default;
  };
  static const char* map_of(const FrontendId& id, const Verdict& v) {
    if (id.inside) return id.any_address ? "nodeports_inside" : "services_inside";
    return v.closed ? (id.any_address ? "closed_nodeports" : "closed") : (id.any_address ? "nodeports" : "services");
  }
  struct Entry {  // what the kernel has for a frontend
    uint32_t owner = 0;
    Verdict verdict;
    uint32_t affinity_seconds = 0;
    std::vector<Target> targets;  // in the order of their indexes
    std::vector<SourceRange> ranges;
  };
  struct Owner {
    std::string key;
    std::vector<FrontendId> frontends;
  };

  void dump(Transaction& t);
  Verdict verdict_of(const FrontendId& id, const Frontend& f);
  void apply(const std::string& key, std::vector<Frontend> wanted);
  void put(uint32_t owner, Frontend wanted);
  void erase(const FrontendId& id);
  void hairpin(const Target& t, int by);
  void stale(const FrontendId& id, const Target& t);

  // The difference under construction: elements by set, deletions before additions.
  struct Difference {
    std::unordered_map<FrontendId, std::optional<Verdict>, FrontendIdHash> verdict_before;  // of frontends whose verdict changed
    std::vector<std::pair<Key, Key>> endpoint_add;
    std::vector<Key> endpoint_delete, limited_add, limited_delete;
    std::vector<std::pair<Key, Key>> allowed_add, allowed_delete;
    std::vector<Chooser> choosers;
    std::unordered_map<uint32_t, bool> hairpin_before;  // of addresses whose count changed
    std::vector<StaleFlow> flows;
    std::unordered_map<FrontendId, bool, FrontendIdHash> sticky;  // whose own chain is to be written, and whether the kernel has it
  };
  void send(Transaction& t);

  Firewall& firewall_;  // whose mutex guards all below
  int part_ = 0;
  std::unordered_set<uint32_t> ours_;  // addresses that are no service's
  std::unordered_map<FrontendId, Entry, FrontendIdHash> entries_;
  std::unordered_map<std::string, uint32_t> owner_ids_;
  std::unordered_map<uint32_t, Owner> owners_;
  uint32_t next_owner_ = 1;
  std::set<Chooser> choosers_;
  std::unordered_map<uint32_t, int> hairpins_;
  std::map<std::string, Service> contested_;  // services that lost a frontend to another one
  Difference d_;
};

ServicesImpl::Verdict ServicesImpl::verdict_of(const FrontendId& id, const Frontend& f) {
  // Nobody listens on a node port without endpoints: the node refuses by itself.
  if (f.targets.empty()) return {true, f.drop ? "" : "refuse"};
  if (f.affinity_seconds) return {false, sticky_chain(id)};
  Chooser c{id.any_address, id.inside, static_cast<uint32_t>(f.targets.size())};
  if (choosers_.insert(c).second) d_.choosers.push_back(c);
  return {false, c.name()};
}

void ServicesImpl::hairpin(const Target& t, int by) {
  if (!t.local) return;
  int& n = hairpins_[t.address];
  d_.hairpin_before.try_emplace(t.address, n > 0);
  n += by;
  if (n == 0) hairpins_.erase(t.address);
}

void ServicesImpl::stale(const FrontendId& id, const Target& t) {
  if (id.protocol == Protocol::udp)
    d_.flows.push_back({Protocol::udp, id.any_address ? Ip() : Ip::v4(id.address), id.port, Ip::v4(t.address), t.port});
}

void range_element(std::vector<std::pair<Key, Key>>& out, const FrontendId& id, const SourceRange& r) {
  Key low = frontend_key(id).address(Ip::v4(r.first)), high = frontend_key(id).address(Ip::v4(r.last));
  out.emplace_back(low, high);
}

void ServicesImpl::put(uint32_t owner, Frontend f) {
  auto [it, fresh] = entries_.try_emplace(f.id);
  Entry& e = it->second;
  const auto& id = f.id;

  // Endpoints keep their index while they live; the last one fills a gap.
  std::vector<Target> next = e.targets;
  for (size_t i = 0; i < next.size();) {
    auto w = std::ranges::find_if(f.targets, [&](auto& t) { return t.same(next[i]); });
    if (w != f.targets.end()) {
      next[i++].local = w->local;
    } else {
      next[i] = next.back();
      next.pop_back();
    }
  }
  for (auto& t : f.targets)
    if (std::ranges::none_of(next, [&](auto& n) { return n.same(t); })) next.push_back(t);

  for (size_t i = 0; i < std::max(e.targets.size(), next.size()); ++i) {
    bool had = i < e.targets.size(), has = i < next.size();
    if (had && has && e.targets[i].same(next[i])) continue;
    Key key = endpoint_key(id, static_cast<uint32_t>(i));
    if (had) d_.endpoint_delete.push_back(key);
    if (has) d_.endpoint_add.emplace_back(key, endpoint_data(next[i]));
  }
  for (auto& t : next) hairpin(t, 1);
  for (auto& t : e.targets) hairpin(t, -1);
  for (auto& t : e.targets) {
    if (std::ranges::any_of(next, [&](auto& n) { return n.same(t); })) continue;
    stale(id, t);
  }
  const bool had_chain = e.affinity_seconds && !e.targets.empty(), has_chain = f.affinity_seconds && !next.empty();
  if (had_chain != has_chain || (has_chain && (e.affinity_seconds != f.affinity_seconds ||
                                               !std::ranges::equal(e.targets, next, [](auto& a, auto& b) { return a.same(b); }))))
    d_.sticky.try_emplace(id, had_chain);
  if (!fresh && e.targets.empty() && !next.empty() && id.protocol == Protocol::udp)
    d_.flows.push_back({Protocol::udp, id.any_address ? Ip() : Ip::v4(id.address), id.port, {}, 0});

  auto verdict = verdict_of(id, f);
  if (fresh || verdict != e.verdict) d_.verdict_before.try_emplace(id, fresh ? std::nullopt : std::optional(e.verdict));
  if (f.ranges != e.ranges) {
    for (auto& r : e.ranges) range_element(d_.allowed_delete, id, r);
    for (auto& r : f.ranges) range_element(d_.allowed_add, id, r);
    if (e.ranges.empty()) d_.limited_add.push_back(frontend_key(id));
    if (f.ranges.empty()) d_.limited_delete.push_back(frontend_key(id));
  }
  e.owner = owner;
  e.verdict = std::move(verdict);
  e.affinity_seconds = f.affinity_seconds;
  e.targets = std::move(next);
  e.ranges = std::move(f.ranges);
}

void ServicesImpl::erase(const FrontendId& id) {
  auto it = entries_.find(id);
  if (it == entries_.end()) return;
  d_.verdict_before.try_emplace(id, it->second.verdict);
  Frontend nothing;
  nothing.id = id;
  put(it->second.owner, std::move(nothing));
  entries_.erase(it);
}

void ServicesImpl::apply(const std::string& key, std::vector<Frontend> wanted) {
  auto [named, fresh] = owner_ids_.try_emplace(key, next_owner_);
  if (fresh) owners_[next_owner_++].key = key;
  uint32_t id = named->second;
  Owner& owner = owners_[id];
  std::vector<FrontendId> kept;
  std::unordered_set<FrontendId, FrontendIdHash> now;
  std::erase_if(wanted, [&](Frontend& f) {
    if (!f.id.any_address && ours_.contains(f.id.address)) return true;
    auto e = entries_.find(f.id);
    if (e != entries_.end() && e->second.owner != id) {
      base::log::warn("network", "service {}: {} is already used by {}", key, f.id.str(), owners_[e->second.owner].key);
      contested_.try_emplace(key);
      return true;
    }
    return !now.insert(f.id).second;
  });
  for (auto& old : owner.frontends)
    if (!now.contains(old)) erase(old);
  for (auto& f : wanted) {
    kept.push_back(f.id);
    put(id, std::move(f));
  }
  if (kept.empty()) {
    owners_.erase(id);
    owner_ids_.erase(key);
  } else {
    owner.frontends = std::move(kept);
  }
}

void ServicesImpl::send(Transaction& t) {
  for (auto& c : d_.choosers) add_chooser(t, c);
  for (auto& [id, had] : d_.sticky) {
    auto e = entries_.find(id);
    if (e == entries_.end() || !e->second.affinity_seconds || e->second.targets.empty()) continue;
    if (had)
      t.flush_chain(sticky_chain(id));
    else
      t.add_chain(sticky_chain(id));
    add_sticky_rules(t, id, e->second.targets, e->second.affinity_seconds);
  }
  for (auto& [id, before] : d_.verdict_before)
    if (before) t.delete_element(map_of(id, *before), frontend_key(id));
  for (auto& k : d_.endpoint_delete) t.delete_element("endpoints", k);
  for (auto& [address, had] : d_.hairpin_before) {
    bool has = hairpins_.contains(address);
    Key pair = Key().address(Ip::v4(address)).address(Ip::v4(address));
    if (had && !has) t.delete_element("hairpin", pair);
    if (!had && has) t.add_element("hairpin", pair);
  }
  for (auto& k : d_.limited_delete) t.delete_element("limited", k);
  for (auto& [a, b] : d_.allowed_delete) t.delete_range("allowed", a, b);
  for (auto& [k, v] : d_.endpoint_add) t.add_element("endpoints", k, v);
  for (auto& [a, b] : d_.allowed_add) t.add_range("allowed", a, b);
  for (auto& k : d_.limited_add) t.add_element("limited", k);
  for (auto& [id, before] : d_.verdict_before)
    if (auto e = entries_.find(id); e != entries_.end())
      t.add_verdict_element(map_of(id, e->second.verdict), frontend_key(id), e->second.verdict.chain);
  for (auto& [id, had] : d_.sticky) {
    auto e = entries_.find(id);
    if (!had || (e != entries_.end() && e->second.affinity_seconds && !e->second.targets.empty())) continue;
    t.flush_chain(sticky_chain(id));
    t.delete_chain(sticky_chain(id));
  }
}

void ServicesImpl::dump(Transaction& t) {
  for (auto& c : choosers_) add_chooser(t, c);
  for (auto& [id, e] : entries_) {
    if (!e.affinity_seconds || e.targets.empty()) continue;
    t.add_chain(sticky_chain(id));
    add_sticky_rules(t, id, e.targets, e.affinity_seconds);
  }
  for (auto& [id, e] : entries_)
    for (size_t i = 0; i < e.targets.size(); ++i)
      t.add_element("endpoints", endpoint_key(id, static_cast<uint32_t>(i)), endpoint_data(e.targets[i]));
  for (auto& [address, n] : hairpins_) t.add_element("hairpin", Key().address(Ip::v4(address)).address(Ip::v4(address)));
  for (auto& [id, e] : entries_) {
    if (e.ranges.empty()) continue;
    std::vector<std::pair<Key, Key>> ranges;
    for (auto& r : e.ranges) range_element(ranges, id, r);
    for (auto& [a, b] : ranges) t.add_range("allowed", a, b);
  }
  for (auto& [id, e] : entries_)
    if (!e.ranges.empty()) t.add_element("limited", frontend_key(id));
  // One map after the other, so that elements share requests.
  for (const char* map : {"services", "nodeports", "services_inside", "nodeports_inside", "closed", "closed_nodeports"})
    for (auto& [id, e] : entries_)
      if (map_of(id, e.verdict) == std::string_view(map)) t.add_verdict_element(map, frontend_key(id), e.verdict.chain);
}

base::Result<> ServicesImpl::update(std::vector<Service> changed, const std::vector<std::string>& removed_keys) {
  std::scoped_lock lock(firewall_.mutex());
  d_ = {};
  for (auto& key : removed_keys) {
    contested_.erase(key);
    apply(key, {});
  }
  auto place = [&](const Service& service) {
    contested_.erase(service.key);
    apply(service.key, frontends_of(service));
    if (auto it = contested_.find(service.key); it != contested_.end()) it->second = service;
  };
  for (auto& service : changed) place(service);
  // Who lost an address to another service gets another chance, now that some may be free.
  for (auto& [key, service] : std::map(contested_)) place(service);
  auto t = firewall_.transaction();
  send(t);
  base::Result<> r = firewall_.commit(part_, t);
  auto done = std::exchange(d_, {});
  if (!r) return r;
  if (auto deleted = delete_flows(done.flows); !deleted) base::log::warn("network", "stale UDP flows: {}", deleted.error().message);
  return {};
}

base::Result<> ServicesImpl::replace(std::vector<Service> services) {
  std::scoped_lock lock(firewall_.mutex());
  std::unordered_set<std::string> wanted;
  for (auto& s : services) wanted.insert(s.key);
  std::vector<std::string> removed;
  for (auto& [key, id] : owner_ids_)
    if (!wanted.contains(key)) removed.push_back(key);
  for (auto& [key, s] : contested_)
    if (!wanted.contains(key)) removed.push_back(key);
  // A first load is written as a whole; later ones are differences.
  return update(std::move(services), removed);
}

ServicesStats ServicesImpl::stats() const {
  std::scoped_lock lock(firewall_.mutex());
  ServicesStats s;
  s.services = owner_ids_.size();
  s.frontends = entries_.size();
  for (auto& [id, e] : entries_) s.elements += 1 + e.targets.size();
  return s;
}

}  // namespace

std::unique_ptr<Services> make_services(Firewall& firewall) { return std::make_unique<ServicesImpl>(firewall); }

}  // namespace network
