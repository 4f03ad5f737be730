#include "agent/agent.h"

#include <sys/mount.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include <fmt/format.h>

#include "agent/endpoints/file_watch.h"
#include "agent/endpoints/node_api.h"
#include "agent/endpoints/tunnel.h"
#include "agent/node/guard.h"
#include "agent/node/node_object.h"
#include "agent/pods/manager.h"
#include "agent/services/policy_sync.h"
#include "agent/services/service_sync.h"
#include "agent/volumes/host_path.h"
#include "agent/volumes/local_volumes.h"
#include "api/informer.h"
#include "base/files.h"
#include "base/log.h"
#include "network/cleanup.h"
#include "network/dns/server.h"
#include "network/node.h"

namespace agent {

using namespace std::chrono_literals;

namespace {

constexpr long kTmpfsMagic = 0x01021994;

// Secrets are kept in memory only: below run_dir, which is a tmpfs nearly everywhere; where it is not, one is mounted.
Result<> make_memory_dir(const std::string& path) {
  CHECK_OK(base::make_dirs(path, 0700));
  struct statfs s{};
  if (::statfs(path.c_str(), &s) == 0 && s.f_type == kTmpfsMagic) return {};
  if (::mount("tmpfs", path.c_str(), "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700") != 0) {
    // Not fatal: what an unprivileged test run can do.
    base::log::warn("agent", "no tmpfs for secrets at {}: they are kept on disk", path);
  }
  return {};
}

std::string message_of(const base::Error& e) { return e.message; }

}  // namespace

struct Agent::Impl : std::enable_shared_from_this<Agent::Impl> {
  base::Runtime& runtime;
  std::shared_ptr<api::Client> client;
  AgentOptions options;
  const std::string data, run;

  base::Tasks tasks;
  api::EventRecorder events;
  runtime::Images images;
  ImagePuller puller;
  Objects objects;
  std::unique_ptr<runtime::Sandboxes> sandboxes;
  NodeObject node;
  api::Informers informers;
  std::unique_ptr<network::Node> network;
  std::unique_ptr<network::dns::Server> dns;
  std::unique_ptr<network::AddressMonitor> addresses;
  std::unique_ptr<Room> room;
  std::unique_ptr<PodContext> context;
  std::shared_ptr<PodManager> pods;
  std::unique_ptr<ServiceSync> services;
  std::unique_ptr<PolicySync> policies;
  std::unique_ptr<LocalVolumes> local_volumes;
  std::unique_ptr<NodeApi> node_api;
  std::unique_ptr<Tunnel> tunnel;
  std::unique_ptr<Guard> guard;

  Impl(base::Runtime& r, std::shared_ptr<api::Client> c, AgentOptions o)
      : runtime(r),
        client(std::move(c)),
        options(std::move(o)),
        data(options.data_dir + "/agent"),
        run(options.run_dir + "/agent"),
        tasks(r),
        events(r, *client),
        images(r, image_options(options)),
        puller(r, images),
        objects(r, *client),
        node(r, *client, options),
        informers(r, *client) {}

  static runtime::ImagesOptions image_options(const AgentOptions& o) {
    runtime::ImagesOptions i;
    i.root = o.data_dir + "/agent/images";
    if (!o.private_registry.empty()) {
      auto registries = runtime::load_registries(o.private_registry);
      if (registries) i.registries = std::move(*registries);
      else base::log::error("agent", "{}: {}", o.private_registry, registries.error().message);
    }
    return i;
  }

  bool enabled(std::string_view part) const {
    return std::find(options.disabled.begin(), options.disabled.end(), part) == options.disabled.end();
  }

  // The addresses of this node: the one it was told, or what the host has.
  std::vector<std::string> own_addresses() const {
    if (!options.node_ip.empty()) return {options.node_ip};
    auto found = network::host_addresses();
    std::vector<std::string> out;
    if (!found) return out;
    // One of each family.
    for (bool v4 : {true, false}) {
      for (const auto& a : *found) {
        if (a.ip.is_v4() == v4) {
          out.push_back(a.ip.str());
          break;
        }
      }
    }
    return out;
  }

  NodeFacts read_facts() const {
    NodeFacts f;
    f.machine = read_machine();
    if (auto d = read_disk(options.data_dir)) f.disk_bytes = d->total;
    f.addresses = own_addresses();
    return f;
  }

  Variables service_variables(const std::string& ns, bool links) {
    Variables v;
    auto& all = informers.get<api::core::Service>();
    if (auto s = all.get("default", "kubernetes")) add_service_variables(*s, v);
    if (links) {
      for (const auto& s : all.list(ns)) {
        if (ns == "default" && s->metadata.name == "kubernetes") continue;
        add_service_variables(*s, v);
      }
    }
    return v;
  }

  api::Informer<api::core::Pod>& pod_informer() {
    api::ListOptions selector;
    selector.field_selector = "spec.nodeName=" + options.node_name;
    return informers.get<api::core::Pod>({}, selector);
  }

  Result<> make_directories() {
    for (const std::string& d : {data, data + "/pods", data + "/logs", data + "/seccomp", run}) CHECK_OK(base::make_dirs(d, 0700));
    return make_memory_dir(run + "/volumes");
  }

  runtime::SandboxesOptions sandbox_options() {
    runtime::SandboxesOptions o;
    o.data_dir = data + "/sandboxes";
    o.run_dir = run + "/sandboxes";
    o.cgroup_root = options.cgroup_root;
    o.self_executable = options.self_exe;
    o.on_event = [weak = weak_from_this()](const runtime::SandboxEvent& e) {
      auto self = weak.lock();
      if (self && self->pods) self->pods->runtime_event(e);
    };
    return o;
  }

  Result<> make_cgroups(const Machine& machine) {
    runtime::Resources all, least;
    all.cpu_shares = static_cast<uint64_t>(machine.cpus) * 1024;
    least.cpu_shares = 2;
    CHECK_OK(sandboxes->set_cgroup("/kubepods", all));
    CHECK_OK(sandboxes->set_cgroup("/kubepods/burstable", all));
    return sandboxes->set_cgroup("/kubepods/besteffort", least);
  }

  Result<std::unique_ptr<network::Node>> start_network(const std::string& pod_cidr, const std::vector<std::string>& own) {
    network::NodeOptions n;
    n.node_name = options.node_name;
    if (own.empty()) return base::unavailable("this host has no address: give one with --node-ip");
    TRY(n.node_ip, network::Ip::parse(own[0]));
    TRY(n.pod_cidr, network::Cidr::parse(pod_cidr));
    TRY(auto cluster, network::Cidr::parse(options.cluster_cidr));
    TRY(auto service, network::Cidr::parse(options.service_cidr));
    n.cluster_cidrs = {cluster};
    n.service_cidrs = {service};
    if (enabled("dns")) {
      TRY(auto ip, network::Ip::parse(options.cluster_dns));
      n.dns_addresses = {ip};
    }
    n.state_dir = run + "/network";
    n.overlay.enabled = enabled("overlay");
    n.overlay.interface = options.overlay_iface;
    return network::Node::start(std::move(n));
  }

  // Puts back what another program removed: a firewall that was reloaded, a flushed table.
  Task<> check_network() {
    for (;;) {
      co_await base::sleep_for(std::chrono::minutes(1));
      auto checked = co_await base::offload([this] { return network->verify(); });
      if (!checked) base::log::warn("agent", "checking the node's network: {}", checked.error().message);
    }
  }

  Result<> start_dns() {
    network::dns::ServerOptions d;
    TRY(auto ip, network::Ip::parse(options.cluster_dns));
    d.addresses = {ip};
    d.domain = options.cluster_domain;
    d.resolv_conf = "/etc/resolv.conf";
    for (const auto& text : {options.cluster_cidr, options.service_cidr}) {
      TRY(auto c, network::Cidr::parse(text));
      d.allowed_sources.push_back(c);
    }
    TRY(dns, network::dns::Server::start(std::move(d)));
    services->set_dns(dns.get());
    return {};
  }

  Task<Result<>> start() {
    auto made = co_await base::offload([this] { return make_directories(); });
    if (!made) co_return made;
    events.start();
    CO_CHECK_OK(co_await images.start());
    sandboxes = std::make_unique<runtime::Sandboxes>(runtime, sandbox_options());
    auto survivors = co_await sandboxes->recover();
    if (!survivors) co_return std::unexpected(std::move(survivors).error());

    NodeFacts facts = co_await base::offload([this] { return read_facts(); });
    CO_CHECK_OK(make_cgroups(facts.machine));
    auto pod_cidr = co_await node.register_node(facts);
    if (!pod_cidr) co_return std::unexpected(std::move(pod_cidr).error());

    room = std::make_unique<Room>(node.allocatable());
    context = std::make_unique<PodContext>(PodContext{.runtime = runtime,
                                                      .client = *client,
                                                      .events = events,
                                                      .sandboxes = *sandboxes,
                                                      .images = images,
                                                      .puller = puller,
                                                      .objects = objects,
                                                      .room = *room,
                                                      .node_name = options.node_name,
                                                      .pods_dir = data + "/pods",
                                                      .memory_dir = run + "/volumes",
                                                      .storage_dir = storage_directory(options.data_dir),
                                                      .logs_dir = data + "/logs",
                                                      .seccomp_dir = data + "/seccomp",
                                                      .cluster_dns = options.cluster_dns,
                                                      .cluster_domain = options.cluster_domain,
                                                      .memory_bytes = static_cast<int64_t>(facts.machine.memory_bytes),
                                                      .allocatable = node.allocatable(),
                                                      .node = {},
                                                      .network = {},
                                                      .host_ips = {},
                                                      .policies = {},
                                                      .service_variables = {}});
    informers.get<api::core::Node>().on_change([this](const auto&, const auto& after) {
      if (after && after->metadata.name == options.node_name) node.follow(*after);
    });
    context->node = [this] { return informers.get<api::core::Node>().get({}, options.node_name); };
    context->network = [this] { return network ? &network->pods() : nullptr; };
    context->policies = [this](std::shared_ptr<const api::core::Pod> pod, std::vector<std::string> ips) {
      return policies->cover(std::move(pod), std::move(ips));
    };
    context->host_ips = [this] { return node.facts().addresses; };
    context->service_variables = [this](const std::string& ns, bool links) { return service_variables(ns, links); };
    pods = std::make_shared<PodManager>(*context, pod_informer());
    services = std::make_unique<ServiceSync>(
        runtime, informers, ServiceSync::Options{options.node_name, options.cluster_domain, enabled("services"), enabled("overlay")});
    policies = std::make_unique<PolicySync>(runtime, informers, options.node_name);
    local_volumes = std::make_unique<LocalVolumes>(*client, informers, options.node_name, storage_directory(options.data_dir));
    informers.start();

    auto started = co_await base::offload([this, cidr = *pod_cidr, own = facts.addresses] { return start_network(cidr, own); });
    if (!started) {
      node.set_facts([&](NodeFacts& f) { f.network_message = started.error().message; });
      auto told = std::move(started).error();
      co_return base::fail(told.code, told.reason, "the node's network: " + message_of(told));
    }
    network = std::move(*started);
    services->set_network(network.get());
    if (enabled("network-policy")) policies->set_network(&network->policies());
    if (enabled("dns")) {
      auto serving = co_await base::offload([this] { return start_dns(); });
      if (!serving) base::log::error("agent", "the DNS server: {}", serving.error().message);
    }
    co_await informers.wait_synced();
    co_await import_images();
    co_await pods->start(std::move(*survivors));

    node_api = std::make_unique<NodeApi>(
        NodeApiContext{runtime, *pods, *sandboxes, images, options.node_name, options.data_dir, data + "/logs"});
    guard = std::make_unique<Guard>(node, *pods, images, options.data_dir);
    node.set_facts([](NodeFacts& f) {
      f.network_ready = true;
      f.network_message.clear();
    });
    auto self = shared_from_this();
    tasks.spawn("services", [](std::shared_ptr<Impl> s) -> Task<> { co_await s->services->run(); }(self));
    local_volumes->start(tasks);
    if (enabled("network-policy"))
      tasks.spawn("network policies", [](std::shared_ptr<Impl> s) -> Task<> { co_await s->policies->run(); }(self));
    tasks.spawn("node", [](std::shared_ptr<Impl> s) -> Task<> { co_await s->node.run(); }(self));
    tasks.spawn("guard", [](std::shared_ptr<Impl> s) -> Task<> { co_await s->guard->run(); }(self));
    tasks.spawn("network check", [](std::shared_ptr<Impl> s) -> Task<> { co_await s->check_network(); }(self));
    tasks.spawn("images", [](std::shared_ptr<Impl> s) -> Task<> { co_await s->watch_images(); }(self));
    if (!options.server_url.empty()) {
      tunnel = std::make_unique<Tunnel>(
          runtime, TunnelOptions{options.server_url, options.tunnel_tls,
                                 [weak = weak_from_this()](base::http::Request& q, base::http::Response& a) { return serve(weak, q, a); }});
      tasks.spawn("tunnel", [](std::shared_ptr<Impl> s) -> Task<> { co_await s->tunnel->run(); }(self));
    }
    if (options.node_ip.empty()) {
      addresses = std::make_unique<network::AddressMonitor>([weak = weak_from_this()] {
        if (auto s = weak.lock()) s->tasks.spawn("addresses", [](std::shared_ptr<Impl> i) -> Task<> { co_await i->follow_addresses(); }(s));
      });
    }
    base::log::info("agent", "node {} takes pods from {}", options.node_name, *pod_cidr);
    co_return Result<>{};
  }

  static Task<> serve(std::weak_ptr<Impl> weak, base::http::Request& request, base::http::Response& response) {
    auto self = weak.lock();
    if (!self || !self->node_api) {
      co_await answer(response, 503, "the agent is stopping");
      co_return;
    }
    co_await self->node_api->serve(request, response);
  }

  // Archives in <data-dir>/images, at the start and when they appear.
  Task<> import_images() {
    const std::string dir = options.data_dir + "/images";
    if (!base::exists(dir)) co_return;
    auto got = co_await images.import_directory(dir);
    if (!got) base::log::warn("agent", "importing images from {}: {}", dir, got.error().message);
    else if (!got->empty()) base::log::info("agent", "imported {} images from {}", got->size(), dir);
  }

  Task<> watch_images() {
    const std::string dir = options.data_dir + "/images";
    auto made = base::make_dirs(dir, 0755);
    if (!made) co_return;
    auto strand = co_await base::this_executor();
    auto watch = FileWatch::open(dir + "/any", strand);
    if (!watch) co_return;
    for (;;) {
      auto r = co_await (*watch)->changed();
      if (!r) co_return;
      // A copy that is under way: until nothing has changed for a second.
      for (bool quiet = false; !quiet;) {
        auto more = co_await base::with_timeout(1s, [](FileWatch* w) -> Task<Result<>> { co_return co_await w->changed(); }(watch->get()));
        quiet = !more;
      }
      co_await import_images();
    }
  }

  // The host's address has changed: tell the API, move the overlay.
  Task<> follow_addresses() {
    auto own = co_await base::offload([this] { return own_addresses(); });
    if (own.empty() || own == node.facts().addresses) co_return;
    base::log::info("agent", "the node's address is {} now", own[0]);
    auto before = node.facts().addresses;
    node.set_facts([&](NodeFacts& f) { f.addresses = own; });
    co_await base::offload([before, own] {
      auto all = network::host_addresses();
      if (!all) return;
      for (const auto& text : before) {
        auto gone = network::Ip::parse(text);
        if (gone && std::ranges::none_of(*all, [&](const auto& a) { return a.ip == *gone; })) network::drop_connections_from(*gone);
      }
    });
    auto ip = network::Ip::parse(own[0]);
    if (!ip || !network) co_return;
    auto moved = co_await base::offload([this, address = *ip] { return network->overlay().set_underlay(address); });
    if (!moved) base::log::warn("agent", "moving the overlay to {}: {}", own[0], moved.error().message);
  }

  Task<> stop() {
    addresses.reset();
    if (tunnel) co_await tunnel->stop();
    if (local_volumes) local_volumes->stop();
    co_await tasks.stop();
    if (pods) co_await pods->stop();
    co_await puller.stop();
    co_await informers.stop();
    pods.reset();
    co_await objects.stop();
    if (dns) co_await base::offload([this] { dns->stop(); });
    if (sandboxes) co_await sandboxes->stop();
    co_await images.stop();
    co_await events.stop();
    node_api.reset();
  }

  Task<Result<std::unique_ptr<base::http::Stream>>> dial() {
    if (!node_api) co_return base::unavailable("the agent is not ready");
    auto caller = co_await base::this_executor();
    auto strand = runtime.strand();
    auto [ours, theirs] = base::http::make_stream_pair(caller, strand);
    tasks.spawn("node API", strand,
                base::http::serve_connection(std::move(theirs), [weak = weak_from_this()](base::http::Request& q, base::http::Response& a) {
                  return serve(weak, q, a);
                }));
    co_return std::move(ours);
  }
};

Agent::Agent(base::Runtime& runtime, std::shared_ptr<api::Client> client, AgentOptions options)
    : impl_(std::make_shared<Impl>(runtime, std::move(client), std::move(options))) {}
Agent::~Agent() = default;

Task<Result<>> Agent::start() { return impl_->start(); }
Task<> Agent::stop() { return impl_->stop(); }
Task<Result<std::unique_ptr<base::http::Stream>>> Agent::dial() { return impl_->dial(); }

namespace {

// Removes the node's part of every hierarchy: the groups are empty by now.
void remove_cgroups(const std::string& root) {
  if (root.size() < 2) return;
  std::error_code ec;
  std::vector<std::string> tops{"/sys/fs/cgroup" + root};
  for (const auto& hierarchy : std::filesystem::directory_iterator("/sys/fs/cgroup", ec)) {
    if (hierarchy.is_directory(ec)) tops.push_back(hierarchy.path().string() + root);
  }
  for (const std::string& top : tops) {
    std::vector<std::string> groups{top};
    for (auto it = std::filesystem::recursive_directory_iterator(top, ec); !ec && it != std::filesystem::recursive_directory_iterator();
         it.increment(ec)) {
      if (it->is_directory(ec)) groups.push_back(it->path());
    }
    ec.clear();
    std::sort(groups.begin(), groups.end(), [](const std::string& a, const std::string& b) { return a.size() > b.size(); });
    for (const std::string& g : groups) ::rmdir(g.c_str());
  }
}

}  // namespace

Task<Result<>> Agent::remove_everything(base::Runtime& runtime, AgentOptions options) {
  const std::string data = options.data_dir + "/agent", run = options.run_dir + "/agent";
  Result<> first;
  auto note = [&](Result<> r) {
    if (!r && first) first = std::move(r);
  };
  if (base::exists(run + "/sandboxes") || base::exists(data + "/sandboxes")) {
    runtime::SandboxesOptions o;
    o.data_dir = data + "/sandboxes";
    o.run_dir = run + "/sandboxes";
    o.cgroup_root = options.cgroup_root;
    o.self_executable = options.self_exe;
    o.on_event = [](const runtime::SandboxEvent&) {};
    runtime::Sandboxes sandboxes(runtime, std::move(o));
    auto found = co_await sandboxes.recover();
    if (!found) {
      note(std::unexpected(found.error()));
    } else {
      for (auto& s : *found) {
        auto gone = co_await s->destroy();
        note(std::move(gone));
      }
    }
    co_await sandboxes.stop();
  }
  note(co_await base::offload([] { return network::cleanup(); }));
  co_await base::offload([root = options.cgroup_root] { remove_cgroups(root); });
  note(co_await base::offload([data, run]() -> Result<> {
    unmount_below(data);
    unmount_below(run);
    CHECK_OK(base::remove_all(run));
    return base::remove_all(data + "/pods");
  }));
  co_return first;
}

}  // namespace agent
