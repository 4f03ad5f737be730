#include "server/apiserver/auth/authorizer.h"

namespace server {

base::Task<Decision> Authorizer::decide(const UserInfo& user, Access access) const {
  if (user.in_group("system:masters")) co_return Decision{true, "system:masters"};
  Decision by_node;
  if (auto node = node_of(user)) {
    by_node = co_await node_access(store_, *node, access);
    if (by_node.allowed) co_return by_node;
  }
  Decision by_role = rbac_.authorize(user, access);
  if (!by_role.allowed && by_role.reason.empty()) by_role.reason = by_node.reason;
  co_return by_role;
}

base::Task<base::Result<>> Authorizer::check(const UserInfo& user, Access access) const {
  Decision d = co_await decide(user, access);
  if (d.allowed) co_return base::Result<>{};
  base::Error e;
  e.code = 403;
  e.reason = "Forbidden";
  e.message = denial(user, access, d.reason);
  e.name = access.name;
  e.group = access.group;
  e.kind = access.resource;
  co_return std::unexpected(std::move(e));
}

}  // namespace server
