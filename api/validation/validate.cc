#include "api/validation/validate.h"

#include "api/validation/checker.h"

namespace api {
namespace {

using validation::Checker;

void check(Checker& c, const Kind& kind, const base::json::object* before, const base::json::value& v) {
  const base::json::object& o = v.get_object();
  if (kind.type->constraints) return validation::check_custom(c, *kind.type->constraints, v);
  validation::check_schema(c, *kind.type, v, {});
  validation::check_workload(c, kind, before, o) || validation::check_network(c, kind, before, o) || validation::check_data(c, kind, before, o) ||
      validation::check_rbac(c, kind, before, o) || validation::check_cluster(c, kind, before, o);
}

}  // namespace

std::vector<base::Cause> validate_create(const Kind& kind, const base::json::value& object) {
  Checker c;
  if (object.is_object()) check(c, kind, nullptr, object);
  return std::move(c.causes);
}

std::vector<base::Cause> validate_update(const Kind& kind, const base::json::value& before, const base::json::value& after,
                                         std::string_view subresource) {
  Checker c;
  if (!before.is_object() || !after.is_object() || subresource == "status") return {};
  check(c, kind, &before.get_object(), after);
  if (kind.group.empty() && kind.kind == "Pod") validation::check_pod_update(c, before.get_object(), after.get_object(), subresource);
  return std::move(c.causes);
}

}  // namespace api
