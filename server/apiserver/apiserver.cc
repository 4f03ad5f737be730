#include "server/apiserver/apiserver.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <sys/inotify.h>

#include <algorithm>
#include <atomic>

#include <fmt/format.h>

#include "base/bytes.h"
#include "base/inotify.h"
#include "base/log.h"
#include "server/apiserver/admission/all.h"
#include "server/apiserver/bootstrap/bootstrap.h"
#include "server/apiserver/bootstrap/csr_signer.h"
#include "server/apiserver/bootstrap/event_expiry.h"
#include "server/apiserver/flow/controller.h"
#include "server/apiserver/http/front.h"
#include "server/apiserver/operations/local_client.h"
#include "server/apiserver/pki/cluster_pki.h"
#include "server/apiserver/registry/cidr.h"
#include "server/apiserver/strategy/all.h"

namespace server {

using namespace std::chrono_literals;

namespace {

// IPv4 addresses of this host's interfaces, without loopback and link-local ones.
std::vector<std::string> own_addresses() {
  std::vector<std::string> out;
  ifaddrs* all = nullptr;
  if (getifaddrs(&all) != 0) return out;
  for (ifaddrs* i = all; i; i = i->ifa_next) {
    if (!i->ifa_addr || i->ifa_addr->sa_family != AF_INET) continue;
    uint32_t ip = ntohl(reinterpret_cast<const sockaddr_in*>(i->ifa_addr)->sin_addr.s_addr);
    if ((ip >> 24) == 127 || (ip >> 16) == 0xa9fe) continue;
    out.push_back(ipv4_text(ip));
  }
  freeifaddrs(all);
  std::sort(out.begin(), out.end());
  return out;
}

ServiceAccountTokenOptions token_options(const ApiServerOptions& o) {
  ServiceAccountTokenOptions out{o.service_account_issuers, o.api_audiences, o.service_account_jwks_uri};
  if (out.issuers.empty()) out.issuers.push_back("https://kubernetes.default.svc." + o.cluster_domain);
  return out;
}

}  // namespace

struct ApiServer::Impl {
  Impl(base::Runtime& r, datastore::Store& s, ApiServerOptions o)
      : runtime(r),
        store(s),
        options(std::move(o)),
        address(options.advertise_address),
        rbac(store),
        authorizer(store, rbac),
        strategies(make_strategies(options)),
        resources([this](std::string_view group, std::string_view resource) {
          auto it = strategies.find(fmt::format("{}/{}", group, resource));
          return it == strategies.end() ? strategies.find("*")->second.get() : it->second.get();
        }),
        admission(make_admission(authorizer, options)),
        registry(store, resources, admission),
        streams(runtime),
        flow(options.max_requests),
        tasks(runtime) {
    if (this->options.name_suffix) registry.set_name_suffix(this->options.name_suffix);
  }

  base::Runtime& runtime;
  datastore::Store& store;
  const ApiServerOptions options;
  AdvertisedAddress address;
  Rbac rbac;
  Authorizer authorizer;
  Strategies strategies;
  Resources resources;
  AdmissionChain admission;
  Registry registry;
  NodeStreams streams;
  flow::FlowControl flow;
  std::unique_ptr<audit::Auditor> auditor;
  base::Tasks tasks;
  // Made by start(), after the keys.
  pki::ClusterPki pki;
  JoinTokens join_tokens;
  std::unique_ptr<ServiceAccountTokens> tokens;
  std::unique_ptr<OidcProvider> provider;  // null without one
  std::unique_ptr<Authenticator> authenticator;
  std::unique_ptr<Operations> operations;
  std::unique_ptr<CertificateSigner> signer;
  std::unique_ptr<Discovery> discovery;
  std::unique_ptr<OpenApiDocuments> openapi;
  std::unique_ptr<ResourceHandler> resource_handler;
  std::unique_ptr<Connect> connect;
  std::unique_ptr<ResourceMetrics> usage;
  std::unique_ptr<Join> join;
  std::unique_ptr<Front> front;
  std::unique_ptr<base::http::Server> http;
  std::atomic<Front*> door{nullptr};  // set when everything behind it is there
  uint16_t port = 0;
  base::Event moved;  // `address` has changed

  pki::ServerNames names() const {
    pki::ServerNames out;
    out.dns = {"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc." + options.cluster_domain,
               "localhost"};
    out.ip = {"127.0.0.1", "::1"};
    if (auto ip = kubernetes_service_ip(options)) out.ip.push_back(*ip);
    auto add = [&](const std::string& name) {
      if (name.empty() || name == "0.0.0.0" || name == "::") return;
      bool ip = parse_ipv4(name) || name.find(':') != std::string::npos;
      std::vector<std::string>& list = ip ? out.ip : out.dns;
      if (std::find(list.begin(), list.end(), name) == list.end()) list.push_back(name);
    };
    add(options.node_name);
    add(address.host());
    add(options.bind_address);
    for (const std::string& san : options.tls_san) add(san);
    // Bound to every address: reached by each of the host's own as they are at start. Requests never add one.
    if (options.bind_address == "0.0.0.0" || options.bind_address == "::")
      for (const std::string& own : own_addresses()) add(own);
    return out;
  }

  std::string tls_directory() const { return options.data_dir + "/server/tls"; }

  Result<base::http::TlsContextPtr> tls_context() const {
    base::http::TlsServerOptions tls;
    tls.identity = pki.server;
    tls.client_ca_pem = pki.ca.certificate_pem;
    tls.alpn = {"h2", "http/1.1"};
    return base::http::make_server_context(tls);
  }

  // Certificates that near their end are replaced while running, and so is what says where this server is when its host's address changes.
  static Task<> renew(Impl& self, uint64_t seen) {
    for (;;) {
      const bool moved = co_await self.moved.wait(seen, base::Clock::now() + 12h);
      seen = self.moved.version();
      if (auto good = co_await renew_certificates(self); !good) base::log::error("pki", "renewing certificates: {}", good.error().message);
      if (!moved) continue;
      base::log::info("apiserver", "the server's address is {} now", self.address.host());
      Result<> written;
      for (int attempt = 0; attempt < 3; ++attempt) {
        written = co_await write_own_endpoints(self.store, self.resources, self.address.host(), self.port);
        if (written || !base::is_conflict(written.error())) break;
      }
      if (!written) base::log::error("apiserver", "the endpoints of the kubernetes service: {}", written.error().message);
    }
  }

  static Task<Result<>> renew_certificates(Impl& self) {
    auto names = self.names();
    std::string directory = self.tls_directory();
    CO_TRY(auto fresh, co_await base::offload([directory, names] { return pki::load_or_make(directory, names); }));
    if (fresh.server.certificate_pem == self.pki.server.certificate_pem || !self.http) co_return Result<>{};
    self.pki.server = fresh.server;
    CO_TRY(auto context, self.tls_context());
    self.http->set_tls(std::move(context));
    co_return Result<>{};
  }

  // Keys of ServiceAccount tokens that somebody rotates, adds or removes count at once.
  static Task<> follow_keys(Impl& self) {
    const std::string directory = self.tls_directory();
    auto changes = co_await base::Inotify::open();
    if (!changes || !(*changes)->add(directory, IN_CLOSE_WRITE | IN_MOVED_TO | IN_DELETE)) {
      base::log::warn("pki", "{} cannot be watched: keys that change there count after a restart", directory);
      co_return;
    }
    for (;;) {
      auto now = co_await base::offload([directory] { return pki::load_service_account_keys(directory); });
      if (now && *now != self.pki.service_account) {
        if (auto keys = JwtKeys::of_pem(now->private_key, now->public_keys)) {
          self.tokens->use(std::move(*keys));
          self.pki.service_account = std::move(*now);
          base::log::info("pki", "the keys of service accounts have changed");
        } else {
          base::log::error("pki", "the keys of service accounts stay as they are: {}", keys.error().message);
        }
      }
      if (!(co_await (*changes)->wait())) co_return;
    }
  }

  void assemble() {
    address.set_port(port);
    operations = std::make_unique<Operations>(registry, authorizer, *authenticator, *tokens);
    discovery = std::make_unique<Discovery>(resources, address);
    openapi = std::make_unique<OpenApiDocuments>(server_version());
    resource_handler = std::make_unique<ResourceHandler>(*operations);
    connect = std::make_unique<Connect>(registry, streams);
    usage = std::make_unique<ResourceMetrics>(registry, streams);
    operations->set_gather(
        [this](const ResourceInfo* r, std::string ns, Selection s) { return usage->gather(r, std::move(ns), {}, std::move(s)); });
    ClusterFacts facts{address,          options.cluster_cidr, options.service_cidr, options.cluster_dns, options.cluster_domain,
                       server_version(), options.node_name};
    join = std::make_unique<Join>(registry, *authenticator, pki.ca, join_tokens, std::move(facts));
    front = std::make_unique<Front>(FrontParts{*operations, *authenticator, authorizer, *tokens, *discovery, *openapi, *resource_handler,
                                               *connect, *usage, streams, *join, pki.ca.certificate_pem, server_version(), flow,
                                               auditor.get(), options.keyring.get(), options.log_requests, options.more_metrics});
  }
};

ApiServer::ApiServer(base::Runtime& runtime, datastore::Store& store, ApiServerOptions options) {
  if (options.advertise_address.empty() && options.bind_address != "0.0.0.0" && options.bind_address != "::")
    options.advertise_address = options.bind_address;
  if (options.advertise_address.empty()) options.advertise_address = "127.0.0.1";
  impl_ = std::make_shared<Impl>(runtime, store, std::move(options));
}

ApiServer::~ApiServer() = default;

Task<Result<>> ApiServer::start() {
  Impl& s = *impl_;
  for (const std::string& cidr : {s.options.cluster_cidr, s.options.service_cidr}) {
    if (auto good = parse_cidr(cidr); !good) co_return std::unexpected(good.error());
  }
  std::string directory = s.tls_directory();
  pki::ServerNames names = s.names();
  CO_TRY(s.pki, co_await base::offload([directory, names] { return pki::load_or_make(directory, names); }));
  CO_TRY(JwtKeys keys, JwtKeys::of_pem(s.pki.service_account.private_key, s.pki.service_account.public_keys));
  s.tokens = std::make_unique<ServiceAccountTokens>(s.store, std::move(keys), token_options(s.options));
  if (!s.options.oidc.issuer_url.empty()) {
    CO_TRY(s.provider, OidcProvider::make(s.options.oidc));
  }
  CO_TRY(s.join_tokens, load_join_tokens(s.options.data_dir, s.options.token, s.options.agent_token, s.pki.ca.certificate_pem));
  s.authenticator = std::make_unique<Authenticator>(*s.tokens, s.store, s.provider.get());
  s.port = s.options.port;
  if (s.options.listen) {
    CO_TRY(base::http::TlsContextPtr tls, s.tls_context());
    base::http::ServerOptions http;
    http.address = s.options.bind_address;
    http.port = s.options.port;
    http.tls = std::move(tls);
    s.http = std::make_unique<base::http::Server>(s.runtime, http, handler());
    CO_CHECK_OK(s.http->start());
    s.port = s.http->port();
  }
  CO_CHECK_OK(co_await bootstrap(s.store, s.resources, s.options, s.port, s.pki.ca.certificate_pem));
  CO_CHECK_OK(co_await s.rbac.load());
  CO_CHECK_OK(co_await flow::load(s.store, s.flow));
  CO_TRY(s.auditor, audit::make_auditor(s.options.audit));
  s.assemble();
  s.tasks.spawn("rbac", s.rbac.run());
  s.tasks.spawn("flow-control", flow::follow(s.store, client(UserInfo::apiserver()), s.flow));
  s.tasks.spawn("event-expiry", expire_events(s.store));
  s.signer = std::make_unique<CertificateSigner>(s.store, s.authorizer, controller_client("certificate-controller"), s.pki.ca);
  s.tasks.spawn("csr-signer", s.signer->run());
  s.tasks.spawn("certificates", Impl::renew(s, s.moved.version()));
  s.tasks.spawn("service-account-keys", Impl::follow_keys(s));
  if (s.provider) s.tasks.spawn("oidc", s.provider->follow());
  s.front->set_ready(true);
  s.door = s.front.get();
  if (s.options.listen) base::log::info("apiserver", "listening on {}:{}", s.options.bind_address, s.port);
  co_return Result<>{};
}

void ApiServer::advertise(std::string address) {
  if (impl_->address.move_to(std::move(address))) impl_->moved.notify();
}

void ApiServer::begin_shutdown() {
  if (impl_->front) impl_->front->set_ready(false);
}

Task<> ApiServer::stop() {
  Impl& s = *impl_;
  begin_shutdown();
  if (s.http && s.options.shutdown_delay > base::Duration(0)) co_await base::sleep_for(s.options.shutdown_delay);
  if (s.front) s.front->drain();
  co_await s.streams.stop();  // tunnels would stay as long as they are let
  if (s.http) co_await s.http->stop(s.options.shutdown_grace);
  co_await s.tasks.stop();
  if (s.auditor) s.auditor->stop();
}

uint16_t ApiServer::port() const { return impl_->port; }

std::shared_ptr<api::Client> ApiServer::client(UserInfo identity, std::string manager) {
  if (manager.empty()) manager = identity.name.substr(identity.name.rfind(':') + 1);
  return make_local_client(*impl_->operations, std::move(identity), std::move(manager), impl_->auditor.get());
}

std::shared_ptr<api::Client> ApiServer::controller_client(std::string account) {
  const std::string manager = "kube-controller-manager";  // what tools that compare objects know to leave alone
  return client(account.empty() ? UserInfo::component("system:" + manager) : UserInfo::controller(std::move(account)), manager);
}

std::string ApiServer::kubeconfig(const std::string& host) const {
  const pki::ClusterPki& p = impl_->pki;
  return fmt::format(
      "apiVersion: v1\n"
      "kind: Config\n"
      "clusters:\n"
      "- name: appliance\n"
      "  cluster:\n"
      "    certificate-authority-data: {}\n"
      "    server: https://{}:{}\n"
      "contexts:\n"
      "- name: appliance\n"
      "  context:\n"
      "    cluster: appliance\n"
      "    user: appliance\n"
      "current-context: appliance\n"
      "preferences: {{}}\n"
      "users:\n"
      "- name: appliance\n"
      "  user:\n"
      "    client-certificate-data: {}\n"
      "    client-key-data: {}\n",
      base::base64_encode(p.ca.certificate_pem), host.empty() ? "127.0.0.1" : host, impl_->port,
      base::base64_encode(p.admin.certificate_pem), base::base64_encode(p.admin.key_pem));
}

const std::string& ApiServer::ca_pem() const { return impl_->pki.ca.certificate_pem; }
Result<std::string> ApiServer::secret_token(const std::string& ns, const std::string& account, const std::string& account_uid,
                                            const std::string& secret) const {
  return impl_->tokens->issue_for_secret(ns, account, account_uid, secret);
}
std::string ApiServer::server_token() const { return full_token(impl_->pki.ca.certificate_pem, "server", impl_->join_tokens.server); }
std::string ApiServer::agent_token() const { return full_token(impl_->pki.ca.certificate_pem, "agent", impl_->join_tokens.agent); }

void ApiServer::attach_node(const std::string& name, NodeDialer dial) { impl_->streams.attach(name, std::move(dial)); }

base::http::Handler ApiServer::handler() {
  return [impl = impl_.get()](base::http::Request& request, base::http::Response& response) -> Task<> {
    // Connections are accepted before the rest is ready.
    Front* front = impl->door.load();
    if (!front) {
      response.status = 503;
      response.headers.set("Retry-After", "1");
      co_await response.send("the server is starting\n");
      co_return;
    }
    co_await front->handle(request, response);
  };
}

}  // namespace server
