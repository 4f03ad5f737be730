// Services: cluster addresses and node ports, each claimed by a key of its own in the transaction that writes the Service, so that two servers or two
// racing requests can never hand out one twice. Addresses are claimed by IPAddress objects, which users can list.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/bytes.h"
#include "base/time.h"
#include "server/apiserver/registry/attributes.h"
#include "server/apiserver/registry/cidr.h"
#include "server/apiserver/registry/keys.h"
#include "server/apiserver/strategy/all.h"
#include "server/apiserver/strategy/service_ranges.h"

namespace server {
namespace {

using base::json::array;
using base::json::object;
using base::json::value;

constexpr std::string_view ip_group = "networking.k8s.io";

std::string port_key(int64_t port) { return fmt::format("/registry/appliance/nodeports/{}", port); }

uint32_t random_number() {
  std::string b = base::random_bytes(4);
  return static_cast<uint32_t>(static_cast<unsigned char>(b[0])) << 24 | static_cast<uint32_t>(static_cast<unsigned char>(b[1])) << 16 |
         static_cast<uint32_t>(static_cast<unsigned char>(b[2])) << 8 | static_cast<uint32_t>(static_cast<unsigned char>(b[3]));
}

object& spec_of(object& o) {
  value& v = o["spec"];
  if (!v.is_object()) v.emplace_object();
  return v.get_object();
}

const object& spec_of(const object& o) {
  static const object none;
  const value* v = o.if_contains("spec");
  return v && v->is_object() ? v->get_object() : none;
}

bool wants_ports(const object& spec) {
  std::string_view type = text_of(spec, "type");
  if (type == "NodePort") return true;
  const value* allocate = spec.if_contains("allocateLoadBalancerNodePorts");
  return type == "LoadBalancer" && !(allocate && allocate->is_bool() && !allocate->get_bool());
}

std::set<int64_t> node_ports(const object& spec) {
  std::set<int64_t> out;
  if (const value* ports = spec.if_contains("ports"); ports && ports->is_array())
    for (const value& p : ports->get_array())
      if (int64_t n = base::get_int(p, "nodePort")) out.insert(n);
  if (const value* n = spec.if_contains("healthCheckNodePort"); n && n->is_int64() && n->get_int64() != 0) out.insert(n->get_int64());
  return out;
}

std::set<std::string> addresses(const object& spec) {
  std::set<std::string> out;
  if (const value* ips = spec.if_contains("clusterIPs"); ips && ips->is_array())
    for (const value& ip : ips->get_array())
      if (ip.is_string() && ip.get_string() != "None" && !ip.get_string().empty()) out.emplace(ip.get_string());
  return out;
}

class Service final : public Strategy {
 public:
  explicit Service(const ApiServerOptions& o) : first_port_(o.node_port_first), last_port_(o.node_port_last) {
    if (auto c = parse_cidr(o.service_cidr)) cidr_ = *c;
  }

  Result<> prepare_create(WriteAttempt& attempt, object& o) const override {
    object& spec = spec_of(o);
    if (text_of(spec, "type").empty()) spec["type"] = "ClusterIP";
    CHECK_OK(settle_address(attempt, spec, {}, true));
    return settle_ports(attempt, spec, {});
  }

  Result<> prepare_update(WriteAttempt& attempt, object& now, const object& before) const override {
    object& spec = spec_of(now);
    const object& old = spec_of(before);
    if (attempt.subresource == "status") return {};
    // What the client leaves out and the server had chosen stays, as long as the type needs it.
    if (text_of(spec, "type") != "ExternalName" && text_of(old, "type") != "ExternalName") {
      for (std::string_view name : {"clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"})
        if (const value* v = old.if_contains(name); v && !spec.contains(name)) spec[name] = *v;
      if (text_of(spec, "clusterIP").empty())
        if (const value* v = old.if_contains("clusterIP")) spec["clusterIP"] = *v;
    }
    if (wants_ports(spec) && wants_ports(old)) keep_ports(spec, old);
    if (!wants_ports(spec) && wants_ports(old)) drop_kept_ports(spec, old);
    drop_unneeded(spec, old);
    CHECK_OK(settle_address(attempt, spec, addresses(old), false));
    return settle_ports(attempt, spec, node_ports(old));
  }

  void validate_create(const WriteAttempt&, const object& o, std::vector<base::Cause>& causes) const override {
    check_families(spec_of(o), causes);
  }

  void validate_update(const WriteAttempt&, const object& now, const object& before, std::vector<base::Cause>& causes) const override {
    const object &spec = spec_of(now), &old = spec_of(before);
    check_families(spec, causes);
    if (text_of(spec, "type") == "ExternalName" || text_of(old, "type") == "ExternalName" || text_of(old, "clusterIP").empty()) return;
    if (text_of(spec, "clusterIP") != text_of(old, "clusterIP"))
      causes.push_back(invalid_value("spec.clusterIPs[0]", value(text_of(spec, "clusterIP")), "may not change once set"));
  }

  void on_gone(WriteAttempt& attempt, const object& o) const override {
    const object& spec = spec_of(o);
    for (const std::string& ip : addresses(spec)) release(attempt, object_key(ip_group, "ipaddresses", {}, ip));
    for (int64_t port : node_ports(spec)) release(attempt, port_key(port));
  }

  bool creates_on_update() const override { return true; }

 private:
  static void release(WriteAttempt& attempt, const std::string& key) {
    if (datastore::RecordPtr r = attempt.store.get(key)) attempt.also.push_back({.key = key, .value = nullptr, .expected = r->revision});
  }

  static void keep_ports(object& spec, const object& old) {
    const value* before = old.if_contains("ports");
    value* ports = spec.if_contains("ports");
    if (!before || !before->is_array() || !ports || !ports->is_array()) return;
    std::set<int64_t> used = node_ports(spec);
    for (value& p : ports->get_array()) {
      if (!p.is_object() || base::get_int(p, "nodePort") != 0) continue;
      for (const value& was : before->get_array()) {
        int64_t n = base::get_int(was, "nodePort");
        if (n == 0 || used.contains(n) || base::get_int(was, "port") != base::get_int(p, "port")) continue;
        if (base::get_string(was, "protocol", "TCP") != base::get_string(p, "protocol", "TCP")) continue;
        p.get_object()["nodePort"] = n;
        used.insert(n);
        break;
      }
    }
  }

  // Addresses of the other family are nobody's here. Without a selector and an address of its own a Service may claim them.
  static void check_families(const object& spec, std::vector<base::Cause>& causes) {
    const value* selector = spec.if_contains("selector");
    bool selects = selector && selector->is_object() && !selector->get_object().empty();
    if (text_of(spec, "type") == "ExternalName" || (text_of(spec, "clusterIP") == "None" && !selects)) return;
    if (const value* families = spec.if_contains("ipFamilies"); families && families->is_array())
      for (size_t i = 0; i < families->get_array().size(); ++i)
        if (families->get_array()[i] == value("IPv6"))
          causes.push_back(
              invalid_value(fmt::format("spec.ipFamilies[{}]", i), families->get_array()[i], "not configured on this cluster"));
    if (text_of(spec, "ipFamilyPolicy") == "RequireDualStack")
      causes.push_back(
          invalid_value("spec.ipFamilyPolicy", value("RequireDualStack"), "this cluster is not configured for dual-stack services"));
  }

  // What the new type has no use for goes, unless the client has just said it.
  static void drop_unneeded(object& spec, const object& old) {
    auto drop = [&](std::string_view name) {
      const value *now = spec.if_contains(name), *before = old.if_contains(name);
      if (now && before && *now == *before) spec.erase(name);
    };
    const std::string type(text_of(spec, "type")), before(text_of(old, "type"));
    if (type == "ExternalName" && before != type)
      for (std::string_view name : {"clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"}) drop(name);
    if (type != "LoadBalancer" && before == "LoadBalancer")
      for (std::string_view name : {"allocateLoadBalancerNodePorts", "loadBalancerClass", "healthCheckNodePort"}) drop(name);
    const value* external = spec.if_contains("externalIPs");
    bool reachable = type == "NodePort" || type == "LoadBalancer" ||
                     (type == "ClusterIP" && external && external->is_array() && !external->get_array().empty());
    if (!reachable) drop("externalTrafficPolicy");
    if (text_of(spec, "externalTrafficPolicy") != "Local") drop("healthCheckNodePort");
  }

  // Node ports of a Service that becomes a ClusterIP go, unless the client asked for others.
  static void drop_kept_ports(object& spec, const object& old) {
    std::set<int64_t> had = node_ports(old);
    if (value* ports = spec.if_contains("ports"); ports && ports->is_array())
      for (value& p : ports->get_array())
        if (p.is_object() && had.contains(base::get_int(p, "nodePort"))) p.get_object().erase("nodePort");
    spec.erase("healthCheckNodePort");
  }

  Result<> settle_address(WriteAttempt& attempt, object& spec, const std::set<std::string>& had, bool is_new) const {
    const std::string type(text_of(spec, "type"));  // a copy: insertions move the members
    if (type == "ExternalName") {
      for (const std::string& ip : had) release(attempt, object_key(ip_group, "ipaddresses", {}, ip));
      return {};
    }
    std::string ip(text_of(spec, "clusterIP"));
    const value* ips = spec.if_contains("clusterIPs");
    const bool listed = ips && ips->is_array() && !ips->get_array().empty();
    // What a client wrote and contradicts itself is left to validation.
    if (is_new && listed && (ips->get_array().size() > 1 || ips->get_array()[0] != value(ip))) return {};
    if (ip.empty() && listed && ips->get_array()[0].is_string()) ip = ips->get_array()[0].get_string();
    if (ip.empty()) {
      TRY(ip, pick(attempt));
    }
    spec["clusterIP"] = ip;
    spec["clusterIPs"] = array{value(ip)};
    if (!spec.contains("ipFamilies")) spec["ipFamilies"] = array{value("IPv4")};
    if (!spec.contains("ipFamilyPolicy")) spec["ipFamilyPolicy"] = "SingleStack";
    if (!spec.contains("internalTrafficPolicy")) spec["internalTrafficPolicy"] = "Cluster";
    bool outside = type == "NodePort" || type == "LoadBalancer";
    if (outside && !spec.contains("externalTrafficPolicy")) spec["externalTrafficPolicy"] = "Cluster";
    if (type == "LoadBalancer" && !spec.contains("allocateLoadBalancerNodePorts")) spec["allocateLoadBalancerNodePorts"] = true;
    if (ip == "None" || had.contains(ip)) return {};
    auto number = parse_ipv4(ip);
    auto invalid = [&](std::string_view why) {
      return base::invalid("Service", attempt.name, {invalid_value("spec.clusterIPs", array{value(ip)}, why)});
    };
    if (!number) return invalid("must be an IPv4 address, \"None\" or empty");
    if (!is_usable(attempt, *number))
      return invalid(fmt::format("failed to allocate IP {}: the provided IP is not in the valid range. The range of valid IPs is {}/{}", ip,
                                 ipv4_text(cidr_.base), cidr_.bits));
    std::string key = object_key(ip_group, "ipaddresses", {}, ip);
    if (attempt.store.get(key)) return invalid(fmt::format("failed to allocate IP {}: provided IP is already allocated", ip));
    attempt.also.push_back(claim_address(attempt, key, ip));
    return {};
  }

  // Whether an address is one of a range and neither its network nor its broadcast address.
  bool is_usable(const WriteAttempt& attempt, uint32_t ip) const {
    auto within = [ip](const Cidr& c) { return c.contains(ip) && ip != c.base && ip != c.base + c.size() - 1; };
    if (within(cidr_)) return true;
    for (const ServiceRange& r : service_ranges(attempt.store))
      if (within(r.cidr)) return true;
    return false;
  }

  Result<std::string> pick(const WriteAttempt& attempt) const {
    if (auto ip = pick_from(attempt, cidr_)) return *ip;
    for (const ServiceRange& r : service_ranges(attempt.store))
      if (auto ip = pick_from(attempt, r.cidr)) return *ip;
    return base::internal("failed to allocate a serviceIP: range is full");
  }

  // Upper part of the range first: the lower one is for addresses that people choose.
  static std::optional<std::string> pick_from(const WriteAttempt& attempt, const Cidr& cidr) {
    if (cidr.size() < 4) return std::nullopt;
    uint64_t usable = cidr.size() - 2;
    uint64_t low = std::min<uint64_t>(std::max<uint64_t>(16, cidr.size() / 16), 256);
    if (low >= usable) low = 0;
    auto free_from = [&](uint64_t from, uint64_t count) -> std::optional<std::string> {
      if (count == 0) return std::nullopt;
      uint64_t start = random_number() % count;
      for (uint64_t i = 0; i < count; ++i) {
        std::string ip = ipv4_text(cidr.base + 1 + static_cast<uint32_t>(from + (start + i) % count));
        if (!attempt.store.get(object_key(ip_group, "ipaddresses", {}, ip))) return ip;
      }
      return std::nullopt;
    };
    if (auto ip = free_from(low, usable - low)) return ip;
    return free_from(0, low);
  }

  static datastore::Write claim_address(const WriteAttempt& attempt, const std::string& key, const std::string& ip) {
    value address =
        object{{"apiVersion", "networking.k8s.io/v1"},
               {"kind", "IPAddress"},
               {"metadata", object{{"name", ip},
                                   {"labels", object{{"ipaddress.kubernetes.io/ip-family", "IPv4"},
                                                     {"ipaddress.kubernetes.io/managed-by", "ipallocator.k8s.io"}}}}},
               {"spec", object{{"parentRef", object{{"resource", "services"}, {"namespace", attempt.ns}, {"name", attempt.name}}}}}};
    fill_new(metadata_of(address.as_object()), {}, false);
    datastore::Write w;
    w.key = key;
    w.value = base::make_bytes(canonical_text(address.as_object(), w.revision_offset));
    w.expected = 0;
    w.attributes = make_attributes(ip_group, "ipaddresses", address, w.revision_offset);
    return w;
  }

  Result<> settle_ports(WriteAttempt& attempt, object& spec, const std::set<int64_t>& had) const {
    std::set<int64_t> claimed;
    value* ports = spec.if_contains("ports");
    if (wants_ports(spec) && ports && ports->is_array()) {
      // Numbers asked for come first, so that none of them is taken by an automatic choice.
      std::set<int64_t> taken = node_ports(spec);
      size_t index = 0;
      for (value& p : ports->get_array()) {
        size_t i = index++;
        if (!p.is_object()) continue;
        int64_t n = base::get_int(p, "nodePort");
        if (n == 0) {
          // TCP and UDP of one port share a number.
          for (value& other : ports->get_array())
            if (&other != &p && base::get_int(other, "port") == base::get_int(p, "port") && base::get_int(other, "nodePort") != 0)
              n = base::get_int(other, "nodePort");
          if (n == 0) {
            TRY(n, pick_port(attempt, taken));
          }
          p.get_object()["nodePort"] = n;
          taken.insert(n);
        } else if (!had.contains(n) && !claimed.contains(n)) {
          auto invalid = [&](std::string_view why) {
            return base::invalid("Service", attempt.name, {invalid_value(fmt::format("spec.ports[{}].nodePort", i), value(n), why)});
          };
          if (n < first_port_ || n > last_port_)
            return invalid(
                fmt::format("provided port is not in the valid range. The range of valid ports is {}-{}", first_port_, last_port_));
          if (attempt.store.get(port_key(n))) return invalid("provided port is already allocated");
        }
        claimed.insert(n);
      }
    }
    if (text_of(spec, "type") == "LoadBalancer" && text_of(spec, "externalTrafficPolicy") == "Local") {
      const value* health = spec.if_contains("healthCheckNodePort");
      int64_t n = health && health->is_int64() ? health->get_int64() : 0;
      if (n == 0) {
        TRY(n, pick_port(attempt, claimed));
        spec["healthCheckNodePort"] = n;
      }
      claimed.insert(n);
    }
    for (int64_t n : claimed) {
      if (had.contains(n)) continue;
      datastore::Write w;
      w.key = port_key(n);
      w.value = base::make_bytes(base::to_text(object{{"service", attempt.ns + "/" + attempt.name}}));
      w.expected = 0;
      w.attributes = std::make_shared<Attributes>();
      attempt.also.push_back(std::move(w));
    }
    for (int64_t n : had)
      if (!claimed.contains(n)) release(attempt, port_key(n));
    return {};
  }

  Result<int64_t> pick_port(const WriteAttempt& attempt, const std::set<int64_t>& taken) const {
    int64_t count = last_port_ - first_port_ + 1;
    int64_t start = random_number() % count;
    for (int64_t i = 0; i < count; ++i) {
      int64_t n = first_port_ + (start + i) % count;
      if (!taken.contains(n) && !attempt.store.get(port_key(n))) return n;
    }
    return base::internal("failed to allocate a nodePort: range is full");
  }

  Cidr cidr_{};
  int64_t first_port_, last_port_;
};

}  // namespace

std::unique_ptr<const Strategy> make_service_strategy(const ApiServerOptions& options) { return std::make_unique<Service>(options); }

}  // namespace server
