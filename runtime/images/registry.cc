#include "runtime/images/registry.h"

#include <re2/re2.h>

#include <algorithm>

#include <fmt/format.h>

#include "base/bytes.h"
#include "base/files.h"
#include "base/json.h"
#include "runtime/images/digest.h"
#include "runtime/images/manifest.h"

namespace runtime {

using base::http::ClientRequest;
using namespace std::chrono_literals;

namespace {

constexpr int kMaxRedirects = 5;

base::Failure unreachable(const std::string& where, const base::Error& why) {
  return base::fail(502, "RegistryUnavailable", fmt::format("{}: {}", where, why.message));
}

// The registry's own words, when it has some: {"errors":[{"code":..,"message":..}]}.
std::string registry_message(const std::string& body) {
  auto parsed = base::parse_json(body, 16);
  if (!parsed) return {};
  const auto* errors = base::find_array(*parsed, "errors");
  if (!errors || errors->empty()) return {};
  std::string text(base::get_string(errors->front(), "message"));
  if (text.empty()) text = base::get_string(errors->front(), "code");
  std::erase_if(text, [](char c) { return static_cast<unsigned char>(c) < 0x20; });
  return text.substr(0, 300);
}

bool is_redirect(int status) { return status == 301 || status == 302 || status == 303 || status == 307 || status == 308; }

}  // namespace

std::string Repository::authorization() const {
  std::scoped_lock lock(mutex_);
  return authorization_;
}

// GET with authentication and redirects; hands back 200 or an error.
Task<Result<Repository::ResponsePtr>> Repository::get(std::string path, std::string accept) {
  std::string url = fmt::format("{}/{}/{}", options_.base, options_.name, path);
  if (!options_.ns.empty()) url += "?ns=" + base::percent_encode(options_.ns);
  std::string sent = authorization();
  // Each credential may fail once, and a token may have expired.
  for (size_t attempt = 0; attempt < options_.credentials.size() + 2; ++attempt) {
    ClientRequest request;
    request.url = url;
    if (!accept.empty()) request.headers.set("Accept", accept);
    if (!sent.empty()) request.headers.set("Authorization", sent);
    auto response = co_await options_.client->send(std::move(request));
    if (!response) co_return unreachable(options_.base, response.error());
    if (is_redirect((*response)->status)) {
      response = co_await follow(std::move(*response), url, accept);
      if (!response) co_return std::unexpected(response.error());
    }
    int status = (*response)->status;
    if (status == 200) {
      std::scoped_lock lock(mutex_);
      authorization_ = sent;
      co_return std::move(*response);
    }
    std::string challenge_text((*response)->headers.get("WWW-Authenticate"));
    std::string retry_after((*response)->headers.get("Retry-After"));
    auto body = co_await (*response)->body(256 << 10);
    std::string said = body ? registry_message(*body) : std::string();
    if (status == 404)
      co_return base::fail(404, "NotFound", fmt::format("{}: not found{}", options_.base, said.empty() ? "" : " (" + said + ")"));
    if (status == 429) {
      co_return base::fail(503, "RegistryUnavailable",
                           fmt::format("{}: too many requests{}", options_.base, said.empty() ? "" : " (" + said + ")"));
    }
    if (status != 401 && status != 403) {
      co_return base::fail(503, "RegistryUnavailable",
                           fmt::format("{}: unexpected status {}{}", options_.base, status, said.empty() ? "" : " (" + said + ")"));
    }
    auto denied = base::fail(401, "Unauthorized",
                             fmt::format("pull access denied, the repository does not exist or may require authorization: {}: {}",
                                         options_.base, said.empty() ? (status == 401 ? "unauthorized" : "forbidden") : said));
    auto challenge = parse_challenge(challenge_text);
    if (!challenge) co_return denied;
    // Another coroutine may have got a token meanwhile.
    std::string now = authorization();
    if (!now.empty() && now != sent) {
      sent = now;
      continue;
    }
    size_t candidate;
    {
      std::scoped_lock lock(mutex_);
      if (!sent.empty() && sent != authorization_) ++credential_;  // it was made of this candidate and refused
      candidate = credential_;
    }
    std::optional<base::Error> last;
    for (;; ++candidate) {
      if (candidate >= options_.credentials.size()) co_return last ? base::Failure(std::move(*last)) : std::move(denied);
      auto answer = co_await answer_challenge(*options_.client, options_.base, *challenge, options_.name, options_.credentials[candidate]);
      if (answer) {
        sent = *answer;
        break;
      }
      if (answer.error().code != 401) co_return std::unexpected(answer.error());
      if (!last) last = base::fail(401, "Unauthorized", fmt::format("failed to authorize: {}", answer.error().message)).error();
    }
    std::scoped_lock lock(mutex_);
    credential_ = candidate;
    if (authorization_ == sent) authorization_.clear();
  }
  co_return base::fail(401, "Unauthorized", fmt::format("{}: the registry accepts none of the credentials", options_.base));
}

// Blobs are often kept elsewhere. Credentials stay with the host they were meant for.
Task<Result<Repository::ResponsePtr>> Repository::follow(ResponsePtr response, std::string from, std::string accept) {
  for (int hop = 0; is_redirect(response->status); ++hop) {
    std::string location(response->headers.get("Location"));
    auto here = split_url(from);
    if (hop == kMaxRedirects || location.empty() || !here)
      co_return base::fail(503, "RegistryUnavailable", fmt::format("{}: too many redirects", options_.base));
    if (location.starts_with("//")) location = here->scheme + ":" + location;
    else if (location.starts_with('/')) location = here->scheme + "://" + here->authority() + location;
    auto there = split_url(location);
    bool bad = !there || (here->scheme == "https" && there->scheme == "http") || there->host.starts_with("169.254.");
    if (bad) co_return base::fail(503, "RegistryUnavailable", fmt::format("{}: a redirect that cannot be trusted", options_.base));
    ClientRequest request;
    request.url = there->scheme + "://" + there->authority() + there->path;
    if (!accept.empty()) request.headers.set("Accept", accept);
    bool same = there->scheme == here->scheme && there->authority() == here->authority();
    if (std::string a = authorization(); same && !a.empty()) request.headers.set("Authorization", a);
    from = request.url;
    auto next = co_await options_.client->send(std::move(request));
    if (!next) co_return unreachable(there->authority(), next.error());
    response = std::move(*next);
  }
  co_return std::move(response);
}

Task<Result<Repository::Document>> Repository::manifest(std::string reference) {
  auto response = co_await get("manifests/" + reference, std::string(kAcceptManifests));
  if (!response) co_return std::unexpected(response.error());
  Document document;
  document.content_type = (*response)->headers.get("Content-Type");
  std::string claimed((*response)->headers.get("Docker-Content-Digest"));
  auto body = co_await (*response)->body(kMaxManifest);
  if (!body) co_return unreachable(options_.base, body.error());
  document.text = std::move(*body);
  document.digest = digest_of(document.text);
  const std::string& expected = is_digest(reference) ? reference : claimed;
  if (is_digest(expected) && document.digest != expected) {
    co_return base::fail(422, "ImageInvalid", fmt::format("the manifest's digest is {} instead of {}", document.digest, expected));
  }
  co_return document;
}

Task<Result<std::string>> Repository::small_blob(std::string digest, size_t limit) {
  auto response = co_await get("blobs/" + digest, "");
  if (!response) co_return std::unexpected(response.error());
  auto body = co_await (*response)->body(limit);
  if (!body) co_return unreachable(options_.base, body.error());
  if (std::string found = digest_of(*body); found != digest) {
    co_return base::fail(422, "ImageInvalid", fmt::format("the digest of a blob is {} instead of {}", found, digest));
  }
  co_return std::move(*body);
}

Task<Result<std::unique_ptr<base::http::ClientResponse>>> Repository::blob(std::string digest) { return get("blobs/" + digest, ""); }

// --- Endpoints

namespace {

bool is_local(const std::string& host) { return host == "localhost" || host.starts_with("127.") || host == "[::1]"; }

// "https://mirror:5000/prefix" -> "https://mirror:5000/prefix/v2"
std::string api_base(std::string endpoint) {
  if (endpoint.find("://") == std::string::npos) endpoint.insert(0, "https://");
  while (endpoint.ends_with('/')) endpoint.pop_back();
  if (!endpoint.ends_with("/v2") && endpoint.find("/v2/") == std::string::npos) endpoint += "/v2";
  return endpoint;
}

// $1 of the configuration becomes \1 of RE2.
std::string rewrite(const RegistriesConfig::Mirror& mirror, std::string name) {
  for (const auto& [pattern, replacement] : mirror.rewrites) {
    RE2 expression(pattern, RE2::Quiet);
    if (!expression.ok()) continue;
    std::string with;
    for (size_t i = 0; i < replacement.size(); ++i) {
      bool group = replacement[i] == '$' && i + 1 < replacement.size() && std::isdigit(static_cast<unsigned char>(replacement[i + 1]));
      if (replacement[i] == '\\') with += '\\';
      with += group ? '\\' : replacement[i];
    }
    if (RE2::Replace(&name, expression, with)) break;
  }
  return name;
}

}  // namespace

const RegistriesConfig::Host* Endpoints::host_config(const std::string& host, const std::string& registry) const {
  for (const std::string& key : {host, registry}) {
    if (auto it = config_.hosts.find(key); !key.empty() && it != config_.hosts.end()) return &it->second;
  }
  if (auto it = config_.hosts.find("*"); it != config_.hosts.end()) return &it->second;
  return nullptr;
}

Result<std::shared_ptr<base::http::Client>> Endpoints::client_for(const std::string& host, const std::string& registry) {
  std::scoped_lock lock(mutex_);
  auto& client = clients_[host];
  if (client) return client;
  base::http::TlsClientOptions tls;
  tls.system_roots = true;
  if (const auto* config = host_config(host, registry)) {
    tls.verify = !config->insecure_skip_verify;
    if (!config->ca_file.empty()) {
      TRY(tls.ca_pem, base::read_file(config->ca_file, 4 << 20));
    }
    if (!config->cert_file.empty()) {
      base::http::KeyPair pair;
      TRY(pair.certificate_pem, base::read_file(config->cert_file, 1 << 20));
      TRY(pair.key_pem, base::read_file(config->key_file, 1 << 20));
      tls.identity = std::move(pair);
    }
  }
  base::http::ClientOptions options;
  options.idle_timeout = 15s;
  TRY(options.tls, base::http::make_client_context(tls));
  client = std::make_shared<base::http::Client>(std::move(options));
  return client;
}

Result<std::vector<std::shared_ptr<Repository>>> Endpoints::of(const ImageReference& reference,
                                                               const std::vector<RegistryCredentials>& credentials) {
  std::vector<std::shared_ptr<Repository>> result;
  auto add = [&](const std::string& base, std::string name, bool mirror, const std::string& config_key) -> Result<> {
    auto url = split_url(base);
    if (!url) return base::bad_request(fmt::format("registries.yaml: \"{}\" is not a URL", base));
    Repository::Options options;
    options.base = base;
    options.name = std::move(name);
    if (mirror) options.ns = reference.registry;
    TRY(options.client, client_for(url->authority(), config_key));
    for (const auto& c : credentials) options.credentials.emplace_back(c);
    if (const auto* host = host_config(url->authority(), config_key); host && host->credentials)
      options.credentials.emplace_back(*host->credentials);
    options.credentials.emplace_back(std::nullopt);
    result.push_back(std::make_shared<Repository>(std::move(options)));
    return {};
  };
  auto mirror = config_.mirrors.find(reference.registry);
  if (mirror == config_.mirrors.end()) mirror = config_.mirrors.find("*");
  if (mirror != config_.mirrors.end()) {
    for (const std::string& endpoint : mirror->second.endpoints) {
      CHECK_OK(add(api_base(endpoint), rewrite(mirror->second, reference.repository), true, ""));
    }
  }
  std::string host = reference.registry == "docker.io" ? "registry-1.docker.io" : reference.registry;
  CHECK_OK(add("https://" + host + "/v2", reference.repository, false, reference.registry));
  auto parts = split_url("https://" + host);
  // On the host itself plain HTTP is tried after TLS has failed.
  if (parts && is_local(parts->host)) CHECK_OK(add("http://" + host + "/v2", reference.repository, false, reference.registry));
  return result;
}

}  // namespace runtime
