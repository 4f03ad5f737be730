#include "cmd/api_access.h"

#include <yaml-cpp/yaml.h>

#include "base/bytes.h"
#include "base/files.h"

namespace cmd {

base::Result<ApiAccess> read_kubeconfig(const std::string& path) {
  TRY(std::string text, base::read_file(path, 1u << 20));
  try {
    YAML::Node root = YAML::Load(text);
    YAML::Node cluster = root["clusters"][0]["cluster"], user = root["users"][0]["user"];
    auto decoded = [](const YAML::Node& n) { return base::base64_decode(n.as<std::string>()); };
    ApiAccess a;
    a.server = cluster["server"].as<std::string>();
    TRY(a.tls.ca_pem, decoded(cluster["certificate-authority-data"]));
    base::http::KeyPair identity;
    TRY(identity.certificate_pem, decoded(user["client-certificate-data"]));
    TRY(identity.key_pem, decoded(user["client-key-data"]));
    a.tls.identity = std::move(identity);
    return a;
  } catch (const YAML::Exception& e) {
    return base::bad_request(path + ": " + e.what());
  }
}

}  // namespace cmd
