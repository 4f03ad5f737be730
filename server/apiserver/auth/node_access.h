// The node authoriser: what an agent may do as system:node:<name>. Secrets, ConfigMaps, volumes and tokens only as far as pods on that node (or, for TLS
// secrets, Ingresses, which every node serves) refer to them.
#pragma once

#include <optional>
#include <string>

#include "base/io.h"
#include "datastore/store.h"
#include "server/apiserver/auth/access.h"

namespace server {

// The node's name when the user is one.
std::optional<std::string> node_of(const UserInfo& user);
base::Task<Decision> node_access(const datastore::Store& store, std::string node, Access access);

}  // namespace server
