// `appliance server`: composes the control plane and, unless --disable-agent, a node. Starts in order, stops in reverse.
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <memory>

#include <fmt/format.h>

#include "agent/agent.h"
#include "base/files.h"
#include "base/log.h"
#include "base/memory.h"
#include "cmd/commands.h"
#include "cmd/host.h"
#include "cmd/node.h"
#include "cmd/options.h"
#include "cmd/pid_file.h"
#include "datastore/sqlite/sqlite_store.h"
#include "network/overlay.h"
#include "server/apiserver/admission/all.h"
#include "server/apiserver/apiserver.h"
#include "server/controllers/all.h"
#include "server/manifests/manifests.h"
#include "server/scheduler/scheduler.h"

namespace cmd {
namespace {

using base::Result;
using base::Task;

server::ApiServerOptions api_options(const Options& o) {
  server::ApiServerOptions a;
  a.data_dir = o.data_dir;
  a.bind_address = o.bind_address;
  a.port = static_cast<uint16_t>(o.https_listen_port);
  a.advertise_address = o.advertise_address;
  a.node_name = o.node_name;
  a.tls_san = o.tls_san;
  if (std::find(a.tls_san.begin(), a.tls_san.end(), o.node_ip) == a.tls_san.end()) a.tls_san.push_back(o.node_ip);
  a.cluster_cidr = o.cluster_cidr;
  a.service_cidr = o.service_cidr;
  a.cluster_dns = o.cluster_dns;
  a.cluster_domain = o.cluster_domain;
  a.max_requests = static_cast<unsigned>(std::max(1, o.max_requests_inflight) + std::max(0, o.max_mutating_requests_inflight));
  a.log_requests = o.request_log;
  a.shutdown_delay = std::chrono::seconds(std::max(0, o.shutdown_delay));
  a.event_rate_limit = o.event_rate_limit;
  a.owner_references_permission = o.owner_references_permission;
  auto positive = [](int n) { return static_cast<size_t>(std::max(0, n)); };
  a.audit.policy_file = o.audit_policy_file;
  a.audit.log.path = o.audit_log_path.empty() ? o.data_dir + "/server/audit/audit.log" : o.audit_log_path;
  a.audit.log.max_megabytes = positive(o.audit_log_maxsize);
  a.audit.log.max_backups = positive(o.audit_log_maxbackup);
  a.audit.log.max_age_days = positive(o.audit_log_maxage);
  a.token = o.token;
  a.agent_token = o.agent_token;
  a.service_account_issuers = o.service_account_issuer;
  a.service_account_jwks_uri = o.service_account_jwks_uri;
  a.api_audiences = o.api_audiences;
  a.oidc.issuer_url = o.oidc_issuer_url;
  a.oidc.client_id = o.oidc_client_id;
  a.oidc.username_claim = o.oidc_username_claim;
  a.oidc.username_prefix = o.oidc_username_prefix;
  a.oidc.groups_claim = o.oidc_groups_claim;
  a.oidc.groups_prefix = o.oidc_groups_prefix;
  a.oidc.required_claims = o.oidc_required_claim;
  if (!o.oidc_signing_algs.empty()) a.oidc.signing_algs = o.oidc_signing_algs;
  a.oidc.ca_file = o.oidc_ca_file;
  return a;
}

Result<> parse_port_range(const Options& o, server::ApiServerOptions& a) {
  unsigned first = 0, last = 0;
  if (std::sscanf(o.service_node_port_range.c_str(), "%u-%u", &first, &last) != 2 || first == 0 || first > last || last > 65535)
    return base::bad_request("--service-node-port-range: two ports such as 30000-32767 are expected");
  a.node_port_first = static_cast<uint16_t>(first);
  a.node_port_last = static_cast<uint16_t>(last);
  return {};
}

class ServerProcess {
 public:
  explicit ServerProcess(Options options) : options_(std::move(options)) {}

  int run() {
    runtime_.on_signal({SIGTERM, SIGINT}, [this](int) { stop_requested_.notify(); });
    Result<> result;
    base::run_to_end(runtime_, main(result));
    return result ? 0 : complain("server", result.error().message);
  }

 private:
  Task<> main(Result<>& result) {
    uint64_t seen = stop_requested_.version();
    result = co_await start();
    if (result) {
      base::log::info("server", "ready: https://{}:{}, kubeconfig {}", options_.advertise_address, api_->port(), options_.write_kubeconfig);
      co_await stop_requested_.wait(seen);
      base::log::info("server", "stopping; pods keep running");
    }
    co_await stop();
  }

  Task<Result<>> start() {
    const std::string& data = options_.data_dir;
    CO_CHECK_OK(base::make_dirs(data + "/server"));
    CO_CHECK_OK(base::make_dirs(options_.run_dir));
    datastore::SqliteOptions store_options;
    store_options.path = data + "/server/state.db";
    store_options.indexer = server::indexer();
    store_options.tag = server::tag();
    store_options.volatile_prefixes = {"/registry/coordination.k8s.io/leases/kube-node-lease/"};
    // Opened also when encryption is off: what is encrypted already stays readable.
    const std::string key_file = data + "/server/encryption.key";
    if (!options_.disable_encryption) store_options.sealed_prefixes = {"/registry/core/secrets/"};
    if (!options_.disable_encryption || base::exists(key_file)) {
      CO_TRY(store_options.keyring, datastore::Keyring::open(key_file));
    }
    auto keyring = store_options.keyring;
    store_options.settled = [] { base::release_unused_memory(); };
    store_options.fatal = [](const base::Error& e) {
      // What was acknowledged is on disk; nothing more may be promised by this process.
      base::log::error("server", "the datastore failed, exiting: {}", e.message);
      std::_Exit(75);
    };
    CO_TRY(store_, datastore::open_sqlite(runtime_, std::move(store_options)));

    server::ApiServerOptions a = api_options(options_);
    a.keyring = keyring;
    // Made later than the API; gone only after it has stopped.
    a.more_metrics = [this](std::string& out) {
      if (const server::Controllers* c = running_controllers_.load()) c->append_metrics(out);
    };
    CO_CHECK_OK(parse_port_range(options_, a));
    api_ = std::make_unique<server::ApiServer>(runtime_, *store_, std::move(a));
    CO_CHECK_OK(co_await api_->start());
    CO_CHECK_OK(write_kubeconfig());

    scheduler_client_ = api_->client(server::UserInfo::component("system:kube-scheduler"));
    server::ControllerOptions c;
    c.node_monitor_grace_period = std::chrono::seconds(options_.node_monitor_grace_period);
    c.root_ca_pem = api_->ca_pem();
    c.secret_token = [api = api_.get()](const std::string& ns, const std::string& account, const std::string& uid,
                                        const std::string& secret) { return api->secret_token(ns, account, uid, secret); };
    c.disabled.insert(options_.disable.begin(), options_.disable.end());
    controllers_ = std::make_unique<server::Controllers>(
        runtime_, [this](std::string account) { return api_->controller_client(std::move(account)); }, std::move(c));
    controllers_->start();
    running_controllers_ = controllers_.get();
    scheduler_ = std::make_unique<server::Scheduler>(runtime_, *scheduler_client_);
    scheduler_->start();
    manifests_client_ = api_->client(server::UserInfo::apiserver());
    manifests_ = std::make_unique<server::Manifests>(runtime_, *manifests_client_, data + "/server/manifests");
    CO_CHECK_OK(manifests_->start());

    if (!options_.disable_agent) {
      agent::AgentOptions n = node_options(options_);
      n.control_plane = true;
      n.cluster_cidr = options_.cluster_cidr;
      n.service_cidr = options_.service_cidr;
      n.cluster_dns = options_.cluster_dns;
      n.cluster_domain = options_.cluster_domain;
      node_ = std::make_unique<Node>(runtime_, api_->client(server::UserInfo::node(options_.node_name), "kubelet"), std::move(n),
                                     ingress_options(options_, true));
      CO_CHECK_OK(co_await node_->start());
      api_->attach_node(options_.node_name, [this] { return node_->agent().dial(); });
    }
    if (options_.advertise_found)
      addresses_ = std::make_unique<network::AddressMonitor>([this] {
        if (std::string now = default_address(); !now.empty()) api_->advertise(std::move(now));
      });
    co_return Result<>{};
  }

  Result<> write_kubeconfig() {
    std::string path = options_.write_kubeconfig;
    std::string dir = path.substr(0, path.rfind('/'));
    if (!dir.empty()) CHECK_OK(base::make_dirs(dir, 0755));
    auto mode = static_cast<mode_t>(std::strtoul(options_.write_kubeconfig_mode.c_str(), nullptr, 8));
    return base::write_file_atomic(path, api_->kubeconfig(), mode ? mode : 0600);
  }

  Task<> stop() {
    addresses_.reset();
    if (api_) api_->begin_shutdown();
    if (node_) co_await node_->stop();
    if (api_) api_->attach_node(options_.node_name, nullptr);
    if (manifests_) co_await manifests_->stop();
    if (scheduler_) co_await scheduler_->stop();
    if (controllers_) co_await controllers_->stop();
    if (api_) co_await api_->stop();
    if (store_) co_await store_->stop();
  }

  Options options_;
  base::Runtime runtime_;
  base::Event stop_requested_;
  std::unique_ptr<datastore::SqliteStore> store_;
  std::unique_ptr<server::ApiServer> api_;
  std::unique_ptr<network::AddressMonitor> addresses_;  // none when the address was given
  std::shared_ptr<api::Client> scheduler_client_, manifests_client_;
  std::unique_ptr<server::Controllers> controllers_;
  std::atomic<const server::Controllers*> running_controllers_{nullptr};
  std::unique_ptr<server::Scheduler> scheduler_;
  std::unique_ptr<server::Manifests> manifests_;
  std::unique_ptr<Node> node_;
};

}  // namespace

int server(const Arguments& arguments) {
  auto parsed = parse_options(kServer, arguments);
  if (!parsed) return complain("server", parsed.error().message);
  if (parsed->help) {
    fmt::print("{}", help_text("server", kServer));
    return 0;
  }
  Options& o = parsed->options;
  if (o.node_monitor_grace_period < 20)
    return complain("server", "--node-monitor-grace-period must be at least 20 seconds: nodes report every 10");
  if (auto r = server::check_event_rate_limit(o.event_rate_limit); !r)
    return complain("server", "--event-rate-limit: " + r.error().message);
  if (o.debug) base::log::set_level(base::log::Level::debug);
  if (auto r = require_root(); !r) return complain("server", r.error().message);
  if (auto r = complete(o); !r) return complain("server", r.error().message);
  umask(0022);  // secret files have explicit modes; directories made for pods must be readable
  auto claimed = PidFile::claim(o.run_dir);
  if (!claimed) return complain("server", claimed.error().message);
  return ServerProcess(std::move(o)).run();
}

}  // namespace cmd
