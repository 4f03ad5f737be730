#include "network/dns/zone.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <set>

#include "network/dns/zone_table.h"

namespace network::dns {
namespace {

std::string_view host_label(const HeadlessEndpoint& e, std::string& scratch) {
  if (!e.hostname.empty()) return e.hostname;
  scratch = dashed(e.ip);
  return scratch;
}

std::string prefixed(std::string_view label, std::string_view wire) {
  std::string out(1, static_cast<char>(label.size()));
  for (char c : label) out += static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  out += wire;
  return out;
}

bool same_label(std::string_view lower, std::string_view other) {
  return std::ranges::equal(lower, other, [](char a, char b) { return a == (b >= 'A' && b <= 'Z' ? b + 32 : b); });
}

uint16_t type_of(const Ip& ip) { return ip.is_v6() ? kAaaa : kA; }

}  // namespace

std::string dashed(const Ip& ip) {
  std::string s = ip.str();
  std::ranges::replace(s, '.', '-');
  std::ranges::replace(s, ':', '-');
  return s;
}

bool Zone::in_domain(const Query& q, std::string_view domain) {
  if (!q.wire_name().ends_with(domain)) return false;
  size_t start = q.name_size - domain.size();
  // The suffix must begin at a label.
  return start == 0 || std::find(q.labels.begin(), q.labels.begin() + q.label_count, start) != q.labels.begin() + q.label_count;
}

void Zone::negative(Reply& reply, Rcode rcode) const {
  reply.rcode(rcode);
  reply.section(Reply::Section::authority);
  reply.start_of_authority(domain_, serial_, kClusterTtl);
}

std::string Zone::name_of(const ServiceRecord& s) const { return prefixed(s.name, prefixed(s.ns, prefixed("svc", domain_))); }

const NamespaceTable* Zone::find_namespace(std::string_view ns) const {
  auto it = namespaces_.find(std::string(ns));
  return it == namespaces_.end() ? nullptr : it->second.get();
}

bool Zone::answer(const Query& q, Reply& reply, std::string& chase, uint32_t turn) const {
  if (q.cls != kIn && q.cls != kAny) return false;
  if (in_domain(q, domain_)) {
    reply.authoritative(true);
    if (!forward(q, reply, chase, turn, q.label_count - domain_labels_)) negative(reply, Rcode::no_such_name);
    else if (reply.answers() == 0) negative(reply, Rcode::ok);
    return true;
  }
  return q.type == kPtr && reverse(q, reply);
}

// `relative`: the number of labels before the domain. False: no such name.
bool Zone::forward(const Query& q, Reply& reply, std::string& chase, uint32_t turn, size_t n) const {
  if (n == 0) {
    if (q.type == kSoa) reply.start_of_authority(domain_, serial_, kClusterTtl);
    if (q.type == kNs) reply.name_record(kNs, std::string("\2ns\3dns", 7) + domain_, kClusterTtl);
    return true;
  }
  auto kind = q.label(n - 1);
  if (kind == "svc") return n == 1 || service(q, reply, chase, turn, n);
  if (kind == "pod") return n == 1 || pod(q, reply, n);
  if (kind == "dns-version" && n == 1) {
    if (q.type == kTxt) reply.text("1.1.0", kClusterTtl);
    return true;
  }
  return false;
}

bool Zone::service(const Query& q, Reply& reply, std::string& chase, uint32_t turn, size_t n) const {
  const NamespaceTable* ns = find_namespace(q.label(n - 2));
  if (!ns) return false;
  if (n == 2) return true;
  auto it = ns->services.find(std::string(q.label(n - 3)));
  if (it == ns->services.end()) return false;
  const ServiceRecord& s = *it->second;
  const size_t extra = n - 3;

  if (!s.external_name.empty()) return extra == 0 && alias(q, reply, s.external_name, chase, turn);

  if (extra == 0) {
    auto put = [&](const Ip& ip) {
      if (q.type == type_of(ip) || q.type == kAny) reply.address(ip, kClusterTtl);
    };
    for (auto& ip : s.cluster_ips) put(ip);
    for (size_t i = 0; i < s.endpoints.size() && s.cluster_ips.empty(); ++i) put(s.endpoints[(i + turn) % s.endpoints.size()].ip);
    // SRV without a port's name: every port.
    if (q.type != kSrv) return true;
  }

  // _port._protocol.service: SRV, and the addresses of what it names. Their parents exist but hold nothing.
  bool wildcard = extra == 0;
  if (wildcard || extra == 2 || (extra == 1 && q.label(0).starts_with('_'))) {
    std::string_view port_name, protocol;
    if (extra == 2) {
      if (!q.label(0).starts_with('_') || !q.label(1).starts_with('_')) return false;
      port_name = q.label(0).substr(1);
      protocol = q.label(1).substr(1);
    } else if (extra == 1) {
      protocol = q.label(0).substr(1);
    }
    auto matches = [&](const NamedPort& p) {
      if (wildcard) return true;
      if (!same_label(protocol, p.protocol)) return false;
      return extra == 1 || (!p.name.empty() && same_label(port_name, p.name));
    };
    const std::string base = name_of(s);
    bool exists = false, answer = q.type == kSrv && extra != 1;
    std::vector<std::pair<std::string, Ip>> additional;
    if (!s.cluster_ips.empty()) {
      for (auto& p : s.ports) {
        if (!matches(p)) continue;
        exists = true;
        if (answer) reply.service(0, 100, p.port, base, kClusterTtl);
      }
      if (answer && exists)
        for (auto& ip : s.cluster_ips) additional.emplace_back(base, ip);
    } else {
      for (auto& e : s.endpoints) {
        std::string scratch, target;
        for (auto& p : e.ports) {
          if (!matches(p)) continue;
          exists = true;
          if (!answer) continue;
          if (target.empty()) target = prefixed(host_label(e, scratch), base);
          reply.service(0, 100, p.port, target, kClusterTtl);
        }
        if (!target.empty()) additional.emplace_back(target, e.ip);
      }
    }
    if (!additional.empty()) {
      reply.section(Reply::Section::additional);
      for (auto& [name, ip] : additional) reply.address(ip, kClusterTtl, name);
      reply.section(Reply::Section::answer);
    }
    return wildcard || exists;
  }

  if (extra != 1) return false;
  bool exists = false;
  std::string scratch;
  for (auto& e : s.endpoints) {
    if (!same_label(q.label(0), host_label(e, scratch))) continue;
    exists = true;
    if (q.type == type_of(e.ip) || q.type == kAny) reply.address(e.ip, kClusterTtl);
  }
  return exists;
}

// ExternalName. A target inside the domain is resolved here, one outside by whoever asked us to.
bool Zone::alias(const Query& q, Reply& reply, const std::string& external, std::string& chase, uint32_t turn) const {
  std::string target = wire_name(external);
  if (target.empty()) return false;
  reply.name_record(kCname, target, kClusterTtl);
  if (q.type == kCname) return true;
  Query next;
  std::string packet = make_query(q.id, target, q.type, false, false);
  if (parse_query(packet, next) != Gate::pass || next.wire_name() == q.wire_name()) return true;
  if (!in_domain(next, domain_)) {
    chase = target;
    return true;
  }
  // One step is enough: an alias of an alias inside the cluster is a mistake, and may be a circle.
  const NamespaceTable* ns = next.label_count >= 3 + domain_labels_ ? find_namespace(next.label(1)) : nullptr;
  auto it = ns && next.label_count == 3 + domain_labels_ ? ns->services.find(std::string(next.label(0))) : decltype(ns->services.end()){};
  if (!ns || next.label_count != 3 + domain_labels_ || next.label(2) != "svc" || it == ns->services.end()) return true;
  for (auto& ip : it->second->cluster_ips)
    if (q.type == type_of(ip)) reply.address(ip, kClusterTtl, target);
  auto& endpoints = it->second->endpoints;
  for (size_t i = 0; i < endpoints.size() && it->second->cluster_ips.empty(); ++i) {
    auto& ip = endpoints[(i + turn) % endpoints.size()].ip;
    if (q.type == type_of(ip)) reply.address(ip, kClusterTtl, target);
  }
  return true;
}

bool Zone::pod(const Query& q, Reply& reply, size_t n) const {
  auto ns = q.label(n - 2);
  if (!any_namespace_ && !find_namespace(ns)) return false;
  if (n == 2) return true;
  if (n != 3) return false;
  std::string text(q.label(0));
  std::ranges::replace(text, '-', '.');
  auto ip = Ip::parse(text);
  if (!ip) {
    std::ranges::replace(text, '.', ':');
    ip = Ip::parse(text);
  }
  if (!ip) return false;
  if (q.type == type_of(*ip)) reply.address(*ip, kClusterTtl);
  return true;
}

// The address of an in-addr.arpa or ip6.arpa name; none when it is not a whole one.
Ip reverse_address(const Query& q) {
  auto n = q.label_count;
  if (n < 2 || q.label(n - 1) != "arpa") return {};
  if (q.label(n - 2) == "in-addr" && n == 6) {
    std::string text;
    for (int i = 3; i >= 0; --i) text += std::string(q.label(static_cast<size_t>(i))) + (i ? "." : "");
    auto ip = Ip::parse(text);
    return ip && ip->is_v4() ? *ip : Ip();
  }
  if (q.label(n - 2) == "ip6" && n == 34) {
    std::array<uint8_t, 16> bytes{};
    for (size_t i = 0; i < 32; ++i) {
      auto l = q.label(31 - i);
      uint8_t v = 0;
      auto [end, ec] = std::from_chars(l.data(), l.data() + l.size(), v, 16);
      if (l.size() != 1 || ec != std::errc() || end != l.data() + 1) return {};
      bytes[i / 2] = static_cast<uint8_t>(bytes[i / 2] << 4 | v);
    }
    return Ip::v6(bytes);
  }
  return {};
}

bool Zone::reverse(const Query& q, Reply& reply) const {
  Ip ip = reverse_address(q);
  if (ip.none()) return false;
  for (auto& [name, ns] : namespaces_)
    if (auto it = ns->reverse.find(ip); it != ns->reverse.end())
      for (auto& target : it->second) reply.name_record(kPtr, target, kClusterTtl);
  if (reply.answers() == 0) return false;
  reply.authoritative(true);
  return true;
}

struct ZoneBuilder::Impl {
  struct Namespace {
    std::map<std::string, std::shared_ptr<const ServiceRecord>> services;
    std::shared_ptr<const NamespaceTable> built;  // null: changed since
  };
  std::string domain;
  std::map<std::string, Namespace> namespaces;
  std::set<std::string> announced;
  bool any = true;
};

ZoneBuilder::ZoneBuilder(std::string domain) : impl_(std::make_unique<Impl>()) { impl_->domain = wire_name(domain); }
ZoneBuilder::~ZoneBuilder() = default;

void ZoneBuilder::add(ServiceRecord s) {
  if (s.name.empty() || s.name.size() > 63 || s.ns.empty() || s.ns.size() > 63) return;
  std::erase_if(s.endpoints, [](auto& e) { return e.ip.none() || e.hostname.size() > 63; });
  auto& ns = impl_->namespaces[s.ns];
  std::string name = s.name;
  ns.services[name] = std::make_shared<const ServiceRecord>(std::move(s));
  ns.built.reset();
}

void ZoneBuilder::remove(const std::string& ns, const std::string& name) {
  auto it = impl_->namespaces.find(ns);
  if (it == impl_->namespaces.end()) return;
  it->second.services.erase(name);
  it->second.built.reset();
  if (it->second.services.empty() && !impl_->announced.contains(ns)) impl_->namespaces.erase(it);
}

void ZoneBuilder::clear() {
  impl_->namespaces.clear();
  for (auto& ns : impl_->announced) impl_->namespaces[ns];
}

void ZoneBuilder::add_namespace(std::string ns) {
  impl_->any = false;
  impl_->namespaces[ns];
  impl_->announced.insert(std::move(ns));
}

void ZoneBuilder::remove_namespace(const std::string& ns) {
  impl_->announced.erase(ns);
  auto it = impl_->namespaces.find(ns);
  if (it != impl_->namespaces.end() && it->second.services.empty()) impl_->namespaces.erase(it);
}

std::shared_ptr<const Zone> ZoneBuilder::build(uint32_t serial) {
  auto zone = std::make_shared<Zone>();
  zone->domain_ = impl_->domain;
  zone->domain_labels_ = 0;
  for (size_t at = 0; at < impl_->domain.size() && impl_->domain[at]; at += 1u + static_cast<uint8_t>(impl_->domain[at]))
    ++zone->domain_labels_;
  zone->serial_ = serial;
  zone->any_namespace_ = impl_->any;
  for (auto& [name, ns] : impl_->namespaces) {
    if (!ns.built) {
      auto table = std::make_shared<NamespaceTable>();
      for (auto& [key, s] : ns.services) {
        table->services[key] = s;
        const std::string base = zone->name_of(*s);
        for (auto& ip : s->cluster_ips) table->reverse[ip].push_back(base);
        if (!s->cluster_ips.empty()) continue;
        std::string scratch;
        for (auto& e : s->endpoints) table->reverse[e.ip].push_back(prefixed(host_label(e, scratch), base));
      }
      ns.built = std::move(table);
    }
    zone->namespaces_[name] = ns.built;
  }
  return zone;
}

}  // namespace network::dns
