#include "network/services.h"

#include <linux/netfilter/nf_tables.h>

#include <algorithm>
#include <map>
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

Key endpoint_key(const FrontendId& id, uint32_t index) { return Key().address(Ip::v4(id.address)).protocol(id.protocol).port(id.port).number(index); }
Key endpoint_data(const Target& t) { return Key().address(Ip::v4(t.address)).port(t.port); }
Key live_key(const FrontendId& id, const Target& t) {
  return Key().address(Ip::v4(t.address)).port(t.port).address(Ip::v4(id.address)).protocol(id.protocol).port(id.port);
}
const char* class_set(const FrontendId& id) { return id.any_address ? "nodeports" : "services"; }

// A chain that picks one of `count` endpoints.
struct Chooser {
  bool any_address = false;
  uint32_t count = 0;
  uint32_t affinity_seconds = 0;
  auto operator<=>(const Chooser&) const = default;
  std::string name() const {
    std::string s = fmt::format("{}_{}", any_address ? "node" : "pick", count);
    return affinity_seconds ? fmt::format("{}_sticky_{}", s, affinity_seconds) : s;
  }
};

void load_frontend(Rule& r, bool any_address, int reg) {
  if (any_address)
    r.set_register(reg, std::string_view("\0\0\0\0", 4));
  else
    r.destination(reg);
  r.protocol(reg + 1).destination_port(reg + 2);
}

void add_chooser(Transaction& t, const Chooser& c, uint32_t id) {
  std::string chain = c.name();
  t.add_chain(chain);
  if (!c.affinity_seconds) {
    Rule r;
    load_frontend(r, c.any_address, 0);
    t.add_rule(chain, r.random(c.count, 3).map("endpoints", 0, 4).dnat(4, 5));
  } else {
    const uint64_t timeout = uint64_t{c.affinity_seconds} * 1000;
    // The endpoint this client had, if it is still one of the frontend's.
    Rule again;
    again.source(0);
    load_frontend(again, c.any_address, 1);
    again.map("affinity", 0, 4);
    load_frontend(again, c.any_address, 6);
    again.lookup("live", 4).remember("affinity", NFT_DYNSET_OP_UPDATE, 0, 4, timeout).dnat(4, 5);
    t.add_rule(chain, again);
    // A new one. An element with an endpoint that is gone is deleted first: an update would only lengthen its life.
    Rule pick;
    pick.source(0);
    load_frontend(pick, c.any_address, 1);
    pick.random(c.count, 4).map("endpoints", 1, 5).remember("affinity", NFT_DYNSET_OP_DELETE, 0, -1, 0);
    t.add_rule(chain, pick.remember("affinity", NFT_DYNSET_OP_UPDATE, 0, 5, timeout).dnat(5, 6));
  }
  t.add_verdict_element("classes", Key().number(id), chain);
}

class ServicesImpl final : public Services {
 public:
  explicit ServicesImpl(Firewall& firewall) : firewall_(firewall) {
    for (auto& ip : firewall.options().dns_addresses) ours_.insert(ip.host_order());
    part_ = firewall_.add_part({{}, [this](Transaction& t) { dump(t); }});
  }

  base::Result<> replace(std::vector<Service> services) override;
  base::Result<> update(std::vector<Service> changed, const std::vector<std::string>& removed_keys) override;
  ServicesStats stats() const override;

 private:
  struct Entry {  // what the kernel has for a frontend
    uint32_t owner = 0;
    uint32_t cls = 0;
    uint32_t affinity_seconds = 0;
    std::vector<Target> targets;  // in the order of their indexes
    std::vector<SourceRange> ranges;
  };
  struct Owner {
    std::string key;
    std::vector<FrontendId> frontends;
  };

  void dump(Transaction& t);
  uint32_t class_of(const FrontendId& id, const Frontend& f);
  void apply(const std::string& key, std::vector<Frontend> wanted);
  void put(uint32_t owner, Frontend wanted);
  void erase(const FrontendId& id);
  void hairpin(const Target& t, int by);
  void stale(const FrontendId& id, const Target& t);

  // The difference under construction: elements by set, deletions before additions.
  struct Difference {
    std::vector<std::pair<Key, Key>> class_add[2], endpoint_add;
    std::vector<Key> class_delete[2], endpoint_delete, live_add, live_delete, limited_add, limited_delete;
    std::vector<std::pair<Key, Key>> allowed_add, allowed_delete;
    std::vector<std::pair<Chooser, uint32_t>> choosers;
    std::unordered_map<uint32_t, bool> hairpin_before;  // of addresses whose count changed
    std::vector<StaleFlow> flows;
  };
  void send(Transaction& t);

  Firewall& firewall_;  // whose mutex guards all below
  int part_ = 0;
  std::unordered_set<uint32_t> ours_;  // addresses that are no service's
  std::unordered_map<FrontendId, Entry, FrontendIdHash> entries_;
  std::unordered_map<std::string, uint32_t> owner_ids_;
  std::unordered_map<uint32_t, Owner> owners_;
  uint32_t next_owner_ = 1;
  std::map<Chooser, uint32_t> choosers_;
  uint32_t next_class_ = kClassFirstChain;
  std::unordered_map<uint32_t, int> hairpins_;
  std::map<std::string, Service> contested_;  // services that lost a frontend to another one
  Difference d_;
};

uint32_t ServicesImpl::class_of(const FrontendId& id, const Frontend& f) {
  if (f.targets.empty()) return f.drop ? kClassDrop : kClassRefuse;
  Chooser c{id.any_address, static_cast<uint32_t>(f.targets.size()), f.affinity_seconds};
  auto [it, fresh] = choosers_.try_emplace(c, next_class_);
  if (fresh) d_.choosers.emplace_back(c, next_class_++);
  return it->second;
}

void ServicesImpl::hairpin(const Target& t, int by) {
  if (!t.local) return;
  int& n = hairpins_[t.address];
  d_.hairpin_before.try_emplace(t.address, n > 0);
  n += by;
  if (n == 0) hairpins_.erase(t.address);
}

void ServicesImpl::stale(const FrontendId& id, const Target& t) {
  if (id.protocol == Protocol::udp) d_.flows.push_back({Protocol::udp, id.any_address ? Ip() : Ip::v4(id.address), id.port, Ip::v4(t.address), t.port});
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
    auto w = std::ranges::find_if(f.targets, [&](auto& t) { return t.address == next[i].address && t.port == next[i].port; });
    if (w != f.targets.end()) {
      next[i++].local = w->local;
    } else {
      next[i] = next.back();
      next.pop_back();
    }
  }
  for (auto& t : f.targets)
    if (std::ranges::none_of(next, [&](auto& n) { return n.address == t.address && n.port == t.port; })) next.push_back(t);

  bool sticky_before = e.affinity_seconds != 0, sticky = f.affinity_seconds != 0;
  for (size_t i = 0; i < std::max(e.targets.size(), next.size()); ++i) {
    bool had = i < e.targets.size(), has = i < next.size();
    if (had && has && e.targets[i].same(next[i])) continue;
    if (had) d_.endpoint_delete.push_back(endpoint_key(id, static_cast<uint32_t>(i)));
    if (has) d_.endpoint_add.emplace_back(endpoint_key(id, static_cast<uint32_t>(i)), endpoint_data(next[i]));
  }
  for (auto& t : next) hairpin(t, 1);
  for (auto& t : e.targets) hairpin(t, -1);
  for (auto& t : e.targets) {
    bool stays = std::ranges::any_of(next, [&](auto& n) { return n.same(t); });
    if (!stays) stale(id, t);
    if (sticky_before && (!stays || !sticky)) d_.live_delete.push_back(live_key(id, t));
  }
  if (sticky)
    for (auto& t : next)
      if (!sticky_before || std::ranges::none_of(e.targets, [&](auto& o) { return o.same(t); })) d_.live_add.push_back(live_key(id, t));
  if (!fresh && e.targets.empty() && !next.empty() && id.protocol == Protocol::udp)
    d_.flows.push_back({Protocol::udp, id.any_address ? Ip() : Ip::v4(id.address), id.port, {}, 0});

  uint32_t cls = class_of(id, f);
  if (fresh || cls != e.cls) {
    if (!fresh) d_.class_delete[id.any_address].push_back(frontend_key(id));
    d_.class_add[id.any_address].emplace_back(frontend_key(id), Key().number(cls));
  }
  if (f.ranges != e.ranges) {
    for (auto& r : e.ranges) range_element(d_.allowed_delete, id, r);
    for (auto& r : f.ranges) range_element(d_.allowed_add, id, r);
    if (e.ranges.empty()) d_.limited_add.push_back(frontend_key(id));
    if (f.ranges.empty()) d_.limited_delete.push_back(frontend_key(id));
  }
  e.owner = owner;
  e.cls = cls;
  e.affinity_seconds = f.affinity_seconds;
  e.targets = std::move(next);
  e.ranges = std::move(f.ranges);
}

void ServicesImpl::erase(const FrontendId& id) {
  auto it = entries_.find(id);
  if (it == entries_.end()) return;
  Frontend nothing;
  nothing.id = id;
  put(it->second.owner, std::move(nothing));
  // What put() queued for the class it now has is replaced by the deletion of whatever the kernel has.
  auto& adds = d_.class_add[id.any_address];
  auto mine = std::ranges::find_if(adds, [&](auto& a) { return std::string_view(a.first) == std::string_view(frontend_key(id)); });
  if (mine != adds.end())
    adds.erase(mine);
  else
    d_.class_delete[id.any_address].push_back(frontend_key(id));
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
  for (auto& [c, id] : d_.choosers) add_chooser(t, c, id);
  for (int any = 0; any < 2; ++any)
    for (auto& k : d_.class_delete[any]) t.delete_element(any ? "nodeports" : "services", k);
  for (auto& k : d_.endpoint_delete) t.delete_element("endpoints", k);
  for (auto& k : d_.live_delete) t.delete_element("live", k);
  for (auto& [address, had] : d_.hairpin_before) {
    bool has = hairpins_.contains(address);
    Key pair = Key().address(Ip::v4(address)).address(Ip::v4(address));
    if (had && !has) t.delete_element("hairpin", pair);
    if (!had && has) t.add_element("hairpin", pair);
  }
  for (auto& k : d_.limited_delete) t.delete_element("limited", k);
  for (auto& [a, b] : d_.allowed_delete) t.delete_range("allowed", a, b);
  for (auto& [k, v] : d_.endpoint_add) t.add_element("endpoints", k, v);
  for (auto& k : d_.live_add) t.add_element("live", k);
  for (auto& [a, b] : d_.allowed_add) t.add_range("allowed", a, b);
  for (auto& k : d_.limited_add) t.add_element("limited", k);
  for (int any = 0; any < 2; ++any)
    for (auto& [k, v] : d_.class_add[any]) t.add_element(any ? "nodeports" : "services", k, v);
}

void ServicesImpl::dump(Transaction& t) {
  for (auto& [c, id] : choosers_) add_chooser(t, c, id);
  for (auto& [id, e] : entries_)
    for (size_t i = 0; i < e.targets.size(); ++i) t.add_element("endpoints", endpoint_key(id, static_cast<uint32_t>(i)), endpoint_data(e.targets[i]));
  for (auto& [id, e] : entries_)
    if (e.affinity_seconds)
      for (auto& target : e.targets) t.add_element("live", live_key(id, target));
  for (auto& [address, n] : hairpins_) t.add_element("hairpin", Key().address(Ip::v4(address)).address(Ip::v4(address)));
  for (auto& [id, e] : entries_)
    if (!e.ranges.empty()) {
      std::vector<std::pair<Key, Key>> ranges;
      for (auto& r : e.ranges) range_element(ranges, id, r);
      for (auto& [a, b] : ranges) t.add_range("allowed", a, b);
    }
  for (auto& [id, e] : entries_)
    if (!e.ranges.empty()) t.add_element("limited", frontend_key(id));
  for (bool any : {false, true})
    for (auto& [id, e] : entries_)
      if (id.any_address == any) t.add_element(class_set(id), frontend_key(id), Key().number(e.cls));
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
  base::Result<> r = firewall_.adopted() ? firewall_.replace() : firewall_.commit(part_, t);
  auto flows = std::exchange(d_, {}).flows;
  if (!r) return r;
  if (auto deleted = delete_flows(flows); !deleted) base::log::warn("network", "stale UDP flows: {}", deleted.error().message);
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
  for (auto& [id, e] : entries_) s.elements += 1 + e.targets.size() * (e.affinity_seconds ? 2 : 1);
  return s;
}

}  // namespace

std::unique_ptr<Services> make_services(Firewall& firewall) { return std::make_unique<ServicesImpl>(firewall); }

}  // namespace network
