// ResourceQuota: what is created, or grows, is charged to the namespace's quotas in the transaction that writes it, so that racing requests never get more
// than the quota allows. Releases are left to the quota controller, which counts afresh.
#include <fmt/format.h>

#include "api/quota.h"
#include "server/apiserver/admission/all.h"
#include "server/apiserver/registry/keys.h"
#include "server/apiserver/registry/write.h"

namespace server {
namespace {

using api::Amounts;
using api::Quantity;
using base::json::object;
using base::json::value;

std::string listed(const Amounts& amounts) {
  std::string out;
  for (const auto& [name, q] : amounts) out += fmt::format("{}{}={}", out.empty() ? "" : ",", name, q.to_string());
  return out;
}

class ResourceQuota final : public AdmissionPlugin {
 public:
  std::string_view name() const override { return "ResourceQuota"; }
  bool handles(const Admit& a) const override {
    if (!a.attempt.resource.namespaced || a.attempt.resource.is_virtual || a.attempt.resource.resource == "events") return false;
    // What an update can make dearer.
    bool grows = a.operation == Operation::update &&
                 ((is_resource(a, "", "pods") && a.attempt.subresource == "resize") ||
                  ((is_resource(a, "", "services") || is_resource(a, "", "persistentvolumeclaims")) && a.attempt.subresource.empty()));
    return (a.operation == Operation::create || grows) && a.attempt.store.count(collection_prefix("", "resourcequotas", a.attempt.ns)) > 0;
  }

  base::Task<Result<>> validate(Admit a) override {
    auto all = co_await a.attempt.store.list(collection_prefix("", "resourcequotas", a.attempt.ns));
    if (!all) co_return std::unexpected(std::move(all).error());
    for (const datastore::RecordPtr& record : all->records) CO_CHECK_OK(take(a, *record));
    co_return Result<>{};
  }

 private:
  static Result<> take(const Admit& a, const datastore::Record& record) {
    const std::string& resource = a.attempt.resource.qualified;
    TRY(value quota, base::parse_json(*record.value, 256));
    const object* hard = base::find_object(quota, "status.hard");
    if (!hard || !api::quota_takes(quota, resource, *a.object)) return {};
    const std::string quota_name(name_in_key(record.key));
    auto refuse = [&](std::string why) { return base::forbidden(resource, a.attempt.name, why); };
    if (is_resource(a, "", "pods") && a.operation == Operation::create)
      if (std::string silent = api::quota_silence(*hard, *a.object); !silent.empty())
        return refuse(fmt::format("failed quota: {}: {}", quota_name, silent));
    Amounts charge = api::quota_charge(resource, *a.object);
    if (a.before && api::quota_takes(quota, resource, *a.before))
      for (const auto& [name, q] : api::quota_charge(resource, *a.before)) charge[name] -= q;
    Amounts requested, used, limited;
    std::string unknown;
    object now;
    if (const object* before = base::find_object(quota, "status.used")) now = *before;
    bool any = false;
    for (const auto& [name, limit] : *hard) {
      auto it = charge.find(std::string_view(name));
      if (it == charge.end() || it->second.sign() <= 0) continue;
      const value* spent = now.if_contains(name);
      if (!spent || !spent->is_string()) {
        unknown += fmt::format("{}{}", unknown.empty() ? "" : ",", std::string_view(name));
        continue;
      }
      Quantity was = Quantity::of(spent->get_string()), most = limit.is_string() ? Quantity::of(limit.get_string()) : Quantity();
      if (was + it->second > most) {
        requested[it->first] = it->second;
        used[it->first] = was;
        limited[it->first] = most;
      }
      now[name] = (was + it->second).to_string();
      any = true;
    }
    if (!unknown.empty()) return refuse(fmt::format("status unknown for quota: {}, resources: {}", quota_name, unknown));
    if (!requested.empty())
      return refuse(fmt::format("exceeded quota: {}, requested: {}, used: {}, limited: {}", quota_name, listed(requested), listed(used),
                                listed(limited)));
    if (a.attempt.call.dry_run || !any) return {};
    base::make_object(quota, "status")["used"] = std::move(now);
    // The row of quotas, for its attributes.
    static const ResourceInfo row = [] {
      ResourceInfo r;
      r.resource = "resourcequotas";
      return r;
    }();
    a.attempt.also.push_back(object_write(row, record.key, quota, record.revision));
    return {};
  }
};

}  // namespace

Plugin make_resource_quota_admission() { return std::make_unique<ResourceQuota>(); }

}  // namespace server
