#include "agent/join.h"

#include <sys/stat.h>

#include <algorithm>
#include <mutex>

#include <fmt/format.h>

#include "base/bytes.h"
#include "base/files.h"
#include "base/json.h"
#include "base/log.h"
#include "base/time.h"

namespace agent {

namespace http = base::http;
using namespace std::chrono_literals;

namespace {

struct Paths {
  std::string dir, key, certificate, ca, secret, settings;
  explicit Paths(const std::string& data_dir)
      : dir(data_dir + "/agent"), key(dir + "/client.key"), certificate(dir + "/client.crt"), ca(dir + "/server-ca.crt"), secret(dir + "/node-secret"),
        settings(dir + "/cluster.json") {}
};

std::string trimmed(std::string s) {
  while (!s.empty() && (s.back() == '/' || s.back() == '\n' || s.back() == ' ')) s.pop_back();
  return s;
}

std::string to_json(const Membership& m) {
  base::json::array servers;
  for (const auto& s : m.servers) servers.push_back(base::json::value(s));
  return base::to_text(base::json::object{{"nodeName", m.node_name},
                                          {"servers", servers},
                                          {"clusterCIDR", m.cluster_cidr},
                                          {"serviceCIDR", m.service_cidr},
                                          {"clusterDNS", m.cluster_dns},
                                          {"clusterDomain", m.cluster_domain}});
}

void read_settings(const base::json::value& v, Membership& m) {
  m.node_name = base::get_string(v, "nodeName");
  m.cluster_cidr = base::get_string(v, "clusterCIDR");
  m.service_cidr = base::get_string(v, "serviceCIDR");
  m.cluster_dns = base::get_string(v, "clusterDNS");
  m.cluster_domain = base::get_string(v, "clusterDomain");
  if (const auto* servers = base::find_array(v, "servers")) {
    for (const auto& s : *servers) {
      if (s.is_string()) m.servers.emplace_back(s.as_string());
    }
  }
}

// The identity of an earlier start, while it is good for at least another minute.
std::optional<Membership> load(const Paths& p, const std::string& node_name) {
  auto key = base::read_file(p.key), certificate = base::read_file(p.certificate), ca = base::read_file(p.ca),
       settings = base::read_file(p.settings);
  if (!key || !certificate || !ca || !settings) return std::nullopt;
  auto info = read_certificate(*certificate);
  auto json = base::parse_json(*settings);
  if (!info || !json || info->common_name != "system:node:" + node_name) return std::nullopt;
  if (info->not_after < std::chrono::system_clock::to_time_t(base::WallClock::now()) + 60) return std::nullopt;
  Membership m;
  read_settings(*json, m);
  m.node_name = node_name;
  m.identity = {*certificate, *key};
  m.ca_pem = *ca;
  return m;
}

Result<> store(const Paths& p, const Membership& m) {
  CHECK_OK(base::make_dirs(p.dir, 0700));
  CHECK_OK(base::write_file_atomic(p.key, m.identity.key_pem, 0600));
  CHECK_OK(base::write_file_atomic(p.certificate, m.identity.certificate_pem, 0600));
  CHECK_OK(base::write_file_atomic(p.ca, m.ca_pem, 0600));
  return base::write_file_atomic(p.settings, to_json(m), 0600);
}

Result<std::string> node_secret(const Paths& p) {
  if (auto have = base::read_file(p.secret); have && have->size() >= 64) return have->substr(0, 64);
  std::string made = base::hex_encode(base::random_bytes(32));
  CHECK_OK(base::make_dirs(p.dir, 0700));
  CHECK_OK(base::write_file_atomic(p.secret, made, 0600));
  return made;
}

// A sentence for what the server's Status says.
base::Failure refused(const std::string& what, int status, const std::string& body) {
  std::string message = body;
  if (auto v = base::parse_json(body)) message = base::get_string(*v, "message", body);
  return base::fail(status, status == 401 ? "Unauthorized" : status == 403 ? "Forbidden" : "JoinFailed", fmt::format("{}: {}", what, message.substr(0, 300)));
}

Task<Result<std::string>> fetch_ca(std::string server) {
  http::TlsClientOptions tls;
  tls.verify = false;
  CO_TRY(auto context, http::make_client_context(tls));
  http::ClientOptions options;
  options.tls = context;
  http::Client client(options);
  http::ClientRequest request;
  request.url = server + "/cacerts";
  request.timeout = 10s;
  auto response = co_await client.send(std::move(request));
  if (!response) co_return std::unexpected(std::move(response).error());
  auto body = co_await (*response)->body(1 << 20);
  if (!body) co_return std::unexpected(std::move(body).error());
  if ((*response)->status != 200) co_return refused("asking " + server + " for its CA", (*response)->status, *body);
  co_return body;
}

// One join or renewal; the context decides which.
Task<Result<Membership>> request_certificate(JoinOptions o, std::string ca, http::TlsContextPtr context, std::string authorization,
                                             std::string secret) {
  CO_TRY(SigningRequest signing, make_signing_request(o.node_name));
  base::json::object body{{"nodeName", o.node_name}, {"csr", signing.csr_pem}};
  if (!secret.empty()) body["nodeSecret"] = secret;
  http::ClientOptions options;
  options.tls = context;
  http::Client client(options);
  http::ClientRequest request;
  request.method = "POST";
  request.url = o.server_url + "/v1-appliance/join";
  request.headers.set("Content-Type", "application/json");
  if (!authorization.empty()) request.headers.set("Authorization", authorization);
  request.body = base::to_text(body);
  auto response = co_await client.send(std::move(request));
  if (!response) co_return std::unexpected(std::move(response).error());
  auto text = co_await (*response)->body(1 << 20);
  if (!text) co_return std::unexpected(std::move(text).error());
  if ((*response)->status != 200) co_return refused(fmt::format("the server refuses node \"{}\"", o.node_name), (*response)->status, *text);
  CO_TRY(auto json, base::parse_json(*text));
  Membership m;
  read_settings(json, m);
  m.node_name = o.node_name;
  m.identity = {std::string(base::get_string(json, "certificate")), signing.key_pem};
  m.ca_pem = base::get_string(json, "ca", ca);
  if (m.identity.certificate_pem.empty()) co_return base::unavailable("the server's answer has no certificate");
  co_return m;
}

}  // namespace

Result<JoinToken> parse_join_token(std::string_view given) {
  std::string text = trimmed(std::string(given));
  if (text.empty()) return base::bad_request("the token is empty: it is in <data-dir>/server/token on the server");
  JoinToken t;
  t.secret = text;
  if (!text.starts_with("A10")) {
    if (text.find("::") != std::string::npos)
      return base::bad_request("the token is malformed: it must begin with A10 and the hash of the cluster's CA");
    return t;
  }
  size_t colons = text.find("::");
  if (colons == std::string::npos) return t;  // a secret that happens to begin with A10
  t.ca_hash = text.substr(3, colons - 3);
  bool hex = t.ca_hash.size() == 64 &&
             std::all_of(t.ca_hash.begin(), t.ca_hash.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
  if (!hex) return base::bad_request("the token is malformed: the hash after A10 must have 64 hexadecimal digits (was it cut off?)");
  if (colons + 2 >= text.size()) return base::bad_request("the token is malformed: nothing follows its hash");
  return t;
}

Task<Result<Membership>> join(JoinOptions o) {
  o.server_url = trimmed(o.server_url);
  Paths paths(o.data_dir);
  if (auto known = load(paths, o.node_name)) {
    if (known->servers.empty()) known->servers = {o.server_url};
    co_return std::move(*known);
  }
  if (!o.server_url.starts_with("https://"))
    co_return base::bad_request(fmt::format("the server must be given as https://HOST:6443, not \"{}\"", o.server_url));
  CO_TRY(JoinToken token, parse_join_token(o.token));
  auto ca = co_await fetch_ca(o.server_url);
  if (!ca) co_return std::unexpected(std::move(ca).error());
  if (token.ca_hash.empty()) {
    base::log::warn("agent", "the token has no CA hash: the server at {} is trusted blindly", o.server_url);
  } else if (!base::equal_constant_time(base::sha256_hex(*ca), token.ca_hash)) {
    co_return base::fail(
        403, "WrongCA",
        fmt::format(
            "the CA of {} is not the one in the token (hash {}..., expected {}...): wrong server, wrong token, or someone in between",
            o.server_url, base::sha256_hex(*ca).substr(0, 12), token.ca_hash.substr(0, 12)));
  }
  CO_TRY(std::string secret, node_secret(paths));
  http::TlsClientOptions tls;
  tls.ca_pem = *ca;
  CO_TRY(auto context, http::make_client_context(tls));
  auto joined = co_await request_certificate(o, *ca, context, "Bearer " + token.secret, secret);
  if (!joined) co_return std::unexpected(std::move(joined).error());
  CO_CHECK_OK(store(paths, *joined));
  if (joined->servers.empty()) joined->servers = {o.server_url};
  co_return std::move(*joined);
}

struct IdentityKeeper::Impl {
  JoinOptions options;
  Membership membership;
  mutable std::mutex mutex;  // guards context and listeners
  http::TlsContextPtr context;
  std::vector<std::function<void(http::TlsContextPtr)>> listeners;

  static Result<http::TlsContextPtr> make_context(const Membership& m) {
    http::TlsClientOptions tls;
    tls.ca_pem = m.ca_pem;
    tls.identity = m.identity;
    return http::make_client_context(tls);
  }
};

IdentityKeeper::IdentityKeeper() : impl_(std::make_unique<Impl>()) {}
IdentityKeeper::~IdentityKeeper() = default;

Result<std::shared_ptr<IdentityKeeper>> IdentityKeeper::make(JoinOptions options, Membership membership) {
  std::shared_ptr<IdentityKeeper> k(new IdentityKeeper);
  TRY(k->impl_->context, Impl::make_context(membership));
  options.server_url = trimmed(options.server_url);
  k->impl_->options = std::move(options);
  k->impl_->membership = std::move(membership);
  return k;
}

http::TlsContextPtr IdentityKeeper::tls() const {
  std::scoped_lock lock(impl_->mutex);
  return impl_->context;
}

void IdentityKeeper::on_renewal(std::function<void(http::TlsContextPtr)> f) {
  std::scoped_lock lock(impl_->mutex);
  impl_->listeners.push_back(std::move(f));
}

Task<> IdentityKeeper::run() {
  for (;;) {
    auto info = read_certificate(impl_->membership.identity.certificate_pem);
    if (!info) {
      base::log::error("agent", "the node's certificate: {}", info.error().message);
      co_return;
    }
    auto now = std::chrono::system_clock::to_time_t(base::WallClock::now());
    int64_t due = info->not_after - (info->not_after - info->not_before) / 3;
    if (now < due) {
      // In steps, so that a changed clock is noticed.
      co_await base::sleep_for(std::chrono::seconds(std::min<int64_t>(due - now, 3600)));
      continue;
    }
    auto renewed = co_await request_certificate(impl_->options, impl_->membership.ca_pem, tls(), {}, {});
    if (!renewed) {
      base::log::warn("agent", "renewing the node's certificate: {}", renewed.error().message);
      co_await base::sleep_for(60s);
      continue;
    }
    auto context = Impl::make_context(*renewed);
    auto stored = store(Paths(impl_->options.data_dir), *renewed);
    if (!context || !stored) {
      base::log::warn("agent", "keeping the renewed certificate: {}", !context ? context.error().message : stored.error().message);
      co_await base::sleep_for(60s);
      continue;
    }
    std::vector<std::function<void(http::TlsContextPtr)>> listeners;
    {
      std::scoped_lock lock(impl_->mutex);
      impl_->context = *context;
      listeners = impl_->listeners;
    }
    impl_->membership = std::move(*renewed);
    for (auto& f : listeners) f(*context);
    base::log::info("agent", "the node's certificate has been renewed");
  }
}

}  // namespace agent
