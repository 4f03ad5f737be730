#include "runtime/images/authorization.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/bytes.h"
#include "base/json.h"

namespace runtime {

namespace {

std::string lower(std::string_view text) {
  std::string result(text);
  std::ranges::transform(result, result.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return result;
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

// Form encoding of one value.
std::string form(std::string_view value) { return base::percent_encode(value); }

}  // namespace

std::optional<Challenge> parse_challenge(std::string_view header) {
  header = trim(header.substr(0, 8192));
  size_t space = header.find(' ');
  Challenge challenge;
  challenge.scheme = lower(header.substr(0, space));
  if (challenge.scheme != "bearer" && challenge.scheme != "basic") return std::nullopt;
  if (space == std::string_view::npos) return challenge;
  std::string_view rest = trim(header.substr(space + 1));
  while (!rest.empty()) {
    size_t equals = rest.find('=');
    if (equals == std::string_view::npos) break;
    std::string name = lower(trim(rest.substr(0, equals)));
    rest = trim(rest.substr(equals + 1));
    std::string value;
    if (rest.starts_with('"')) {
      size_t i = 1;
      for (; i < rest.size() && rest[i] != '"'; ++i) {
        if (rest[i] == '\\' && i + 1 < rest.size()) ++i;
        value += rest[i];
      }
      rest = trim(rest.substr(std::min(i + 1, rest.size())));
    } else {
      size_t comma = rest.find(',');
      value = trim(rest.substr(0, comma));
      rest = comma == std::string_view::npos ? std::string_view() : rest.substr(comma);
    }
    challenge.parameters[name] = value;
    if (rest.starts_with(',')) rest = trim(rest.substr(1));
    else break;
  }
  return challenge;
}

std::optional<UrlParts> split_url(std::string_view url) {
  UrlParts parts;
  size_t colon = url.find("://");
  if (colon == std::string_view::npos) return std::nullopt;
  parts.scheme = lower(url.substr(0, colon));
  if (parts.scheme != "http" && parts.scheme != "https") return std::nullopt;
  std::string_view rest = url.substr(colon + 3);
  size_t end = std::min(rest.find_first_of("/?#"), rest.size());
  std::string_view authority = rest.substr(0, end);
  parts.path = rest.substr(end, rest.find('#', end) - end);
  if (!parts.path.starts_with('/')) parts.path.insert(0, "/");
  if (size_t at = authority.rfind('@'); at != std::string_view::npos) return std::nullopt;
  size_t bracket = authority.rfind(']');
  size_t port = authority.rfind(':');
  if (port != std::string_view::npos && (bracket == std::string_view::npos || port > bracket)) {
    parts.port = authority.substr(port + 1);
    authority = authority.substr(0, port);
  }
  parts.host = lower(authority);
  if (parts.host.empty()) return std::nullopt;
  return parts;
}

Task<Result<std::string>> answer_challenge(base::http::Client& client, std::string origin, Challenge challenge, std::string repository,
                                           std::optional<RegistryCredentials> credentials) {
  bool basic = credentials && !credentials->username.empty();
  std::string basic_value = basic ? "Basic " + base::base64_encode(credentials->username + ":" + credentials->password) : std::string();
  if (credentials && !credentials->registry_token.empty()) co_return "Bearer " + credentials->registry_token;
  if (challenge.scheme == "basic") {
    if (!basic) co_return base::unauthorized("the registry wants a user name and a password");
    co_return basic_value;
  }
  auto realm = split_url(challenge.parameters["realm"]);
  if (!realm) co_return base::fail(503, "RegistryUnavailable", "the registry sent an authentication challenge without a usable realm");
  bool link_local = realm->host.starts_with("169.254.") || realm->host.starts_with("[fe80:");
  bool downgrade = origin.starts_with("https://") && realm->scheme == "http";
  if (link_local || downgrade)
    co_return base::fail(503, "RegistryUnavailable", "the registry refers to a token service that cannot be trusted");

  std::string scope =
      challenge.parameters.contains("scope") ? challenge.parameters["scope"] : fmt::format("repository:{}:pull", repository);
  std::string url = realm->scheme + "://" + realm->authority() + realm->path;
  base::http::ClientRequest request;
  if (credentials && !credentials->identity_token.empty()) {
    request.method = "POST";
    request.url = url;
    request.headers.set("Content-Type", "application/x-www-form-urlencoded");
    request.body = fmt::format("grant_type=refresh_token&client_id=appliance&service={}&scope={}&refresh_token={}",
                               form(challenge.parameters["service"]), form(scope), form(credentials->identity_token));
  } else {
    request.url = fmt::format("{}{}service={}&scope={}", url, url.find('?') == std::string::npos ? "?" : "&",
                              form(challenge.parameters["service"]), form(scope));
    if (basic) request.headers.set("Authorization", basic_value);
  }
  auto response = co_await client.send(std::move(request));
  if (!response)
    co_return base::fail(503, "RegistryUnavailable", fmt::format("token service {}: {}", realm->host, response.error().message));
  int status = (*response)->status;
  auto body = co_await (*response)->body(1 << 20);
  if (status == 400 || status == 401 || status == 403) {
    co_return base::unauthorized(
        fmt::format("{} {}", realm->host, credentials ? "refuses the credentials" : "wants a user name and a password"));
  }
  if (status != 200) co_return base::fail(503, "RegistryUnavailable", fmt::format("token service {} answers {}", realm->host, status));
  if (!body) co_return std::unexpected(body.error());
  auto parsed = base::parse_json(*body, 8);
  if (!parsed) co_return base::fail(503, "RegistryUnavailable", fmt::format("token service {} answers nonsense", realm->host));
  std::string_view token = base::get_string(*parsed, "token");
  if (token.empty()) token = base::get_string(*parsed, "access_token");
  bool printable = std::ranges::all_of(token, [](char c) { return c > 0x20 && c < 0x7f; });
  if (token.empty() || !printable)
    co_return base::fail(503, "RegistryUnavailable", fmt::format("token service {} sent no token", realm->host));
  co_return "Bearer " + std::string(token);
}

}  // namespace runtime
