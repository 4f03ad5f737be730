// LimitRanger: a namespace's LimitRanges give containers default requests and limits, and bound those of containers, pods and claims.
#include <fmt/format.h>

#include <map>

#include "api/quantity.h"
#include "server/apiserver/admission/all.h"
#include "server/apiserver/registry/keys.h"

namespace server {
namespace {

using api::Quantity;
using base::json::object;
using base::json::value;
using Amounts = std::map<std::string, Quantity>;

Amounts amounts(const value& from, std::string_view path) {
  Amounts out;
  if (const object* o = base::find_object(from, path))
    for (const auto& [name, q] : *o)
      if (q.is_string()) out[std::string(name)] = Quantity::of(q.get_string());
  return out;
}

void set_missing(value& container, std::string_view path, const object* defaults) {
  if (!defaults) return;
  object& into = base::make_object(container, path);
  for (const auto& [name, q] : *defaults)
    if (!into.contains(name)) into[name] = q;
}

// One limit against what an object of its type asks for.
void check(const value& limit, const Amounts& requests, const Amounts& limits, std::vector<std::string>& wrong) {
  const std::string type(base::get_string(limit, "type"));
  for (const auto& [name, least] : amounts(limit, "min")) {
    auto r = requests.find(name), l = limits.find(name);
    if (r == requests.end()) wrong.push_back(fmt::format("minimum {} usage per {} is {}.  No request is specified", name, type, least.to_string()));
    else if (r->second < least) wrong.push_back(fmt::format("minimum {} usage per {} is {}, but request is {}", name, type, least.to_string(), r->second.to_string()));
    else if (l != limits.end() && l->second < least) wrong.push_back(fmt::format("minimum {} usage per {} is {}, but limit is {}", name, type, least.to_string(), l->second.to_string()));
  }
  for (const auto& [name, most] : amounts(limit, "max")) {
    auto r = requests.find(name), l = limits.find(name);
    if (type == "PersistentVolumeClaim") {
      if (r != requests.end() && r->second > most) wrong.push_back(fmt::format("maximum {} usage per {} is {}, but request is {}", name, type, most.to_string(), r->second.to_string()));
    } else if (l == limits.end()) {
      wrong.push_back(fmt::format("maximum {} usage per {} is {}.  No limit is specified", name, type, most.to_string()));
    } else if (l->second > most) {
      wrong.push_back(fmt::format("maximum {} usage per {} is {}, but limit is {}", name, type, most.to_string(), l->second.to_string()));
    } else if (r != requests.end() && r->second > most) {
      wrong.push_back(fmt::format("maximum {} usage per {} is {}, but request is {}", name, type, most.to_string(), r->second.to_string()));
    }
  }
  for (const auto& [name, ratio] : amounts(limit, "maxLimitRequestRatio")) {
    auto r = requests.find(name), l = limits.find(name);
    if (r == requests.end() || l == limits.end() || r->second.is_zero()) wrong.push_back(fmt::format("{} max limit to request ratio per {} is {}, but no request is specified or request is 0", name, type, ratio.to_string()));
    else if (l->second.as_double() / r->second.as_double() > ratio.as_double())
      wrong.push_back(fmt::format("{} max limit to request ratio per {} is {}, but provided ratio is {:.6f}", name, type, ratio.to_string(), l->second.as_double() / r->second.as_double()));
  }
}

class LimitRanger final : public AdmissionPlugin {
 public:
  std::string_view name() const override { return "LimitRanger"; }
  bool handles(const Admit& a) const override {
    return a.operation == Operation::create && (is_resource(a, "", "pods") || is_resource(a, "", "persistentvolumeclaims")) &&
           a.attempt.store.count(collection_prefix("", "limitranges", a.attempt.ns)) > 0;
  }

  base::Task<Result<>> mutate(Admit a) override {
    if (!is_resource(a, "", "pods")) co_return Result<>{};
    CO_TRY(std::vector<value> limits, co_await limits_of(a));
    for (const value& limit : limits) {
      if (base::get_string(limit, "type") != "Container") continue;
      for (std::string_view list : {"containers", "initContainers"}) {
        value* containers = base::make_object(*a.object, "spec").if_contains(list);
        if (!containers || !containers->is_array()) continue;
        for (value& c : containers->get_array()) {
          if (!c.is_object()) continue;
          set_missing(c, "resources.requests", base::find_object(limit, "defaultRequest"));
          set_missing(c, "resources.limits", base::find_object(limit, "default"));
        }
      }
    }
    co_return Result<>{};
  }

  base::Task<Result<>> validate(Admit a) override {
    CO_TRY(std::vector<value> limits, co_await limits_of(a));
    std::vector<std::string> wrong;
    for (const value& limit : limits) {
      std::string_view type = base::get_string(limit, "type");
      if (!is_resource(a, "", "pods")) {
        if (type == "PersistentVolumeClaim") check(limit, amounts(*a.object, "spec.resources.requests"), amounts(*a.object, "spec.resources.limits"), wrong);
        continue;
      }
      Amounts requests, bounds;
      for (const char* list : {"spec.containers", "spec.initContainers"}) {
        const base::json::array* containers = base::find_array(*a.object, list);
        if (!containers) continue;
        for (const value& c : *containers) {
          Amounts r = amounts(c, "resources.requests"), l = amounts(c, "resources.limits");
          if (type == "Container") check(limit, r, l, wrong);
          if (std::string_view(list) != "spec.containers") continue;
          for (const auto& [name, q] : r) requests[name] += q;
          for (const auto& [name, q] : l) bounds[name] += q;
        }
      }
      if (type == "Pod") check(limit, requests, bounds, wrong);
    }
    if (wrong.empty()) co_return Result<>{};
    std::string text;
    for (const std::string& w : wrong) text += fmt::format("{}{}", text.empty() ? "" : ", ", w);
    co_return base::forbidden(a.attempt.resource.qualified, a.attempt.name, wrong.size() == 1 ? text : "[" + text + "]");
  }

 private:
  static base::Task<Result<std::vector<value>>> limits_of(Admit a) {
    auto all = co_await a.attempt.store.list(collection_prefix("", "limitranges", a.attempt.ns));
    if (!all) co_return std::unexpected(std::move(all).error());
    std::vector<value> out;
    for (const datastore::RecordPtr& record : all->records) {
      CO_TRY(value range, base::parse_json(*record->value, 256));
      if (const base::json::array* limits = base::find_array(range, "spec.limits")) out.insert(out.end(), limits->begin(), limits->end());
    }
    co_return out;
  }
};

}  // namespace

std::unique_ptr<AdmissionPlugin> make_limit_ranger_admission() { return std::make_unique<LimitRanger>(); }

}  // namespace server
