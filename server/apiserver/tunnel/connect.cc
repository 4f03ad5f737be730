#include "server/apiserver/tunnel/connect.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/bytes.h"
#include "base/http/websocket.h"
#include "server/apiserver/http/request_audit.h"
#include "server/apiserver/registry/keys.h"

namespace server {

using base::json::value;
using namespace std::chrono_literals;

namespace {

constexpr size_t proxied_body_limit = 16 << 20;
constexpr size_t page_limit = 4 << 20;  // larger pages pass as they are

// Fields that are the client's business with this server, or of this connection only.
bool passes(std::string_view name) {
  std::string lower(name);
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  static constexpr std::string_view withheld[] = {"authorization",       "cookie",           "host",  "content-length", "transfer-encoding",
                                                  "connection",          "keep-alive",       "te",    "trailer",        "upgrade",
                                                  "proxy-authorization", "proxy-connection", "expect"};
  if (lower.starts_with("impersonate-")) return false;
  return std::find(std::begin(withheld), std::end(withheld), lower) == std::end(withheld);
}

bool is_upgrade(const base::http::Request& r) { return r.headers.has_token("Connection", "upgrade") && r.headers.has("Upgrade"); }

std::string encode_query(const base::http::Query& query, std::initializer_list<std::string_view> names) {
  std::string out;
  for (const auto& [name, v] : query)
    if (std::find(names.begin(), names.end(), name) != names.end())
      out += fmt::format("{}{}={}", out.empty() ? "?" : "&", base::percent_encode(name), base::percent_encode(v));
  return out;
}

Result<std::string> choose_container(const value& pod, const std::string& name, std::string_view wanted, bool for_log) {
  std::vector<std::string> main, all;
  for (const char* list : {"spec.containers", "spec.initContainers", "spec.ephemeralContainers"})
    if (const base::json::array* containers = base::find_array(pod, list))
      for (const value& c : *containers) {
        all.emplace_back(base::get_string(c, "name"));
        if (std::string_view(list) == "spec.containers") main.push_back(all.back());
      }
  if (!wanted.empty()) {
    if (std::find(all.begin(), all.end(), wanted) != all.end()) return std::string(wanted);
    return base::bad_request(fmt::format("container {} is not valid for pod {}", wanted, name));
  }
  if (const base::json::object* annotations = base::find_object(pod, "metadata.annotations"))
    if (std::string_view chosen = text_of(*annotations, "kubectl.kubernetes.io/default-container");
        !chosen.empty() && std::find(all.begin(), all.end(), chosen) != all.end())
      return std::string(chosen);
  if (main.size() == 1 || !for_log) return main.empty() ? std::string() : main.front();
  return base::bad_request(fmt::format("a container name must be specified for pod {}, choose one of: [{}]", name, fmt::join(main, " ")));
}

struct ProxyName {
  std::string scheme, name, port;
};

// [scheme:]name[:port]
Result<ProxyName> parse_proxy_name(const std::string& text) {
  ProxyName out;
  std::vector<std::string> parts;
  for (size_t at = 0;;) {
    size_t colon = text.find(':', at);
    parts.push_back(text.substr(at, colon == text.npos ? colon : colon - at));
    if (colon == text.npos) break;
    at = colon + 1;
  }
  if (parts.size() == 1) out.name = parts[0];
  else if (parts.size() == 2) out.name = parts[0], out.port = parts[1];
  else if (parts.size() == 3) out.scheme = parts[0], out.name = parts[1], out.port = parts[2];
  if (out.name.empty() || parts.size() > 3 || (!out.scheme.empty() && out.scheme != "http" && out.scheme != "https"))
    return base::bad_request(fmt::format("invalid proxy request \"{}\"", text));
  return out;
}

int64_t container_port(const value& pod, std::string_view name) {
  if (const base::json::array* containers = base::find_array(pod, "spec.containers"))
    for (const value& c : *containers)
      if (const base::json::array* ports = base::find_array(c, "ports"))
        for (const value& p : *ports)
          if (name.empty() || base::get_string(p, "name") == name) return base::get_int(p, "containerPort");
  return 0;
}

std::string raw_query(const base::http::Request& r) {
  size_t mark = r.target.find('?');
  return mark == std::string::npos ? std::string() : r.target.substr(mark);
}

}  // namespace

bool Connect::handles(const RequestInfo& info) {
  if (!info.is_resource || !info.group.empty() || info.name.empty()) return false;
  if (info.resource == "pods")
    return info.subresource == "log" || info.subresource == "exec" || info.subresource == "attach" || info.subresource == "portforward" ||
           info.subresource == "proxy";
  return (info.resource == "services" || info.resource == "nodes") && info.subresource == "proxy";
}

Result<Connect::NodeRequest> Connect::pod_request(const Exchange& x) const {
  const RequestInfo& i = x.info;
  RecordPtr record = registry_.store().get(object_key("", "pods", i.ns, i.name));
  if (!record) return base::not_found("pods", i.name);
  TRY(value pod, base::parse_json(*record->value, 256));
  NodeRequest to;
  to.node = base::get_string(pod, "spec.nodeName");
  const base::http::Query& q = x.request.query;
  if (i.subresource == "portforward") {
    if (to.node.empty()) return base::bad_request(fmt::format("pod {} does not have a host assigned", i.name));
    to.path = fmt::format("/portForward/{}/{}{}", i.ns, i.name, encode_query(q, {"ports"}));
    return to;
  }
  TRY(std::string container, choose_container(pod, i.name, q.get("container"), i.subresource == "log"));
  if (i.subresource == "log") {
    to.text_errors = true;
    to.path = fmt::format(
        "/containerLogs/{}/{}/{}{}", i.ns, i.name, container,
        encode_query(q, {"follow", "previous", "sinceSeconds", "sinceTime", "timestamps", "tailLines", "limitBytes", "stream"}));
    return to;
  }
  if (to.node.empty()) return base::bad_request(fmt::format("pod {} does not have a host assigned", i.name));
  std::string_view phase = base::get_string(pod, "status.phase");
  if (phase == "Succeeded" || phase == "Failed")
    return base::bad_request(fmt::format("cannot exec into a container in a completed pod; current phase is {}", phase));
  to.path = fmt::format("/{}/{}/{}/{}{}", i.subresource, i.ns, i.name, container,
                        encode_query(q, {"command", "stdin", "stdout", "stderr", "tty"}));
  return to;
}

Task<Result<Connect::NodeRequest>> Connect::proxy_request(const Exchange& x) const {
  const RequestInfo& i = x.info;
  CO_TRY(ProxyName who, parse_proxy_name(i.name));
  const std::string rest = i.rest.empty() ? "/" : i.rest;
  NodeRequest to;
  to.at.prefix = x.request.target.substr(0, x.request.target.find('?'));
  if (to.at.prefix.ends_with(i.rest)) to.at.prefix.resize(to.at.prefix.size() - i.rest.size());
  to.at.host = x.request.headers.get("Host");
  if (i.resource == "nodes") {
    RecordPtr node = registry_.store().get(object_key("", "nodes", {}, who.name));
    if (!node) co_return base::not_found("nodes", who.name);
    // Nothing that runs or reaches into a pod: that has subresources of its own, with rights of their own.
    for (std::string_view path : {"/exec", "/attach", "/run", "/portForward", "/podProxy", "/containerLogs"})
      if (rest.starts_with(path))
        co_return base::forbidden("nodes", who.name, fmt::format("{} is not reached through a node's proxy", path));
    to.node = who.name;
    to.path = rest + raw_query(x.request);
    co_return to;
  }
  std::string ip;
  int64_t port = 0;
  if (i.resource == "pods") {
    RecordPtr record = registry_.store().get(object_key("", "pods", i.ns, who.name));
    if (!record) co_return base::not_found("pods", who.name);
    CO_TRY(value pod, base::parse_json(*record->value, 256));
    to.node = base::get_string(pod, "spec.nodeName");
    ip = base::get_string(pod, "status.podIP");
    if (ip.empty()) co_return base::bad_request(fmt::format("pod {} has no address yet", who.name));
    port = who.port.empty() ? container_port(pod, {}) : std::strtol(who.port.c_str(), nullptr, 10);
    if (port == 0) port = who.port.empty() ? 80 : container_port(pod, who.port);
  } else {
    RecordPtr record = registry_.store().get(object_key("", "services", i.ns, who.name));
    if (!record) co_return base::not_found("services", who.name);
    CO_TRY(value service, base::parse_json(*record->value, 256));
    std::string port_name;
    bool found = false;
    if (const base::json::array* ports = base::find_array(service, "spec.ports"))
      for (const value& p : *ports) {
        bool same = who.port.empty() ? ports->size() == 1
                                     : base::get_string(p, "name") == who.port || std::to_string(base::get_int(p, "port")) == who.port;
        if (!same) continue;
        port_name = base::get_string(p, "name");
        found = true;
        break;
      }
    if (!found) co_return base::unavailable(fmt::format("no service port \"{}\" found for service \"{}\"", who.port, who.name));
    auto slices = co_await registry_.store().list(collection_prefix("discovery.k8s.io", "endpointslices", i.ns));
    if (!slices) co_return std::unexpected(std::move(slices).error());
    for (const RecordPtr& r : slices->records) {
      auto slice = base::parse_json(*r->value, 256);
      const base::json::object* labels = slice ? base::find_object(*slice, "metadata.labels") : nullptr;
      if (!labels || text_of(*labels, "kubernetes.io/service-name") != who.name) continue;
      int64_t slice_port = 0;
      if (const base::json::array* ports = base::find_array(*slice, "ports"))
        for (const value& p : *ports)
          if (base::get_string(p, "name") == port_name) slice_port = base::get_int(p, "port");
      const base::json::array* endpoints = base::find_array(*slice, "endpoints");
      if (slice_port == 0 || !endpoints) continue;
      for (const value& e : *endpoints) {
        const base::json::array* addresses = base::find_array(e, "addresses");
        if (!base::get_bool(e, "conditions.ready", true) || !addresses || addresses->empty() || !addresses->front().is_string()) continue;
        // Only pods are reached through their node; anything else would let a user aim the server.
        if (base::get_string(e, "targetRef.kind") != "Pod" || base::get_string(e, "nodeName").empty()) continue;
        to.node = base::get_string(e, "nodeName");
        ip = addresses->front().get_string();
        port = slice_port;
      }
    }
    if (ip.empty()) co_return base::unavailable(fmt::format("no endpoints available for service \"{}\"", who.name));
  }
  if (port < 1 || port > 65535) co_return base::bad_request(fmt::format("invalid port \"{}\"", who.port));
  if (to.node.empty()) co_return base::bad_request("the pod does not have a host assigned");
  to.at.backend = fmt::format("{}:{}", ip, port);
  to.path = fmt::format("/podProxy/{}{}{}{}", who.scheme == "https" ? "https:" : "", to.at.backend, rest, raw_query(x.request));
  co_return to;
}

Task<> Connect::handle(Exchange& x) {
  Result<NodeRequest> to = base::internal("");
  if (x.info.subresource == "proxy") to = co_await proxy_request(x);
  else to = pod_request(x);
  if (!to) co_return co_await send_error(x, to.error());
  if (const std::string& m = x.request.method;
      x.info.subresource == "proxy" && x.info.rest.empty() && (m == "GET" || m == "HEAD") && !is_upgrade(x.request)) {
    // Relative links of the page would not be found without the slash.
    x.response.headers.set("Location", to->at.prefix + "/" + raw_query(x.request));
    co_return co_await send_text(x, 301, {});
  }
  if (to->node.empty()) co_return co_await send_text(x, 200, {});  // the log of a pod that runs nowhere
  co_await forward(x, std::move(*to));
}

namespace {

Task<> copy_body(base::http::ClientResponse& from, base::http::Response& to) {
  std::vector<char> chunk(32 * 1024);
  for (;;) {
    auto n = co_await from.read(chunk);
    if (!n || *n == 0) break;
    auto written = co_await to.write(std::string_view(chunk.data(), *n));
    if (!written) co_return;
  }
  co_await to.end();
}

// HTML, of which the links are changed. A page that is too long for that goes on as it is.
Task<> copy_page(base::http::ClientResponse& from, base::http::Response& to, ProxiedAt at) {
  std::string page;
  std::vector<char> chunk(32 * 1024);
  while (page.size() < page_limit) {
    auto n = co_await from.read(chunk);
    if (!n) co_return;
    if (*n == 0) {
      page = rewrite_links(page, at);
      auto written = co_await to.write(page);
      if (written) co_await to.end();
      co_return;
    }
    page.append(chunk.data(), *n);
  }
  auto written = co_await to.write(page);
  if (written) co_await copy_body(from, to);
}

// One message per piece of the log; what the client sends is read, for its close to be seen.
Task<> tell_log(base::http::ClientResponse& from, base::http::WebSocket& to) {
  const bool base64 = to.protocol().starts_with("base64.");
  std::vector<char> chunk(32 * 1024);
  for (;;) {
    auto n = co_await from.read(chunk);
    if (!n || *n == 0) break;
    std::string_view piece(chunk.data(), *n);
    std::string encoded = base64 ? base::base64_encode(piece) : std::string(piece);
    auto sent = co_await to.send(encoded, base64);
    if (!sent) co_return;
  }
  co_await to.close();
}

Task<> until_closed(base::http::WebSocket& socket) {
  for (;;) {
    auto message = co_await socket.receive();
    if (!message || message->kind == base::http::WebSocketMessage::Kind::close) co_return;
  }
}

Task<> log_over_websocket(Exchange& x, base::http::ClientResponse& from) {
  static constexpr std::string_view protocols[] = {"binary.k8s.io", "base64.binary.k8s.io", ""};
  auto socket = co_await base::http::accept_websocket(x.request, x.response, protocols);
  if (socket) co_await base::race(tell_log(from, **socket), until_closed(**socket));
}

}  // namespace

Task<> Connect::forward(Exchange& x, NodeRequest to) {
  auto stream = co_await streams_.open(to.node);
  if (!stream) {
    base::Error e = stream.error();
    e.message = fmt::format("error dialing node {}: {}", to.node, e.message);
    co_return co_await send_error(x, e);
  }
  base::http::ClientRequest request;
  request.method = x.request.method;
  request.url = "http://node" + to.path;
  for (const auto& [name, v] : x.request.headers)
    if (passes(name)) request.headers.add(name, v);
  const bool proxied = x.info.subresource == "proxy",
             log_socket = x.info.subresource == "log" && base::http::is_websocket_upgrade(x.request);
  if (proxied) {
    request.headers.set("X-Forwarded-Uri", to.at.prefix + (x.info.rest.empty() ? "/" : x.info.rest));
    request.headers.remove("Accept-Encoding");  // pages are read here
  }
  const bool upgrade = is_upgrade(x.request) && !log_socket;
  if (upgrade) {
    request.headers.set("Connection", "Upgrade");
    request.headers.set("Upgrade", x.request.headers.get("Upgrade"));
  } else if (x.request.has_body()) {
    auto body = co_await x.request.body(proxied_body_limit);
    if (!body) co_return co_await send_error(x, body.error());
    request.body = std::move(*body);
  }
  auto response = co_await base::http::send_on(std::move(*stream), std::move(request));
  if (!response) co_return co_await send_error(x, response.error());
  base::http::ClientResponse& r = **response;
  if (r.status == 101 && upgrade) {
    x.response.status = 101;
    for (const auto& [name, v] : r.headers) x.response.headers.add(name, v);
    auto client = co_await x.response.upgrade();
    if (!client) co_return;
    audit_stage(x, audit::kStarted);
    std::unique_ptr<base::http::Stream> node = r.take_stream();
    co_await base::http::pipe(**client, *node);
    co_return;
  }
  const bool status_object = r.headers.get("Content-Type").starts_with("application/json");
  if (r.status >= 400 && (to.text_errors || x.info.subresource != "proxy") && !status_object) {
    auto text = co_await r.body(64 * 1024);
    std::string message = text ? *text : std::string("the node answered with an error");
    while (!message.empty() && message.back() == '\n') message.pop_back();
    base::Error e;
    e.code = r.status;
    e.reason = r.status == 400 ? "BadRequest" : r.status == 404 ? "NotFound" : r.status == 403 ? "Forbidden" : "InternalError";
    e.message = std::move(message);
    co_return co_await send_error(x, e);
  }
  if (log_socket) co_return co_await log_over_websocket(x, r);
  x.response.status = r.status;
  for (const auto& [name, v] : r.headers) {
    std::string lower(name);
    for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    if (lower != "connection" && lower != "keep-alive" && lower != "transfer-encoding" && lower != "content-length" && lower != "upgrade")
      x.response.headers.add(name, v);
  }
  if (proxied && r.headers.has("Location")) x.response.headers.set("Location", rewrite_url(r.headers.get("Location"), to.at));
  if (to.text_errors && !r.headers.has("Content-Type")) x.response.headers.set("Content-Type", "text/plain");
  auto begun = co_await x.response.begin();
  if (!begun) co_return;
  audit_stage(x, audit::kStarted);
  const std::string_view type = r.headers.get("Content-Type");
  const bool page =
      proxied && type.substr(0, type.find(';')) == "text/html" && !r.headers.has("Content-Encoding") && !r.headers.has("Location");
  if (page) co_await base::race(copy_page(r, x.response, to.at), x.response.client_gone());
  else co_await base::race(copy_body(r, x.response), x.response.client_gone());
}

}  // namespace server
