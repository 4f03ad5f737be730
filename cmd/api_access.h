// Where a kubeconfig leads and who it says we are.
#pragma once

#include <string>

#include "base/http/tls.h"

namespace cmd {

struct ApiAccess {
  std::string server;
  base::http::TlsClientOptions tls;
};
base::Result<ApiAccess> read_kubeconfig(const std::string& path);

}  // namespace cmd
