#include "cmd/options.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include "base/files.h"

namespace cmd {
namespace {

constexpr unsigned kNode = kServer | kAgent;
constexpr unsigned kAll = kServer | kAgent | kUninstall | kLocal | kToken;

const Flag* find_flag(std::string_view name, unsigned scope) {
  for (const Flag& f : flags()) {
    if (f.name == name && (f.scopes & scope)) return &f;
  }
  return nullptr;
}

base::Result<> assign(Options& o, const Flag& f, std::string_view value, std::string_view where) {
  if (f.text) {
    o.*f.text = value;
  } else if (f.number) {
    int n = 0;
    auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), n);
    if (error != std::errc() || end != value.data() + value.size())
      return base::bad_request(fmt::format("{}: \"{}\" is not a number", where, value));
    o.*f.number = n;
  } else if (f.truth) {
    if (value == "true" || value == "1") o.*f.truth = true;
    else if (value == "false" || value == "0") o.*f.truth = false;
    else return base::bad_request(fmt::format("{}: \"{}\" is neither true nor false", where, value));
  } else {
    while (!value.empty()) {
      size_t comma = value.find(',');
      if (comma != 0) (o.*f.list).emplace_back(value.substr(0, comma));
      value = comma == std::string_view::npos ? std::string_view() : value.substr(comma + 1);
    }
  }
  return {};
}

std::string environment_name(std::string_view flag) {
  std::string name = "APPLIANCE_";
  for (char c : flag) name += c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return name;
}

base::Result<> read_config(Options& o, unsigned scope, const std::string& path, bool required) {
  if (!required && !base::exists(path)) return {};
  TRY(std::string text, base::read_file(path, 1u << 20));
  try {
    YAML::Node root = YAML::Load(text);
    if (root.IsNull()) return {};
    if (!root.IsMap()) return base::bad_request(path + ": a map of flags is expected, such as \"node-name: edge-1\"");
    for (const auto& entry : root) {
      auto key = entry.first.as<std::string>();
      std::string where = path + ": " + key;
      if (!find_flag(key, kAll)) return base::bad_request(where + ": there is no such flag; see --help");
      const Flag* f = find_flag(key, scope);
      if (!f) continue;  // of another command
      if (entry.second.IsSequence()) {
        if (!f->list) return base::bad_request(where + ": one value is expected, not a list");
        for (const auto& item : entry.second) (o.*f->list).push_back(item.as<std::string>());
      } else {
        CHECK_OK(assign(o, *f, entry.second.as<std::string>(), where));
      }
    }
  } catch (const YAML::Exception& e) {
    return base::bad_request(path + ": " + e.what());
  }
  return {};
}

}  // namespace

const std::vector<Flag>& flags() {
  static const std::vector<Flag> all = {
      {"config", kAll, "file with the same keys as these flags", &Options::config},
      {"data-dir", kAll, "where all state is kept", &Options::data_dir},
      {"run-dir", kAll, "sockets and state that a reboot ends", &Options::run_dir},
      {"node-name", kNode, "name of this node (default: the host name)", &Options::node_name},
      {"node-ip", kNode, "address of this node (default: that of the interface with the default route)", &Options::node_ip},
      {"bind-address", kServer, "address the API listens on", &Options::bind_address},
      {"https-listen-port", kServer, "port the API listens on", nullptr, &Options::https_listen_port},
      {"advertise-address", kServer, "address under which agents and pods reach the API (default: the node's)",
       &Options::advertise_address},
      {"join", kAgent, "URL of the server, https://HOST:6443", &Options::join},
      {"token", kNode, "secret for joining; on a server the one to use instead of a generated one", &Options::token},
      {"token-file", kNode, "file that holds the token", &Options::token_file},
      {"agent-token", kServer, "secret that joins agents only (default: made at first start)", &Options::agent_token},
      {"cluster-cidr", kServer, "addresses of pods", &Options::cluster_cidr},
      {"service-cidr", kServer, "addresses of services", &Options::service_cidr},
      {"service-node-port-range", kServer, "ports of NodePort services", &Options::service_node_port_range},
      {"cluster-dns", kServer, "address of the cluster's DNS, within the service CIDR", &Options::cluster_dns},
      {"cluster-domain", kServer, "domain of the cluster's names", &Options::cluster_domain},
      {"tls-san", kServer, "further names and addresses in the server certificate", nullptr, nullptr, nullptr, &Options::tls_san},
      {"write-kubeconfig", kServer | kLocal | kToken, "where the administrator's kubeconfig is written", &Options::write_kubeconfig},
      {"write-kubeconfig-mode", kServer, "its mode, octal", &Options::write_kubeconfig_mode},
      {"disable-agent", kServer, "run no pods on this host", nullptr, nullptr, &Options::disable_agent},
      {"disable", kNode, "parts not to run: ingress, dns, servicelb, local-storage, network-policy, overlay, services", nullptr, nullptr,
       nullptr, &Options::disable},
      {"node-monitor-grace-period", kServer, "seconds without a heartbeat after which a node is Unknown", nullptr,
       &Options::node_monitor_grace_period},
      {"overlay-iface", kNode, "interface the overlay runs over (default: the one with the node's address)", &Options::overlay_iface},
      {"private-registry", kNode, "mirrors and credentials of registries", &Options::private_registry},
      {"node-label", kNode, "labels set when the node registers, key=value", nullptr, nullptr, nullptr, &Options::node_label},
      {"node-taint", kNode, "taints set when the node registers, key=value:Effect", nullptr, nullptr, nullptr, &Options::node_taint},
      {"cgroup-root", kNode | kUninstall, "the node's part of the cgroup tree", &Options::cgroup_root},
      {"ingress-http-address", kNode, "address and port of the HTTP ingress", &Options::ingress_http_address},
      {"ingress-https-address", kNode, "address and port of the HTTPS ingress", &Options::ingress_https_address},
      {"max-requests-inflight", kServer, "requests that run at a time; with the next, shared out by priority", nullptr,
       &Options::max_requests_inflight},
      {"max-mutating-requests-inflight", kServer, "added to it", nullptr, &Options::max_mutating_requests_inflight},
      {"request-log", kServer, "log each request; those over a second always are", nullptr, nullptr, &Options::request_log},
      {"shutdown-delay", kServer, "seconds for which a stopping server is not ready but serves", nullptr, &Options::shutdown_delay},
      {"audit-policy-file", kServer, "what is audited (default: who did what, without the system's own chatter)",
       &Options::audit_policy_file},
      {"audit-log-path", kServer, "the audit log, - for standard output, off for none (default: <data-dir>/server/audit/audit.log)",
       &Options::audit_log_path},
      {"audit-log-maxsize", kServer, "megabytes after which a new one begins", nullptr, &Options::audit_log_maxsize},
      {"audit-log-maxbackup", kServer, "old ones kept, 0: all", nullptr, &Options::audit_log_maxbackup},
      {"audit-log-maxage", kServer, "days they are kept, 0: any time", nullptr, &Options::audit_log_maxage},
      {"event-rate-limit", kServer, "Events a second and at once: server, namespace, user, source-and-object", &Options::event_rate_limit},
      {"owner-references-permission", kServer, "owners may be set by those who may delete the object", nullptr, nullptr,
       &Options::owner_references_permission},
      {"disable-secrets-encryption", kServer, "write Secrets in clear text", nullptr, nullptr, &Options::disable_encryption},
      {"service-account-issuer", kServer,
       "issuer of ServiceAccount tokens; further ones are accepted (default: https://kubernetes.default.svc.<cluster-domain>)", nullptr,
       nullptr, nullptr, &Options::service_account_issuer},
      {"service-account-jwks-uri", kServer, "where the issuer's discovery document says its keys are (default: below the issuer)",
       &Options::service_account_jwks_uri},
      {"api-audiences", kServer, "audiences of tokens for the API (default: the issuers)", nullptr, nullptr, nullptr,
       &Options::api_audiences},
      {"oidc-issuer-url", kServer, "https:// URL of an OpenID Connect provider whose users may sign in", &Options::oidc_issuer_url},
      {"oidc-client-id", kServer, "audience that the provider's tokens must have", &Options::oidc_client_id},
      {"oidc-username-claim", kServer, "claim that names the user", &Options::oidc_username_claim},
      {"oidc-username-prefix", kServer,
       "put before user names; \"-\" for nothing (default: the issuer and \"#\", unless the claim is email)",
       &Options::oidc_username_prefix},
      {"oidc-groups-claim", kServer, "claim that lists the user's groups", &Options::oidc_groups_claim},
      {"oidc-groups-prefix", kServer, "put before the names of groups", &Options::oidc_groups_prefix},
      {"oidc-required-claim", kServer, "claims a token must have, key=value", nullptr, nullptr, nullptr, &Options::oidc_required_claim},
      {"oidc-signing-algs", kServer, "accepted signatures of tokens (default RS256)", nullptr, nullptr, nullptr,
       &Options::oidc_signing_algs},
      {"oidc-ca-file", kServer, "PEM file of the CA of the provider (default: the host's)", &Options::oidc_ca_file},
      {"debug", kNode, "log more", nullptr, nullptr, &Options::debug},
      {"wait-ready", kLocal, "exit with 3 and print nothing unless the node is ready", nullptr, nullptr, &Options::wait_ready},
      {"ttl", kToken, "life of a new token, such as 30m, 24h or 7d; 0: until it is deleted", &Options::ttl},
      {"description", kToken, "what a new token is for", &Options::description},
      {"yes", kUninstall, "do not ask", nullptr, nullptr, &Options::yes},
  };
  return all;
}

base::Result<Parsed> parse_options(Scope scope, const std::vector<std::string>& arguments) {
  Parsed parsed;
  Options& o = parsed.options;
  std::vector<std::pair<const Flag*, std::string>> given;
  for (size_t i = 0; i < arguments.size(); ++i) {
    std::string_view a = arguments[i];
    if (a == "--help" || a == "-h") {
      parsed.help = true;
      return parsed;
    }
    if (!a.starts_with("--")) return base::bad_request(fmt::format("unexpected argument \"{}\"; see --help", a));
    a.remove_prefix(2);
    size_t equals = a.find('=');
    const Flag* f = find_flag(a.substr(0, equals), scope);
    if (!f) return base::bad_request(fmt::format("unknown flag --{}; see --help", a.substr(0, equals)));
    if (equals != std::string_view::npos) given.emplace_back(f, a.substr(equals + 1));
    else if (f->truth) given.emplace_back(f, "true");
    else if (i + 1 < arguments.size()) given.emplace_back(f, arguments[++i]);
    else return base::bad_request(fmt::format("--{} needs a value", f->name));
  }
  bool config_named = false;
  if (const char* v = std::getenv("APPLIANCE_CONFIG")) o.config = v, config_named = true;
  for (auto& [f, value] : given) {
    if (f->name == "config") o.config = value, config_named = true;
  }
  CHECK_OK(read_config(o, scope, o.config, config_named));
  for (const Flag& f : flags()) {
    if (!(f.scopes & scope)) continue;
    std::string name = environment_name(f.name);
    const char* v = std::getenv(name.c_str());
    if (!v || !*v) continue;
    if (f.list) (o.*f.list).clear();
    CHECK_OK(assign(o, f, v, name));
  }
  std::vector<const Flag*> seen;
  for (auto& [f, value] : given) {
    if (f->list && std::find(seen.begin(), seen.end(), f) == seen.end()) (o.*f->list).clear();
    seen.push_back(f);
    CHECK_OK(assign(o, *f, value, fmt::format("--{}", f->name)));
  }
  if (!o.token_file.empty() && o.token.empty()) {
    TRY(std::string token, base::read_file(o.token_file, 4096));
    token.erase(token.find_last_not_of(" \r\n\t") + 1);
    o.token = token;
  }
  for (std::string Options::* path : {&Options::data_dir, &Options::run_dir}) {
    if ((o.*path).empty() || (o.*path)[0] != '/') return base::bad_request(fmt::format("\"{}\" is not an absolute path", o.*path));
  }
  return parsed;
}

std::string help_text(std::string_view command, Scope scope) {
  Options defaults;
  std::string out = fmt::format(
      "Usage: appliance {} [flags]\n\nFlags (each also a key of the config file and APPLIANCE_<NAME> in the environment):\n", command);
  for (const Flag& f : flags()) {
    if (!(f.scopes & scope)) continue;
    std::string value = f.truth ? "" : f.number ? " NUMBER" : f.list ? " VALUE,..." : " VALUE";
    std::string standard = f.text ? defaults.*f.text : f.number ? std::to_string(defaults.*f.number) : "";
    out += fmt::format("  --{:<36} {}{}\n", std::string(f.name) + value, f.help, standard.empty() ? "" : " (default " + standard + ")");
  }
  return out;
}

}  // namespace cmd
