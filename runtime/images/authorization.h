// How a registry wants to be spoken to: challenges (RFC 7235, Docker token authentication) and the tokens they lead to.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/http/client.h"
#include "runtime/images/images.h"

namespace runtime {

struct Challenge {
  std::string scheme;  // "bearer", "basic"
  std::map<std::string, std::string> parameters;  // names in lower case
};
// The first challenge of a scheme that is understood.
std::optional<Challenge> parse_challenge(std::string_view header);

// The value of the Authorization header that answers the challenge. 401 when the credentials are refused.
// origin: URL of the endpoint; credentials never go from https to plain http.
Task<Result<std::string>> answer_challenge(base::http::Client& client, std::string origin, Challenge challenge, std::string repository,
                                           std::optional<RegistryCredentials> credentials);

// Parts of an absolute http(s) URL.
struct UrlParts {
  std::string scheme, host, port, path;  // path with query, at least "/"
  std::string authority() const { return port.empty() ? host : host + ":" + port; }
};
std::optional<UrlParts> split_url(std::string_view url);

}  // namespace runtime
