// Priority: a pod's class becomes a number; without a class the default one, if any, or 0.
#include <fmt/format.h>

#include "server/apiserver/admission/all.h"

#include "server/apiserver/registry/keys.h"

namespace server {
namespace {

using base::json::object;
using base::json::value;

class PriorityAdmission final : public AdmissionPlugin {
 public:
  std::string_view name() const override { return "Priority"; }
  bool handles(const Admit& a) const override { return a.operation == Operation::create && is_resource(a, "", "pods"); }

  base::Task<Result<>> mutate(Admit a) override {
    object& spec = base::make_object(*a.object, "spec");
    std::string class_name(text_of(spec, "priorityClassName"));
    value found;
    if (class_name.empty()) {
      auto all = co_await a.attempt.store.list(collection_prefix("scheduling.k8s.io", "priorityclasses"));
      if (!all) co_return std::unexpected(std::move(all).error());
      for (const datastore::RecordPtr& r : all->records) {
        auto one = base::parse_json(*r->value);
        if (!one || !base::get_bool(*one, "globalDefault")) continue;
        if (found.is_null() || base::get_int(*one, "value") < base::get_int(found, "value")) found = std::move(*one);
      }
    } else {
      datastore::RecordPtr record = a.attempt.store.get(object_key("scheduling.k8s.io", "priorityclasses", {}, class_name));
      if (!record) co_return base::forbidden("pods", a.attempt.name, fmt::format("no PriorityClass with name {} was found", class_name));
      CO_TRY(found, base::parse_json(*record->value));
    }
    int64_t priority = found.is_null() ? 0 : base::get_int(found, "value");
    if (const value* given = spec.if_contains("priority"); given && given->is_int64() && given->get_int64() != priority)
      co_return base::forbidden("pods", a.attempt.name,
                                fmt::format("the integer value of priority ({}) must not be provided in pod spec; priority admission controller computed {} from the given PriorityClass name",
                                            given->get_int64(), priority));
    spec["priority"] = priority;
    if (!found.is_null() && class_name.empty()) spec["priorityClassName"] = base::get_string(found, "metadata.name");
    std::string_view policy = found.is_null() ? std::string_view() : base::get_string(found, "preemptionPolicy");
    if (text_of(spec, "preemptionPolicy").empty()) spec["preemptionPolicy"] = policy.empty() ? std::string_view("PreemptLowerPriority") : policy;
    co_return Result<>{};
  }
};

}  // namespace

std::unique_ptr<AdmissionPlugin> make_priority_admission() { return std::make_unique<PriorityAdmission>(); }

}  // namespace server
