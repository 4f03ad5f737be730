#include "api/validation/validate.h"

#include "api/validation/rules.h"

namespace api {

using validation::Checker;

std::vector<base::Cause> validate_create(const Kind& kind, const base::json::value& v) {
  Checker c;
  if (!v.is_object()) return {};
  if (kind.type->constraints) {
    validation::check_custom(c, *kind.type->constraints, v);
  } else {
    validation::check_declared(c, *kind.type, nullptr, v, {});
    if (const validation::KindRule* r = validation::rule_of(kind)) r->check(c, nullptr, v.get_object());
  }
  return std::move(c.causes);
}

std::vector<base::Cause> validate_update(const Kind& kind, const base::json::value& before, const base::json::value& after,
                                         std::string_view subresource) {
  Checker c;
  if (!before.is_object() || !after.is_object()) return {};
  const base::json::object &then = before.get_object(), &now = after.get_object();
  const bool status = subresource == "status";
  if (kind.type->constraints) {
    if (!status) validation::check_custom(c, *kind.type->constraints, after);
    return std::move(c.causes);
  }
  const validation::KindRule* r = validation::rule_of(kind);
  validation::check_declared(c, *kind.type, &then, after, {.status = status});
  if (status) {
    if (r && r->check_status) r->check_status(c, then, now);
    return std::move(c.causes);
  }
  if (r) r->check(c, &then, now);
  if (kind.group.empty() && kind.kind == "Pod") validation::check_pod_update(c, then, now, subresource);
  return std::move(c.causes);
}

}  // namespace api
