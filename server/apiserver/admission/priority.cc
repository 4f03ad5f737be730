// Priority: a pod's class becomes a number; without a class the default one, if any, or 0. At most one class is the default.
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
  bool handles(const Admit& a) const override {
    if (is_resource(a, "scheduling.k8s.io", "priorityclasses")) return a.object && base::get_bool(*a.object, "globalDefault");
    return a.operation == Operation::create && is_resource(a, "", "pods");
  }

  base::Task<Result<>> mutate(Admit a) override {
    if (!is_resource(a, "", "pods")) co_return Result<>{};
    object& spec = base::make_object(*a.object, "spec");
    const std::string class_name(text_of(spec, "priorityClassName"));
    value found;
    if (class_name.empty()) {
      CO_TRY(found, co_await default_class(a));
    } else {
      datastore::RecordPtr record = a.attempt.store.get(object_key("scheduling.k8s.io", "priorityclasses", {}, class_name));
      if (!record) co_return base::forbidden("pods", a.attempt.name, fmt::format("no PriorityClass with name {} was found", class_name));
      CO_TRY(found, base::parse_json(*record->value));
    }
    const int64_t priority = found.is_null() ? 0 : base::get_int(found, "value");
    if (const value* given = spec.if_contains("priority"); given && given->is_int64() && given->get_int64() != priority)
      co_return base::forbidden("pods", a.attempt.name,
                                fmt::format("the integer value of priority ({}) must not be provided in pod spec; priority admission "
                                            "controller computed {} from the given PriorityClass name",
                                            given->get_int64(), priority));
    std::string_view of_class = found.is_null() ? std::string_view() : base::get_string(found, "preemptionPolicy");
    const std::string policy(of_class.empty() ? std::string_view("PreemptLowerPriority") : of_class),
        asked(text_of(spec, "preemptionPolicy"));
    if (!asked.empty() && asked != policy)
      co_return base::forbidden("pods", a.attempt.name,
                                fmt::format("the string value of PreemptionPolicy ({}) must not be provided in pod spec; priority "
                                            "admission controller computed {} from the given "
                                            "PriorityClass name",
                                            asked, policy));
    spec["priority"] = priority;
    spec["preemptionPolicy"] = policy;
    if (!found.is_null() && class_name.empty()) spec["priorityClassName"] = base::get_string(found, "metadata.name");
    co_return Result<>{};
  }

  base::Task<Result<>> validate(Admit a) override {
    if (is_resource(a, "", "pods")) co_return Result<>{};
    CO_TRY(value other, co_await default_class(a));
    std::string_view has = other.is_null() ? std::string_view() : base::get_string(other, "metadata.name");
    if (has.empty() || has == a.attempt.name) co_return Result<>{};
    co_return base::forbidden(a.attempt.resource.qualified, a.attempt.name,
                              fmt::format("PriorityClass {} is already marked as default. Only one default can exist", has));
  }

 private:
  // Of several, which races can make, the lowest.
  static base::Task<Result<value>> default_class(Admit a) {
    auto all = co_await a.attempt.store.list(collection_prefix("scheduling.k8s.io", "priorityclasses"));
    if (!all) co_return std::unexpected(std::move(all).error());
    value found;
    for (const datastore::RecordPtr& r : all->records) {
      if (r->value->find("\"globalDefault\":true") == std::string::npos) continue;
      auto one = base::parse_json(*r->value);
      if (!one || !base::get_bool(*one, "globalDefault")) continue;
      if (found.is_null() || base::get_int(*one, "value") < base::get_int(found, "value")) found = std::move(*one);
    }
    co_return found;
  }
};

}  // namespace

Plugin make_priority_admission() { return std::make_unique<PriorityAdmission>(); }

}  // namespace server
