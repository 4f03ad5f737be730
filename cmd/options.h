// Flags of the long-running commands: one table, from which come the command line, the keys of the config file and the APPLIANCE_* variables.
// Precedence: command line, then environment, then config file, then default.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace cmd {

struct Options {
  std::string config = "/etc/appliance/config.yaml";
  std::string data_dir = "/var/lib/appliance";
  std::string run_dir = "/run/appliance";
  std::string node_name;
  std::string node_ip;
  bool node_ip_found = false, advertise_found = false;  // taken from the host: they may change
  std::string bind_address = "0.0.0.0";
  int https_listen_port = 6443;
  std::string advertise_address;
  std::string token;
  std::string token_file;
  std::string agent_token;
  std::string join;
  std::string cluster_cidr = "10.42.0.0/16";
  std::string service_cidr = "10.43.0.0/16";
  std::string service_node_port_range = "30000-32767";
  std::string cluster_dns = "10.43.0.10";
  std::string cluster_domain = "cluster.local";
  std::vector<std::string> tls_san;
  std::string write_kubeconfig = "/etc/appliance/kubeconfig.yaml";
  std::string write_kubeconfig_mode = "600";
  std::string overlay_iface;
  std::vector<std::string> disable;
  bool disable_agent = false;
  std::string private_registry = "/etc/appliance/registries.yaml";
  std::vector<std::string> node_label;
  std::vector<std::string> node_taint;
  std::string cgroup_root = "/appliance";
  int node_monitor_grace_period = 50;
  std::string ingress_http_address = "0.0.0.0:80";
  std::string ingress_https_address = "0.0.0.0:443";
  int max_requests_inflight = 400;
  int max_mutating_requests_inflight = 200;
  bool request_log = false;
  int shutdown_delay = 0;
  std::string audit_policy_file;
  std::string audit_log_path;
  int audit_log_maxsize = 20;
  int audit_log_maxbackup = 4;
  int audit_log_maxage = 30;
  std::string event_rate_limit = "server=500:5000,namespace=100:2000";
  bool owner_references_permission = false;
  bool disable_encryption = false;
  bool debug = false;
  bool yes = false;
  bool wait_ready = false;
  std::string ttl = "24h";
  std::string description;
  std::vector<std::string> service_account_issuer;
  std::string service_account_jwks_uri;
  std::vector<std::string> api_audiences;
  std::string oidc_issuer_url;
  std::string oidc_client_id;
  std::string oidc_username_claim = "sub";
  std::string oidc_username_prefix;
  std::string oidc_groups_claim;
  std::string oidc_groups_prefix;
  std::vector<std::string> oidc_required_claim;
  std::vector<std::string> oidc_signing_algs;
  std::string oidc_ca_file;
};

// kLocal: commands that read the data directory; kToken: `token`, which is one of them.
enum Scope : unsigned { kServer = 1, kAgent = 2, kUninstall = 4, kLocal = 8, kToken = 16 };

struct Flag {
  std::string_view name;  // without dashes: data-dir
  unsigned scopes;
  std::string_view help;
  std::string Options::* text = nullptr;
  int Options::* number = nullptr;
  bool Options::* truth = nullptr;
  std::vector<std::string> Options::* list = nullptr;
};

// Every flag, in the order of the help text.
const std::vector<Flag>& flags();

// Reads the config file (absent is fine unless named on the command line), environment and arguments (without the command's name).
// 400 with one line that says what to do. help: the text of --help was asked for.
struct Parsed {
  Options options;
  bool help = false;
};
base::Result<Parsed> parse_options(Scope scope, const std::vector<std::string>& arguments);

std::string help_text(std::string_view command, Scope scope);

}  // namespace cmd
