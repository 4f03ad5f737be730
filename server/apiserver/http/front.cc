#include "server/apiserver/http/front.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/bytes.h"
#include "base/log.h"
#include "server/apiserver/auth/node_access.h"
#include "server/apiserver/http/status.h"

#ifndef APPLIANCE_VERSION
#define APPLIANCE_VERSION "0.0.0"
#endif

namespace server {

using base::json::array;
using base::json::object;
using base::json::value;

namespace {

constexpr std::string_view tunnel_path = "/v1-appliance/tunnel";

std::string version_text() {
  return base::to_text(object{{"major", "1"},
                              {"minor", "36"},
                              {"gitVersion", server_version()},
                              {"gitCommit", ""},
                              {"gitTreeState", "clean"},
                              {"buildDate", "1970-01-01T00:00:00Z"},
                              {"goVersion", "none"},
                              {"compiler", "clang"},
                              {"platform", "linux/amd64"}});
}

// Counts a request in flight; refuses over the limit.
class InFlight {
 public:
  InFlight(std::atomic<int>& count, size_t limit) : count_(count) { admitted_ = static_cast<size_t>(count_.fetch_add(1)) < limit; }
  ~InFlight() { count_.fetch_sub(1); }
  InFlight(const InFlight&) = delete;
  InFlight& operator=(const InFlight&) = delete;
  bool admitted() const { return admitted_; }

 private:
  std::atomic<int>& count_;
  bool admitted_;
};

Access access_of(const Exchange& x, std::string verb) {
  const RequestInfo& i = x.info;
  Access a;
  a.verb = std::move(verb);
  if (!i.is_resource) {
    a.path = i.path;
    return a;
  }
  a.group = i.group;
  a.version = i.version;
  a.resource = i.resource;
  a.subresource = i.subresource;
  a.ns = i.ns;
  a.name = i.name;
  if (i.name.empty() && (i.verb == "list" || i.verb == "watch"))
    if (std::string_view fields = x.request.query.get("fieldSelector"); fields.find("metadata.name=") != fields.npos)
      if (auto parsed = api::FieldSelector::parse(fields)) a.selected_name = parsed->required_value("metadata.name").value_or(std::string());
  return a;
}

// Exec and the like need the right to create, also when the request is a GET that becomes a WebSocket.
bool needs_create(const RequestInfo& i) {
  return i.is_resource && i.resource == "pods" && i.group.empty() && (i.subresource == "exec" || i.subresource == "attach" || i.subresource == "portforward");
}

}  // namespace

std::string server_version() { return "v1.36.0+appliance" APPLIANCE_VERSION; }

Task<> Front::handle(base::http::Request& request, base::http::Response& response) {
  Exchange x{request, response, parse_request(request.method, request.path, request.query), nullptr, {}};
  auto begin = base::Clock::now();
  response.headers.set("Audit-Id", base::uuid4());
  co_await serve(x);
  const RequestInfo& i = x.info;
  const ResourceInfo* known = i.is_resource ? p_.operations.registry().resources().find(i.group, i.version, i.resource) : nullptr;
  // Only names of our own become labels: what a client makes up is counted under none.
  auto listed = [](const std::vector<std::string>& names, const std::string& name) { return std::find(names.begin(), names.end(), name) != names.end(); };
  static const std::vector<std::string> plain_verbs = {"get", "head", "post", "put", "patch", "delete", "options"};
  if (known && (i.subresource.empty() || listed(known->subresources, i.subresource)))
    metrics_.count(i.verb, i.group, i.version, i.resource, i.subresource, response.status, base::Clock::now() - begin);
  else if (!i.is_resource && listed(plain_verbs, i.verb))
    metrics_.count(i.verb, {}, {}, {}, {}, response.status, base::Clock::now() - begin);
}

Task<> Front::serve(Exchange& x) {
  const std::string& path = x.request.path;
  if (path == "/cacerts") {
    x.response.headers.set("Content-Type", "text/plain");
    co_await x.response.send(p_.ca_pem);
    co_return;
  }
  if (path == "/v1-appliance/join") co_return co_await p_.join.handle(x);

  auto output = choose_output(x.request);
  const bool streams = Connect::handles(x.info) || path.starts_with("/openapi/") || path == "/metrics" || path.starts_with("/healthz") || path.starts_with("/livez") ||
                       path.starts_with("/readyz");
  if (output) x.output = *output;
  auto user = p_.authenticator.identify(x.request);
  if (!user) co_return co_await send_error(x, user.error());
  x.user = std::move(*user);
  if (path.starts_with(tunnel_path)) co_return co_await tunnel(x);
  auto acting = co_await p_.authenticator.impersonate(x.user, x.request.headers, p_.authorizer);
  if (!acting) co_return co_await send_error(x, acting.error());
  x.user = std::move(*acting);
  if (!output && !streams) co_return co_await send_error(x, output.error());

  const bool long_running = x.info.verb == "watch" || Connect::handles(x.info);
  const bool write = x.info.is_resource && x.info.verb != "get" && x.info.verb != "list" && x.info.verb != "watch";
  constexpr size_t unlimited = SIZE_MAX;
  InFlight in_flight(long_running ? metrics_.long_running : write ? metrics_.writes : metrics_.reads,
                     long_running ? unlimited : write ? p_.max_writes : p_.max_reads);
  if (!in_flight.admitted()) co_return co_await send_error(x, base::too_many_requests("too many requests, please try again later.", 1).error());

  auto allowed = co_await p_.authorizer.check(*x.user, access_of(x, x.info.verb));
  if (allowed && needs_create(x.info) && x.info.verb != "create") allowed = co_await p_.authorizer.check(*x.user, access_of(x, "create"));
  if (!allowed) co_return co_await send_error(x, allowed.error());
  if (Connect::handles(x.info)) co_return co_await p_.connect.handle(x);
  if (ResourceMetrics::handles(x.info)) co_return co_await p_.usage.handle(x);
  if (x.info.is_resource) {
    x.response.headers.set("Cache-Control", "no-cache, private");
    co_return co_await p_.resources.handle(x);
  }
  co_await non_resource(x);
}

Task<> Front::tunnel(Exchange& x) {
  auto node = node_of(*x.user);
  if (!node || x.request.stream().peer_certificate().empty())
    co_return co_await send_error(x, base::fail(403, "Forbidden", "the tunnel is for nodes, with their certificate").error());
  std::string_view rest = std::string_view(x.request.path).substr(tunnel_path.size());
  bool control = rest.empty();
  std::string_view protocol = control ? "appliance-tunnel" : "appliance-stream";
  if (x.request.method != "GET" || x.request.headers.get("Upgrade") != protocol)
    co_return co_await send_error(x, base::bad_request(fmt::format("expected Upgrade: {}", protocol)).error());
  if (control) co_await p_.streams.serve_control(*node, x.response);
  else co_await p_.streams.serve_stream(*node, std::string(rest.substr(1)), x.response);
}

Task<> Front::health(Exchange& x) {
  std::string_view path = x.info.path;
  std::string_view which = path.substr(1, path.find('/', 1) == path.npos ? path.npos : path.find('/', 1) - 1);
  const bool ready = which != "readyz" || ready_;
  if (x.request.query.has("verbose")) {
    std::string text;
    for (std::string_view check : {"ping", "log", "datastore", "rbac/bootstrap-roles"}) text += fmt::format("[+]{} ok\n", check);
    if (which == "readyz") text += fmt::format("[{}]shutdown {}\n", ready ? '+' : '-', ready ? "ok" : "failed: the server is starting or stopping");
    text += fmt::format("{} check {}\n", which, ready ? "passed" : "failed");
    co_return co_await send_text(x, ready ? 200 : 500, text);
  }
  co_await send_text(x, ready ? 200 : 500, ready ? "ok" : "the server is starting or stopping");
}

Task<> Front::non_resource(Exchange& x) {
  const RequestInfo& i = x.info;
  if (x.request.method != "GET" && x.request.method != "HEAD")
    co_return co_await send_error(x, base::fail(405, "MethodNotAllowed", "the server does not allow this method on the requested resource").error());
  const std::string first = i.parts.empty() ? std::string() : i.parts[0];
  if (first == "healthz" || first == "livez" || first == "readyz") co_return co_await health(x);
  if (first == "api" || first == "apis") co_return co_await p_.discovery.handle(x);
  if (first == "openapi" && i.parts.size() >= 2 && (i.parts[1] == "v2" || i.parts[1] == "v3")) co_return co_await p_.openapi.handle(x);
  if (first == "version") co_return co_await send_json(x, 200, version_text());
  if (first == "metrics") {
    std::string text = metrics_.text(p_.operations.registry().store(), p_.operations.registry().resources());
    x.response.headers.set("Content-Type", "text/plain; version=0.0.4; charset=utf-8");
    co_await x.response.send(text);
    co_return;
  }
  if (i.path == "/openid/v1/jwks") {
    std::string keys = p_.tokens.jwks();
    x.response.headers.set("Content-Type", "application/jwk-set+json");
    co_await x.response.send(keys);
    co_return;
  }
  if (i.path == "/.well-known/openid-configuration")
    co_return co_await send_json(x, 200, base::to_text(object{{"issuer", p_.tokens.issuer()},
                                                             {"jwks_uri", p_.tokens.issuer() + "/openid/v1/jwks"},
                                                             {"response_types_supported", array{"id_token"}},
                                                             {"subject_types_supported", array{"public"}},
                                                             {"id_token_signing_alg_values_supported", array{"ES256"}}}));
  if (first.empty()) {
    array paths;
    for (const char* p : {"/.well-known/openid-configuration", "/api", "/api/v1", "/apis", "/healthz", "/livez", "/metrics", "/openapi/v2", "/openapi/v3", "/openid/v1/jwks", "/readyz", "/version"})
      paths.emplace_back(p);
    co_return co_await send_json(x, 200, base::to_text(object{{"paths", std::move(paths)}}));
  }
  co_await send_error(x, base::fail(404, "NotFound", "the server could not find the requested resource").error());
}

}  // namespace server
