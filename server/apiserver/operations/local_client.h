// api::Client straight to the registry, for components of this process: the same authorisation, admission and audit as over HTTPS. What they read is
// not audited, and they are not counted by flow control: they wait for nothing and bound their own concurrency.
#pragma once

#include "server/apiserver/audit/auditor.h"
#include "server/apiserver/operations/operations.h"

namespace server {

// manager: the field manager of what it writes. auditor: may be null.
std::shared_ptr<api::Client> make_local_client(Operations& operations, UserInfo identity, std::string manager, audit::Auditor* auditor);

}  // namespace server
