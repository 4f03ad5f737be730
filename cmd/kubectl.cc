// `appliance kubectl`: the host's kubectl with this cluster's kubeconfig.
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "base/files.h"
#include "cmd/commands.h"
#include "cmd/options.h"

namespace cmd {

int kubectl(const Arguments& arguments) {
  auto parsed = parse_options(kServer, {});
  std::string config = parsed ? parsed->options.write_kubeconfig : Options().write_kubeconfig;
  if (!std::getenv("KUBECONFIG") && base::exists(config)) ::setenv("KUBECONFIG", config.c_str(), 1);
  std::vector<char*> argv{const_cast<char*>("kubectl")};
  for (const std::string& a : arguments) argv.push_back(const_cast<char*>(a.c_str()));
  argv.push_back(nullptr);
  ::execvp("kubectl", argv.data());
  return complain(
      "kubectl", errno == ENOENT ? "there is no kubectl on this host; on Debian: apt-get install kubernetes-client" : std::strerror(errno));
}

}  // namespace cmd
