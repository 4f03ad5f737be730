// LimitRanger: a namespace's LimitRanges give containers default requests and limits, and bound those of containers, pods and claims.
#include <fmt/format.h>

#include "api/quota.h"
#include "server/apiserver/admission/all.h"
#include "server/apiserver/registry/keys.h"

namespace server {
namespace {

using api::Amounts;
using api::Quantity;
using api::amounts_at;
using base::json::object;
using base::json::value;

// Adds what is missing; says what it was, by name.
std::string set_missing(value& container, std::string_view path, const object& defaults, std::string_view what) {
  std::string set;
  object& into = base::make_object(container, path);
  for (const auto& [name, q] : defaults)
    if (!into.contains(name)) {
      into[name] = q;
      set += fmt::format("{}{}", set.empty() ? "" : ", ", std::string_view(name));
    }
  return set.empty() ? set : fmt::format("{} {}", set, what);
}

// One limit against what an object of its type asks for.
void check(const value& limit, const Amounts& requests, const Amounts& limits, std::vector<std::string>& wrong) {
  const std::string type(base::get_string(limit, "type"));
  const bool claim = type == "PersistentVolumeClaim";
  auto say = [&](std::string_view which, const std::string& name, const Quantity& bound, std::string_view rest) {
    wrong.push_back(fmt::format("{} {} usage per {} is {}{}", which, name, type, bound.to_string(), rest));
  };
  auto but = [](std::string_view what, const Quantity& q) { return fmt::format(", but {} is {}", what, q.to_string()); };
  for (const auto& [name, least] : amounts_at(limit, "min")) {
    auto r = requests.find(name), l = limits.find(name);
    if (r == requests.end()) say("minimum", name, least, ".  No request is specified");
    else if (r->second < least) say("minimum", name, least, but("request", r->second));
    else if (l != limits.end() && l->second < least) say("minimum", name, least, but("limit", l->second));
  }
  for (const auto& [name, most] : amounts_at(limit, "max")) {
    auto r = requests.find(name), l = limits.find(name);
    if (claim && r == requests.end()) say("maximum", name, most, ".  No request is specified");
    else if (!claim && l == limits.end()) say("maximum", name, most, ".  No limit is specified");
    else if (!claim && l->second > most) say("maximum", name, most, but("limit", l->second));
    else if (r != requests.end() && r->second > most) say("maximum", name, most, but("request", r->second));
  }
  for (const auto& [name, ratio] : amounts_at(limit, "maxLimitRequestRatio")) {
    auto r = requests.find(name), l = limits.find(name);
    auto complain = [&](std::string_view why) {
      wrong.push_back(fmt::format("{} max limit to request ratio per {} is {}, but {}", name, type, ratio.to_string(), why));
    };
    if (r == requests.end() || r->second.is_zero()) complain("no request is specified or request is 0");
    else if (l == limits.end() || l->second.is_zero()) complain("no limit is specified or limit is 0");
    else if (double has = l->second.as_double() / r->second.as_double(); has > ratio.as_double())
      complain(fmt::format("provided ratio is {:.6f}", has));
  }
}

// "requests." or "limits." of a pod's amounts.
Amounts part(const Amounts& all, std::string_view prefix) {
  Amounts out;
  for (const auto& [name, q] : all)
    if (name.starts_with(prefix)) out[name.substr(prefix.size())] = q;
  return out;
}

class LimitRanger final : public AdmissionPlugin {
 public:
  std::string_view name() const override { return "LimitRanger"; }
  bool handles(const Admit& a) const override {
    const bool create = a.operation == Operation::create, update = a.operation == Operation::update;
    bool ours = is_resource(a, "", "pods")
                    ? create || (update && a.attempt.subresource == "resize")
                    : is_resource(a, "", "persistentvolumeclaims") && (create || update) && a.attempt.subresource.empty();
    return ours && a.attempt.store.count(collection_prefix("", "limitranges", a.attempt.ns)) > 0;
  }

  base::Task<Result<>> mutate(Admit a) override {
    if (!is_resource(a, "", "pods") || a.operation != Operation::create) co_return Result<>{};
    CO_TRY(std::vector<value> limits, co_await limits_of(a));
    std::string told;
    for (const value& limit : limits) {
      if (base::get_string(limit, "type") != "Container") continue;
      for (std::string_view list : {"containers", "initContainers"}) {
        value* containers = base::make_object(*a.object, "spec").if_contains(list);
        if (!containers || !containers->is_array()) continue;
        for (value& c : containers->get_array()) {
          if (!c.is_object()) continue;
          const std::string whom = fmt::format("{}container {}", list == "containers" ? "" : "init ", base::get_string(c, "name"));
          auto fill = [&](std::string_view path, const char* from, std::string_view what) {
            const object* defaults = base::find_object(limit, from);
            if (!defaults || defaults->empty()) return;
            if (std::string set = set_missing(c, path, *defaults, what); !set.empty())
              told += fmt::format("{}{} for {}", told.empty() ? "" : "; ", set, whom);
          };
          fill("resources.requests", "defaultRequest", "request");
          fill("resources.limits", "default", "limit");
        }
      }
    }
    if (!told.empty())
      base::make_object(*a.object, "metadata.annotations")["kubernetes.io/limit-ranger"] = "LimitRanger plugin set: " + told;
    co_return Result<>{};
  }

  base::Task<Result<>> validate(Admit a) override {
    CO_TRY(std::vector<value> limits, co_await limits_of(a));
    std::vector<std::string> wrong;
    for (const value& limit : limits) {
      std::string_view type = base::get_string(limit, "type");
      if (!is_resource(a, "", "pods")) {
        if (type == "PersistentVolumeClaim")
          check(limit, amounts_at(*a.object, "spec.resources.requests"), amounts_at(*a.object, "spec.resources.limits"), wrong);
        continue;
      }
      if (type == "Container")
        for (const char* list : {"spec.containers", "spec.initContainers"})
          if (const base::json::array* containers = base::find_array(*a.object, list))
            for (const value& c : *containers) check(limit, amounts_at(c, "resources.requests"), amounts_at(c, "resources.limits"), wrong);
      if (type == "Pod") {
        Amounts all = api::pod_amounts(*a.object);
        check(limit, part(all, "requests."), part(all, "limits."), wrong);
      }
    }
    if (wrong.empty()) co_return Result<>{};
    co_return base::forbidden(a.attempt.resource.qualified, a.attempt.name,
                              wrong.size() == 1 ? wrong.front() : fmt::format("[{}]", fmt::join(wrong, ", ")));
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

Plugin make_limit_ranger_admission() { return std::make_unique<LimitRanger>(); }

}  // namespace server
