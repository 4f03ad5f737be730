#include "cmd/node.h"

#include <unistd.h>

#include <algorithm>

#include <fmt/format.h>

#include "base/files.h"
#include "cmd/host.h"

namespace cmd {

agent::AgentOptions node_options(const Options& o) {
  agent::AgentOptions n;
  n.node_name = o.node_name;
  if (!o.node_ip_found) n.node_ip = o.node_ip;
  n.data_dir = o.data_dir;
  n.run_dir = o.run_dir;
  n.cgroup_root = o.cgroup_root;
  for (const std::string& l : o.node_label) {
    size_t equals = l.find('=');
    n.labels[l.substr(0, equals)] = equals == std::string::npos ? "" : l.substr(equals + 1);
  }
  n.taints = o.node_taint;
  n.private_registry = o.private_registry;
  n.overlay_iface = o.overlay_iface;
  n.disabled = o.disable;
  n.version = product_version();
  return n;
}

ingress::IngressOptions ingress_options(const Options& o, bool writes_status) {
  ingress::IngressOptions i;
  i.http_address = o.ingress_http_address;
  i.https_address = o.ingress_https_address;
  i.writes_status = writes_status;
  i.enabled = std::find(o.disable.begin(), o.disable.end(), "ingress") == o.disable.end();
  return i;
}

Node::Node(base::Runtime& runtime, std::shared_ptr<api::Client> client, agent::AgentOptions agent, ingress::IngressOptions ingress)
    : client_(std::move(client)), options_(std::move(agent)), agent_(std::make_unique<agent::Agent>(runtime, client_, options_)) {
  if (ingress.enabled) ingress_ = std::make_unique<ingress::Ingress>(runtime, client_, std::move(ingress));
}

base::Task<base::Result<>> Node::start() {
  CO_CHECK_OK(co_await agent_->start());
  if (ingress_) CO_CHECK_OK(co_await ingress_->start());
  const std::string address = options_.node_ip.empty() ? default_address() : options_.node_ip;
  co_return base::write_file_atomic(options_.run_dir + "/ready",
                                    fmt::format("pid        {}\nnode       {}\naddress    {}\n", ::getpid(), options_.node_name, address),
                                    0644, false);
}

base::Task<> Node::stop() {
  ::unlink((options_.run_dir + "/ready").c_str());
  if (ingress_) co_await ingress_->stop();
  co_await agent_->stop();
}

}  // namespace cmd
