#include "server/apiserver/http/front.h"

#include "server/apiserver/http/own_state.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/bytes.h"
#include "base/log.h"
#include "server/apiserver/auth/node_access.h"
#include "server/apiserver/http/encryption.h"
#include "server/apiserver/http/request_audit.h"
#include "server/apiserver/http/request_time.h"
#include "server/apiserver/http/status.h"

#ifndef APPLIANCE_VERSION
#define APPLIANCE_VERSION "0.0.0"
#endif

namespace server {

std::string_view git_commit();  // written when configuring; empty outside a clone

using base::json::array;
using base::json::object;
using base::json::value;

namespace {

constexpr std::string_view tunnel_path = "/v1-appliance/tunnel";

std::string version_text() {
  return base::to_text(object{{"major", "1"},
                              {"minor", "36"},
                              {"gitVersion", server_version()},
                              {"gitCommit", git_commit()},
                              {"gitTreeState", "clean"},
                              {"buildDate", "1970-01-01T00:00:00Z"},
                              {"goVersion", "none"},
                              {"compiler", "clang"},
                              {"platform", "linux/amd64"}});
}

// Counts a request while it is in flight.
class InFlight {
 public:
  explicit InFlight(std::atomic<int>& count) : count_(count) { count_.fetch_add(1, std::memory_order_relaxed); }
  ~InFlight() { count_.fetch_sub(1, std::memory_order_relaxed); }
  InFlight(const InFlight&) = delete;
  InFlight& operator=(const InFlight&) = delete;

 private:
  std::atomic<int>& count_;
};

class LongRunning {
 public:
  LongRunning(Metrics& metrics, Metrics::Series* series) : metrics_(metrics), series_(series) { metrics_.begin_long(series_); }
  ~LongRunning() { metrics_.end_long(series_); }
  LongRunning(const LongRunning&) = delete;
  LongRunning& operator=(const LongRunning&) = delete;

 private:
  Metrics& metrics_;
  Metrics::Series* const series_;
};

constexpr auto slow = std::chrono::seconds(1);

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
      if (auto parsed = api::FieldSelector::parse(fields))
        a.selected_name = parsed->required_value("metadata.name").value_or(std::string());
  return a;
}

// Exec and the like need the right to create, also when the request is a GET that becomes a WebSocket.
bool needs_create(const RequestInfo& i) {
  return i.is_resource && i.resource == "pods" && i.group.empty() &&
         (i.subresource == "exec" || i.subresource == "attach" || i.subresource == "portforward");
}

}  // namespace

std::string server_version() { return "v1.36.0+appliance" APPLIANCE_VERSION; }

void Front::drain() {
  set_ready(false);
  stopping_.fire();
}

Task<> Front::handle(base::http::Request& request, base::http::Response& response) {
  Exchange x{request, response, parse_request(request.method, request.path, request.query), nullptr, {}};
  x.stopping = &stopping_;
  x.auditor = p_.auditor;
  auto begin = base::Clock::now();
  // A client may name its request, so that it is found again.
  std::string_view given = request.headers.get("Audit-Id");
  constexpr size_t longest = 64;
  response.headers.set("Audit-Id", given.empty() || given.size() > longest ? base::uuid4() : std::string(given));
  if (x.info.is_resource) x.resource = p_.operations.registry().resources().find(x.info.group, x.info.version, x.info.resource);
  Metrics::Series* series = metrics_.series(x.info, x.resource, x.request.query.has("dryRun"));
  const bool is_long = is_long_running(x.info);
  std::optional<audit::Entry> entry;
  if (is_long) {
    x.events = Metrics::events(series);
    LongRunning running(metrics_, series);
    co_await serve(x, entry);
  } else {
    const bool write = x.info.is_resource && x.info.verb != "get" && x.info.verb != "list";
    InFlight running(write ? metrics_.writes : metrics_.reads);
    if (auto time = request_time(request.query)) {
      request.deadline = begin + *time;
      co_await serve(x, entry);
    } else {
      co_await send_error(x, time.error());
    }
  }
  auto took = base::Clock::now() - begin;
  metrics_.count(series, response.status, took, x.sent, is_long);
  if (response.status == 504) metrics_.timeouts.fetch_add(1, std::memory_order_relaxed);
  audit_stage(x, audit::kComplete);
  if (p_.log_requests || (!is_long && took > slow)) log(x, took);
}

void Front::log(const Exchange& x, base::Duration took) const {
  auto line = fmt::format("verb={} uri=\"{}\" status={} took={}ms size={} user=\"{}\" agent=\"{}\" audit={}", x.info.verb, x.request.target,
                          x.response.status, std::chrono::duration_cast<std::chrono::milliseconds>(took).count(), x.sent,
                          x.user ? x.user->name : "", x.request.headers.get("User-Agent"), x.response.headers.get("Audit-Id"));
  base::log::info(took > slow && !is_long_running(x.info) ? "slow-request" : "request", "{}", line);
}

Task<> Front::serve(Exchange& x, std::optional<audit::Entry>& entry) {
  const std::string& path = x.request.path;
  if (stopping_.fired() && !Health::handles(path)) {
    // Clients come back to whoever serves by then.
    x.response.headers.set("Connection", "close");
    base::Error e = base::unavailable("the server is stopping, please try again later").error();
    e.retry_after_seconds = 1;
    co_return co_await send_error(x, e);
  }
  if (path == "/cacerts") {
    x.response.headers.set("Content-Type", "text/plain");
    co_await x.response.send(p_.ca_pem);
    co_return;
  }
  if (path == "/v1-appliance/join") co_return co_await p_.join.handle(x);

  const bool answered_only = x.resource && x.resource->is_virtual && std::ranges::find(x.resource->verbs, "get") == x.resource->verbs.end();
  auto output = choose_output(x.request, !answered_only);
  const bool streams = Connect::handles(x.info) || path.starts_with("/openapi/") || path == "/metrics" || Health::handles(path);
  if (output) x.output = *output;
  auto user = p_.authenticator.identify(x.request);
  if (!user && p_.authenticator.has_provider()) user = co_await p_.authenticator.identify_elsewhere(x.request);
  if (!user) {
    metrics_.unauthenticated.fetch_add(1, std::memory_order_relaxed);
    static const auto nobody = std::make_shared<const UserInfo>();
    x.user = nobody;
    begin_audit(x, entry);
    co_return co_await send_error(x, user.error());
  }
  metrics_.authenticated.fetch_add(1, std::memory_order_relaxed);
  x.user = std::move(*user);
  if (path.starts_with(tunnel_path)) co_return co_await tunnel(x);
  begin_audit(x, entry);
  auto acting = co_await p_.authenticator.impersonate(x.user, x.request.headers, p_.authorizer);
  if (!acting) co_return co_await send_error(x, acting.error());
  x.user = std::move(*acting);
  if (!output && !streams) co_return co_await send_error(x, output.error());

  // Streams to nodes take no seat: they would hold it for hours. A watch gives its one back once it has begun.
  flow::Ticket ticket;
  if (!is_long_running(x.info) || x.info.verb == "watch") {
    bool seated = co_await take_seat(x, ticket);
    if (!seated) co_return;
  }
  co_await admitted(x);
}

unsigned Front::seats_for(const Exchange& x) const {
  const RequestInfo& i = x.info;
  if (!x.resource || !i.name.empty() || x.resource->is_virtual) return 1;
  const base::http::Query& q = x.request.query;
  std::string_view version = q.get("resourceVersion");
  // A watch costs what it lists first.
  const bool lists = i.verb == "list" || (i.verb == "watch" && (version.empty() || version == "0" || q.flag("sendInitialEvents")));
  if (!lists || q.get("fieldSelector").find("metadata.name=") != std::string_view::npos) return 1;
  size_t objects = p_.operations.registry().store().count(x.resource->collection(x.resource->namespaced ? i.ns : std::string()));
  size_t limit = 0;
  for (char c : q.get("limit")) limit = c >= '0' && c <= '9' && limit < 1'000'000 ? limit * 10 + static_cast<size_t>(c - '0') : limit;
  if (limit > 0) objects = std::min(objects, limit);
  constexpr size_t per_seat = 100, most = 10;
  return static_cast<unsigned>(std::clamp<size_t>((objects + per_seat - 1) / per_seat, 1, most));
}

Task<bool> Front::take_seat(Exchange& x, flow::Ticket& ticket) {
  const RequestInfo& i = x.info;
  ticket = p_.flow.admit({*x.user, i.is_resource, i.verb, i.group, i.resource, i.subresource, i.ns, i.path}, seats_for(x));
  x.response.headers.set("X-Kubernetes-Pf-Flowschema-Uid", ticket.schema_uid());
  x.response.headers.set("X-Kubernetes-Pf-Prioritylevel-Uid", ticket.level_uid());
  if (ticket.state() == flow::Ticket::State::waiting) {
    constexpr base::Duration longest = std::chrono::seconds(15);
    base::Duration limit = x.request.deadline ? std::min<base::Duration>(longest, *x.request.deadline - base::Clock::now()) : longest;
    auto seated = co_await p_.flow.wait(ticket, limit);
    if (!seated) {
      co_await send_error(x, seated.error());
      co_return false;
    }
  } else if (ticket.state() == flow::Ticket::State::refused) {
    co_await send_error(x, flow::FlowControl::refusal().error());
    co_return false;
  }
  x.seat = &ticket;
  co_return true;
}

Task<> Front::admitted(Exchange& x) {
  auto allowed = co_await p_.authorizer.check(*x.user, access_of(x, x.info.verb));
  if (allowed && needs_create(x.info) && x.info.verb != "create") allowed = co_await p_.authorizer.check(*x.user, access_of(x, "create"));
  (allowed ? metrics_.allowed : metrics_.denied).fetch_add(1, std::memory_order_relaxed);
  if (x.audit) x.audit->authorized = allowed ? "allow" : "forbid";
  if (!allowed) co_return co_await send_error(x, allowed.error());
  if (Connect::handles(x.info)) co_return co_await p_.connect.handle(x);
  if (is_own_state(x.info)) co_return co_await serve_own_state(x, p_.operations.registry());
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

Task<> Front::non_resource(Exchange& x) {
  const RequestInfo& i = x.info;
  if (i.path == kEncryptionPath) co_return co_await serve_encryption(x, p_.operations.registry().store(), p_.keyring);
  if (x.request.method != "GET" && x.request.method != "HEAD")
    co_return co_await send_error(
        x, base::fail(405, "MethodNotAllowed", "the server does not allow this method on the requested resource").error());
  const std::string first = i.parts.empty() ? std::string() : i.parts[0];
  if (Health::handles(x.info.path)) co_return co_await health_.handle(x);
  if (first == "api" || first == "apis") co_return co_await p_.discovery.handle(x);
  if (first == "openapi" && i.parts.size() >= 2 && (i.parts[1] == "v2" || i.parts[1] == "v3")) co_return co_await p_.openapi.handle(x);
  if (first == "version") co_return co_await send_json(x, 200, version_text());
  if (first == "metrics") {
    const Registry& registry = p_.operations.registry();
    std::string text = metrics_.text({registry.store(), registry.resources(), p_.flow, p_.auditor, p_.version, p_.more_metrics});
    x.response.headers.set("Content-Type", "text/plain; version=0.0.4; charset=utf-8");
    co_await x.response.send(text);
    co_return;
  }
  if (i.path == "/openid/v1/jwks") {
    std::string keys = p_.tokens.jwks();
    x.response.headers.set("Content-Type", "application/jwk-set+json");
    x.response.headers.set("Cache-Control", "public, max-age=3600");
    co_await x.response.send(keys);
    co_return;
  }
  if (i.path == "/.well-known/openid-configuration") {
    x.response.headers.set("Cache-Control", "public, max-age=3600");
    co_return co_await send_json(x, 200, p_.tokens.discovery());
  }
  if (first.empty()) {
    array paths;
    for (const char* p : {"/.well-known/openid-configuration", "/api", "/api/v1", "/apis", "/healthz", "/livez", "/metrics", "/openapi/v2",
                          "/openapi/v3", "/openid/v1/jwks", "/readyz", "/version"})
      paths.emplace_back(p);
    co_return co_await send_json(x, 200, base::to_text(object{{"paths", std::move(paths)}}));
  }
  co_await send_error(x, base::fail(404, "NotFound", "the server could not find the requested resource").error());
}

}  // namespace server
