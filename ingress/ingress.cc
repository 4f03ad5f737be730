#include "ingress/ingress.h"

#include <map>
#include <set>

#include <fmt/format.h>

#include "api/informer.h"
#include "base/log.h"
#include "ingress/certificate.h"
#include "ingress/proxy.h"
#include "ingress/translate.h"

namespace ingress {

using base::Result;
using base::Task;
namespace networking = api::networking;

namespace {

struct Listen {
  std::string address;
  uint16_t port = 0;
};

Result<Listen> parse_listen(const std::string& text) {
  size_t colon = text.rfind(':');
  int port = colon == std::string::npos ? 0 : std::atoi(text.c_str() + colon + 1);
  if (port <= 0 || port > 65535) return base::bad_request(fmt::format("\"{}\" is not ADDRESS:PORT", text));
  std::string address = text.substr(0, colon);
  if (address.starts_with('[') && address.ends_with(']')) address = address.substr(1, address.size() - 2);
  return Listen{address, static_cast<uint16_t>(port)};
}

}  // namespace

struct Ingress::Impl : std::enable_shared_from_this<Impl> {
  base::Runtime& runtime;
  std::shared_ptr<api::Client> client;
  const IngressOptions options;
  base::Tasks tasks;
  api::Informers informers;
  api::Informer<networking::Ingress>& ingresses;
  api::Informer<api::core::Service>& services;
  api::Informer<api::discovery::EndpointSlice>& slices;
  api::Informer<networking::IngressClass>& classes;
  Proxy proxy;
  base::http::TlsContextPtr fallback_certificate;
  std::unique_ptr<base::http::Server> http, https;
  base::Event routes_changed, status_changed;
  // Secrets that an Ingress names, by namespace/name. Each is watched alone: a node may read no others. Strand of follow_routes().
  struct WatchedSecret {
    std::unique_ptr<api::Informers> informers;
    bool used = false;
  };
  std::map<std::string, WatchedSecret> secrets;

  std::mutex mutex;  // guards what follows
  std::map<std::string, std::weak_ptr<Backend>> backends;  // by namespace/service:port
  std::map<std::string, std::pair<std::string, base::http::TlsContextPtr>> contexts;  // by namespace/secret, with its resourceVersion

  Impl(base::Runtime& r, std::shared_ptr<api::Client> c, IngressOptions o)
      : runtime(r),
        client(std::move(c)),
        options(std::move(o)),
        tasks(r),
        informers(r, *client),
        ingresses(informers.get<networking::Ingress>()),
        services(informers.get<api::core::Service>()),
        slices(informers.get<api::discovery::EndpointSlice>()),
        classes(informers.get<networking::IngressClass>()),
        proxy(r) {
    slices.add_index("service", [](const api::discovery::EndpointSlice& s) {
      auto it = s.metadata.labels.find("kubernetes.io/service-name");
      return it == s.metadata.labels.end() ? std::vector<std::string>() : std::vector{s.metadata.namespace_ + "/" + it->second};
    });
    ingresses.on_change([this](auto&, auto&) {
      routes_changed.notify();
      status_changed.notify();
    });
    classes.on_change([this](auto&, auto&) {
      routes_changed.notify();
      status_changed.notify();
    });
    services.on_change([this](const auto& before, const auto& after) {
      const auto& m = (after ? after : before)->metadata;
      refresh(m.namespace_ + "/" + m.name);
    });
    slices.on_change([this](const auto& before, const auto& after) {
      const auto& m = (after ? after : before)->metadata;
      auto it = m.labels.find("kubernetes.io/service-name");
      if (it != m.labels.end()) refresh(m.namespace_ + "/" + it->second);
    });
  }

  void resolve(Backend& backend) {
    const std::string& name = backend.name();
    size_t slash = name.find('/'), colon = name.rfind(':');
    auto service = services.get(name.substr(0, slash), name.substr(slash + 1, colon - slash - 1));
    std::vector<Endpoint> endpoints;
    if (service) endpoints = resolve_backend(*service, name.substr(colon + 1), slices.by_index("service", name.substr(0, colon)));
    backend.set_endpoints(std::move(endpoints));
  }

  // All backends of one service follow its endpoints at once, without a new table.
  void refresh(const std::string& service) {
    std::vector<BackendPtr> found;
    {
      std::scoped_lock lock(mutex);
      for (auto it = backends.lower_bound(service + ":"); it != backends.end() && it->first.starts_with(service + ":"); ++it) {
        if (auto b = it->second.lock()) found.push_back(std::move(b));
      }
    }
    for (auto& b : found) resolve(*b);
  }

  BackendPtr backend(const std::string& ns, const std::string& service, const std::string& port) {
    std::string name = ns + "/" + service + ":" + port;
    std::unique_lock lock(mutex);
    auto& slot = backends[name];
    auto b = slot.lock();
    if (b) return b;
    b = std::make_shared<Backend>(name);
    slot = b;
    lock.unlock();
    resolve(*b);
    return b;
  }

  base::http::TlsContextPtr certificate(const api::core::Secret& secret) {
    std::string key = secret.metadata.namespace_ + "/" + secret.metadata.name;
    std::scoped_lock lock(mutex);
    auto& slot = contexts[key];
    if (slot.first == secret.metadata.resourceVersion) return slot.second;
    slot = {secret.metadata.resourceVersion, nullptr};
    auto crt = secret.data.find("tls.crt"), k = secret.data.find("tls.key");
    if (crt == secret.data.end() || k == secret.data.end()) return nullptr;
    base::http::TlsServerOptions o;
    o.identity = {crt->second, k->second};
    o.alpn = {"h2", "http/1.1"};
    auto context = base::http::make_server_context(o);
    if (context) slot.second = *context;
    else base::log::warn("ingress", "secret {}: {}", key, context.error().message);
    return slot.second;
  }

  // Ours by name, and every class that names our controller.
  std::set<std::string> served_classes() const {
    std::set<std::string> out{options.ingress_class};
    for (const auto& c : classes.list()) {
      if (c->spec.controller == "appliance.dev/ingress") out.insert(c->metadata.name);
    }
    return out;
  }

  std::shared_ptr<const api::core::Secret> secret(const std::string& ns, const std::string& name) {
    auto& watched = secrets[ns + "/" + name];
    watched.used = true;
    api::ListOptions only;
    only.field_selector = "metadata.name=" + name;
    if (watched.informers) return watched.informers->get<api::core::Secret>(ns, only).get(ns, name);
    watched.informers = std::make_unique<api::Informers>(runtime, *client);
    watched.informers->get<api::core::Secret>(ns, only).on_change([this](auto&, auto&) { routes_changed.notify(); });
    watched.informers->start();
    return nullptr;
  }

  void drop_unused_secrets() {
    for (auto it = secrets.begin(); it != secrets.end();) {
      if (std::exchange(it->second.used, false)) {
        ++it;
        continue;
      }
      tasks.spawn("ingress secret",
                  [](std::unique_ptr<api::Informers> i) -> Task<> { co_await i->stop(); }(std::move(it->second.informers)));
      std::scoped_lock lock(mutex);
      contexts.erase(it->first);
      it = secrets.erase(it);
    }
  }

  void rebuild() {
    Snapshot s;
    s.classes = served_classes();
    s.ingresses = ingresses.list();
    s.service = [this](const std::string& ns, const std::string& name) { return services.get(ns, name); };
    s.secret = [this](const std::string& ns, const std::string& name) { return secret(ns, name); };
    s.backend = [this](const std::string& ns, const std::string& service, const std::string& port) { return backend(ns, service, port); };
    s.certificate = [this](const api::core::Secret& secret) { return certificate(secret); };
    proxy.set_routes(std::make_shared<const RouteTable>(translate(s)));
    drop_unused_secrets();
    std::scoped_lock lock(mutex);
    std::erase_if(backends, [](const auto& entry) { return entry.second.expired(); });
  }

  Task<> follow_routes() {
    // Certificates may come later (or be out of reach): plain HTTP does not wait for them.
    co_await ingresses.wait_synced();
    co_await services.wait_synced();
    co_await slices.wait_synced();
    co_await classes.wait_synced();
    for (;;) {
      uint64_t seen = routes_changed.version();
      rebuild();
      co_await routes_changed.wait(seen);
    }
  }

  // Keeps trying a port that another program has.
  Task<> listen(base::http::Server& server, std::string address) {
    for (bool said = false;; said = true) {
      auto started = server.start();
      if (started) {
        base::log::info("ingress", "listening on {}", address);
        co_return;
      }
      if (!said) base::log::warn("ingress", "{}; trying again every 10 s", started.error().message);
      co_await base::sleep_for(std::chrono::seconds(10));
    }
  }

  // The addresses of Ready nodes, in the form of Ingress.status.
  static std::vector<networking::IngressLoadBalancerIngress> addresses(const std::vector<std::shared_ptr<const api::core::Node>>& nodes) {
    std::vector<networking::IngressLoadBalancerIngress> out;
    for (const auto& n : nodes) {
      bool ready = false;
      for (const auto& c : n->status.conditions) ready |= c.type == "Ready" && c.status == "True";
      if (!ready) continue;
      for (const auto& a : n->status.addresses) {
        if (a.type != "InternalIP") continue;
        networking::IngressLoadBalancerIngress i;
        i.ip = a.address;
        out.push_back(std::move(i));
      }
    }
    return out;
  }

  Task<> follow_status() {
    auto& nodes = informers.get<api::core::Node>();
    nodes.on_change([this](auto&, auto&) { status_changed.notify(); });
    co_await ingresses.wait_synced();
    co_await classes.wait_synced();
    co_await nodes.wait_synced();
    for (;;) {
      uint64_t seen = status_changed.version();
      auto served = served_classes();
      auto wanted = addresses(nodes.list());
      bool failed = false;
      for (const auto& ingress : ingresses.list()) {
        if (!serves(*ingress, served)) continue;
        if (ingress->status.loadBalancer && ingress->status.loadBalancer->ingress == wanted) continue;
        if (!ingress->status.loadBalancer && wanted.empty()) continue;
        networking::Ingress changed = *ingress;
        networking::IngressLoadBalancerStatus status;
        status.ingress = wanted;
        changed.status.loadBalancer = status;
        auto r = co_await api::update_status(*client, std::move(changed));
        failed |= !r && !base::is_not_found(r.error());
      }
      // Whoever writes there too gets to finish: no conflict follows upon each of its writes.
      co_await base::sleep_for(std::chrono::seconds(1));
      std::optional<base::TimePoint> again;
      if (failed) again = base::Clock::now() + std::chrono::seconds(2);
      co_await status_changed.wait(seen, again);
    }
  }

  Result<> start() {
    TRY(Listen plain, parse_listen(options.http_address));
    TRY(Listen secure, parse_listen(options.https_address));
    TRY(auto pair, self_signed_certificate("appliance ingress"));
    base::http::TlsServerOptions t;
    t.identity = pair;
    t.alpn = {"h2", "http/1.1"};
    t.by_sni = [this](std::string_view sni) { return proxy.routes()->certificate(sni); };
    TRY(fallback_certificate, base::http::make_server_context(t));
    auto make = [&](const Listen& l, base::http::TlsContextPtr tls) {
      base::http::ServerOptions o;
      o.address = l.address;
      o.port = l.port;
      o.tls = tls;
      bool secured = tls != nullptr;
      return std::make_unique<base::http::Server>(runtime, o, proxy.lanes(), proxy.factory(secured, l.port));
    };
    http = make(plain, nullptr);
    https = make(secure, fallback_certificate);
    tasks.spawn("ingress http", listen(*http, options.http_address));
    tasks.spawn("ingress https", listen(*https, options.https_address));
    tasks.spawn("ingress routes", follow_routes());
    if (options.writes_status) tasks.spawn("ingress status", follow_status());
    informers.start();
    return {};
  }
};

Ingress::Ingress(base::Runtime& runtime, std::shared_ptr<api::Client> client, IngressOptions options)
    : impl_(std::make_shared<Impl>(runtime, std::move(client), std::move(options))) {}
Ingress::~Ingress() = default;

Task<Result<>> Ingress::start() { co_return impl_->start(); }

Task<> Ingress::stop() {
  co_await impl_->tasks.stop();
  for (auto& [name, watched] : impl_->secrets) co_await watched.informers->stop();
  co_await impl_->informers.stop();
  if (impl_->http) co_await impl_->http->stop();
  if (impl_->https) co_await impl_->https->stop();
  co_await impl_->proxy.stop();
}

}  // namespace ingress
