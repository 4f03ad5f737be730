// Join tokens: "A10<sha256 of the CA's PEM, hex>::<role>:<secret>", or the secret alone (docs/design/join.md).
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"

namespace server {

struct JoinTokens {
  std::string server, agent;  // secrets
};

// From the options, else <data-dir>/server/token and agent-token, else new ones; files are written 0600 in full form.
base::Result<JoinTokens> load_join_tokens(const std::string& data_dir, const std::string& given, const std::string& given_agent,
                                          const std::string& ca_pem);
std::string full_token(const std::string& ca_pem, std::string_view role, std::string_view secret);
// The secret in a token of either form: what follows "::<role>:", or all of it. A limited token "id.secret" is its own.
std::string_view secret_in_token(std::string_view token);

}  // namespace server
