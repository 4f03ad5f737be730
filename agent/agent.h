// The node: makes the pods that the API assigns to it run, and reports back. kubelet's job, and the translation half of kube-proxy's.
//
// It knows the cluster only through an api::Client with the identity system:node:<name>, in the server's process (in-process client, reached through
// dial()) as on another host (HTTPS client, reached through the tunnel that it keeps to the server). It listens on nothing.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "api/client.h"
#include "base/http/stream.h"
#include "base/http/tls.h"
#include "base/io.h"

namespace agent {

using base::Result;
using base::Task;

struct AgentOptions {
  std::string node_name;
  std::string node_ip;                     // empty: the address of the interface with the default route, followed when it changes
  std::string data_dir = "/var/lib/appliance";  // images, volumes, pod directories, logs: below <data_dir>/agent
  std::string run_dir = "/run/appliance";       // sockets and state that a reboot ends
  std::string cgroup_root = "/appliance";       // the node's own part of the cgroup tree
  std::map<std::string, std::string> labels;    // --node-label
  std::vector<std::string> taints;              // --node-taint: key=value:Effect, set at registration
  bool control_plane = false;                   // label node-role.kubernetes.io/control-plane=true
  std::string cluster_cidr = "10.42.0.0/16";
  std::string service_cidr = "10.43.0.0/16";
  std::string cluster_dns = "10.43.0.10";
  std::string cluster_domain = "cluster.local";
  std::string private_registry;            // registries.yaml; absent is fine
  std::string overlay_iface;               // underlay of the overlay; empty: the one with node_ip
  std::string self_exe = "/proc/self/exe"; // what supervisors and unpackers are started from
  std::vector<std::string> disabled;       // "dns", "services", "overlay", "network-policy"
  std::string version = "v1.36.0+appliance";  // nodeInfo.kubeletVersion
  int max_pods = 110;
  // Address of the API in pods' KUBERNETES_SERVICE_* is the service's; this is where the tunnel goes. Empty: no tunnel (embedded in the server).
  std::string server_url;
  // The identity for new tunnel connections; asked each time, so that a renewed certificate is used.
  std::function<base::http::TlsContextPtr()> tunnel_tls;
};

class Agent {
 public:
  // The runtime must outlive it.
  Agent(base::Runtime& runtime, std::shared_ptr<api::Client> client, AgentOptions options);
  ~Agent();

  // Registers the node, adopts the pods that run, and begins to work. Returns when the node is ready to take pods.
  Task<Result<>> start();
  // Ends all work of this process. Pods keep running: their supervisors survive, and the next start() adopts them.
  Task<> stop();

  // For uninstall, instead of start(): ends every pod of this node's run_dir, unmounts, removes cgroups and network. Needs no API.
  static Task<Result<>> remove_everything(base::Runtime& runtime, AgentOptions options);

  // A stream whose other end serves the node API (docs/design/tunnel.md): for ApiServer::attach_node.
  Task<Result<std::unique_ptr<base::http::Stream>>> dial();

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace agent
