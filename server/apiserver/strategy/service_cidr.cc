// ServiceCIDRs: ready at once; gone only when no address of theirs is in use that no other range covers.
#include <algorithm>

#include <fmt/format.h>

#include "base/time.h"
#include "server/apiserver/registry/attributes.h"
#include "server/apiserver/registry/keys.h"
#include "server/apiserver/strategy/all.h"
#include "server/apiserver/strategy/service_ranges.h"

namespace server {
namespace {

using base::json::array;
using base::json::object;
using base::json::value;

constexpr std::string_view ranges_key = "/registry/appliance/servicecidrs";

std::vector<std::string> cidrs_of(const object& o) {
  std::vector<std::string> out;
  const value whole(o);
  if (const array* list = base::find_array(whole, "spec.cidrs"))
    for (const value& v : *list)
      if (v.is_string()) out.emplace_back(v.get_string());
  return out;
}

class ServiceCidr final : public Strategy {
 public:
  explicit ServiceCidr(const ApiServerOptions& options) {
    if (auto c = parse_cidr(options.service_cidr)) default_ = *c;
  }

  Result<> prepare_create(WriteAttempt& attempt, object& o) const override {
    std::vector<std::string> cidrs = cidrs_of(o);
    bool usable = std::any_of(cidrs.begin(), cidrs.end(), [](const std::string& c) { return parse_cidr(c).has_value(); });
    object condition{{"type", "Ready"},
                     {"status", usable ? "True" : "False"},
                     {"reason", usable ? "" : "UnsupportedIPFamily"},
                     {"message", usable ? "Kubernetes Service CIDR is ready" : "this cluster gives Services IPv4 addresses only"},
                     {"lastTransitionTime", base::now_rfc3339()}};
    o["status"] = object{{"conditions", array{std::move(condition)}}};
    if (attempt.name != default_service_cidr) record(attempt, attempt.name, cidrs);
    return {};
  }

  Result<> prepare_update(WriteAttempt& attempt, object& now, const object& before) const override {
    if (attempt.subresource.empty() && attempt.name != default_service_cidr && cidrs_of(now) != cidrs_of(before)) record(attempt, attempt.name, cidrs_of(now));
    return {};
  }

  Result<> allow_delete(WriteAttempt& attempt, const object& o) const override {
    std::vector<Cidr> others;
    if (attempt.name != default_service_cidr) others.push_back(default_);
    for (const ServiceRange& r : service_ranges(attempt.store))
      if (r.object != attempt.name) others.push_back(r.cidr);
    for (const std::string& text : cidrs_of(o)) {
      auto range = parse_cidr(text);
      if (!range) continue;
      const uint64_t most = std::min<uint64_t>(range->size(), uint64_t{1} << 20);
      for (uint64_t i = 0; i < most; ++i) {
        uint32_t ip = range->base + static_cast<uint32_t>(i);
        if (std::any_of(others.begin(), others.end(), [&](const Cidr& c) { return c.contains(ip); })) continue;
        if (attempt.store.get(object_key("networking.k8s.io", "ipaddresses", {}, ipv4_text(ip))))
          return base::conflict("servicecidrs.networking.k8s.io", attempt.name, fmt::format("address {} of it is in use", ipv4_text(ip)));
      }
    }
    return {};
  }

  void on_gone(WriteAttempt& attempt, const object&) const override {
    if (attempt.name != default_service_cidr) record(attempt, attempt.name, {});
  }

 private:
  // Sets the ranges of one object in the record of all.
  static void record(WriteAttempt& attempt, const std::string& name, const std::vector<std::string>& cidrs) {
    datastore::RecordPtr old = attempt.store.get(ranges_key);
    object all;
    if (old)
      if (auto v = base::parse_json(*old->value, 16); v && v->is_object()) all = v->get_object();
    if (cidrs.empty()) {
      all.erase(name);
    } else {
      array list;
      for (const std::string& c : cidrs) list.emplace_back(c);
      all[name] = std::move(list);
    }
    datastore::Write w;
    w.key = ranges_key;
    w.value = base::make_bytes(base::to_text(all));
    w.expected = old ? old->revision : 0;
    w.attributes = std::make_shared<Attributes>();
    attempt.also.push_back(std::move(w));
  }

  Cidr default_{};
};

}  // namespace

std::vector<ServiceRange> service_ranges(const datastore::Store& store) {
  std::vector<ServiceRange> out;
  datastore::RecordPtr record = store.get(ranges_key);
  if (!record) return out;
  auto all = base::parse_json(*record->value, 16);
  if (!all || !all->is_object()) return out;
  for (const auto& [name, list] : all->get_object()) {
    if (!list.is_array()) continue;
    for (const value& v : list.get_array())
      if (v.is_string())
        if (auto c = parse_cidr(std::string_view(v.get_string()))) out.push_back({std::string(name), *c});
  }
  return out;
}

std::unique_ptr<const Strategy> make_service_cidr_strategy(const ApiServerOptions& options) { return std::make_unique<ServiceCidr>(options); }

}  // namespace server
