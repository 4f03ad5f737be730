#include "api/types/rbac_v1.h"
#include "server/controllers/controllers.h"
#include "server/controllers/objects.h"

namespace server::controllers {
namespace {

namespace rbac = api::rbac;

// Converges: the rules of a ClusterRole with an aggregationRule to the union of those of the ClusterRoles it selects.
class RoleAggregation final : public Controller {
 public:
  explicit RoleAggregation(Context& c) : Controller(c), roles_(informer<rbac::ClusterRole>()) {
    roles_.on_change([this](const auto&, const auto&) {
      for (const auto& r : roles_.list())
        if (r->aggregationRule) enqueue(r->metadata);
    });
  }
  std::string_view name() const override { return "clusterrole-aggregation"; }

  Task<Result<Requeue>> reconcile(ObjectKey key) override {
    auto role = roles_.get(key);
    if (!role || !role->aggregationRule) co_return Requeue{};
    std::vector<rbac::PolicyRule> rules;
    for (const auto& selector : role->aggregationRule->clusterRoleSelectors)
      for (const auto& other : roles_.list()) {
        if (other->metadata.name == key.name || !api::selects(selector, other->metadata.labels)) continue;
        for (const auto& rule : other->rules)
          if (std::find(rules.begin(), rules.end(), rule) == rules.end()) rules.push_back(rule);
      }
    if (rules == role->rules) co_return Requeue{};
    rbac::ClusterRole changed = *role;
    changed.rules = std::move(rules);
    auto r = co_await api::update(client_, std::move(changed));
    if (!r && !base::is_not_found(r.error())) co_return std::unexpected(std::move(r).error());
    co_return Requeue{};
  }

 private:
  api::Informer<rbac::ClusterRole>& roles_;
};

}  // namespace

Made make_role_aggregation(Context& c) { return std::make_unique<RoleAggregation>(c); }

}  // namespace server::controllers
