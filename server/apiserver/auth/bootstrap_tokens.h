// Bootstrap tokens "id.secret" of Secrets kube-system/bootstrap-token-<id> (Kubernetes documentation, "Authenticating with Bootstrap Tokens").
#pragma once

#include <string_view>

#include "base/error.h"
#include "base/json.h"
#include "datastore/store.h"
#include "server/apiserver/identity.h"

namespace server {

// Six and sixteen characters of a-z and 0-9 with a dot between them.
bool is_bootstrap_token(std::string_view token);
// The user of the token: system:bootstrap:<id> in system:bootstrappers and the groups the Secret names. 401 when it does not hold.
base::Result<UserInfo> bootstrap_user(const datastore::Store& store, std::string_view token);

// One decoded entry of a Secret's data; empty when absent.
std::string secret_entry(const base::json::value& secret, std::string_view name);
// Whether the Secret's entry "expiration" has passed; an unreadable time has.
bool secret_expired(const base::json::value& secret);

}  // namespace server
