// ServiceCIDRs: ready at once; one that is deleted gives no more addresses, and waits for its controller to find it free.
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
  Result<> prepare_create(WriteAttempt& attempt, object& o) const override {
    std::vector<std::string> cidrs = cidrs_of(o);
    bool usable = std::any_of(cidrs.begin(), cidrs.end(), [](const std::string& c) { return parse_cidr(c).has_value(); });
    set_ready(o, usable, usable ? "" : "UnsupportedIPFamily",
              usable ? "Kubernetes Service CIDR is ready" : "this cluster gives Services IPv4 addresses only");
    set_finalizer(metadata_of(o), service_cidr_finalizer, true);
    if (attempt.name != default_service_cidr) record(attempt, attempt.name, cidrs);
    return {};
  }

  Result<> prepare_update(WriteAttempt& attempt, object& now, const object& before) const override {
    const bool ends = metadata_of(now).contains("deletionTimestamp");
    if (attempt.subresource.empty() && ends != before.at("metadata").get_object().contains("deletionTimestamp")) {
      set_ready(now, false, "Terminating",
                "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR");
      if (attempt.name != default_service_cidr) record(attempt, attempt.name, {});
    }
    return {};
  }

  void on_gone(WriteAttempt& attempt, const object&) const override {
    if (attempt.name != default_service_cidr) record(attempt, attempt.name, {});
  }

 private:
  static void set_ready(object& o, bool ready, std::string_view reason, std::string_view message) {
    object condition{{"type", "Ready"}, {"status", ready ? "True" : "False"}, {"reason", reason}, {"message", message},
                     {"lastTransitionTime", base::now_rfc3339()}};
    o["status"] = object{{"conditions", array{std::move(condition)}}};
  }

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

std::unique_ptr<const Strategy> make_service_cidr_strategy() { return std::make_unique<ServiceCidr>(); }

}  // namespace server
