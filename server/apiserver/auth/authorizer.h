// All ways to be allowed something, in order: system:masters, the node authoriser, RBAC.
#pragma once

#include "server/apiserver/auth/node_access.h"
#include "server/apiserver/auth/rbac.h"

namespace server {

class Authorizer {
 public:
  Authorizer(const datastore::Store& store, const Rbac& rbac) : store_(store), rbac_(rbac) {}
  base::Task<Decision> decide(const UserInfo& user, Access access) const;
  // 403 in Kubernetes' words when not allowed.
  base::Task<base::Result<>> check(const UserInfo& user, Access access) const;
  const Rbac& rbac() const { return rbac_; }

 private:
  const datastore::Store& store_;
  const Rbac& rbac_;
};

}  // namespace server
