// api::Client straight to the registry, for components of this process: the same authorisation and admission as over HTTPS.
#pragma once

#include "server/apiserver/operations/operations.h"

namespace server {

std::shared_ptr<api::Client> make_local_client(Operations& operations, UserInfo identity);

}  // namespace server
