// Rows of services, endpoints, ingresses and policies.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "api/tables/printer.h"

namespace api::tables {
namespace {

namespace json = base::json;

std::vector<std::string> balancer_addresses(const Row& row) {
  std::vector<std::string> out;
  for (const json::value& i : row.list("status.loadBalancer.ingress")) {
    std::string_view address = base::get_string(i, "ip", base::get_string(i, "hostname"));
    if (!address.empty() && std::find(out.begin(), out.end(), address) == out.end()) out.emplace_back(address);
  }
  return out;
}

std::string external_ip(const Row& row) {
  std::string_view type = row.text("spec.type", "ClusterIP");
  if (type == "ExternalName") return std::string(row.text("spec.externalName"));
  std::vector<std::string> addresses;
  if (type == "LoadBalancer") addresses = balancer_addresses(row);
  for (const json::value& ip : row.list("spec.externalIPs"))
    addresses.emplace_back(ip.is_string() ? std::string_view(ip.get_string()) : "");
  if (!addresses.empty()) return joined(addresses, ",");
  return type == "LoadBalancer" ? "<pending>" : "<none>";
}

std::string ingress_hosts(const Row& row) {
  std::vector<std::string> hosts;
  for (const json::value& rule : row.list("spec.rules")) {
    std::string_view host = base::get_string(rule, "host");
    if (!host.empty()) hosts.emplace_back(host);
  }
  return hosts.empty() ? "*" : limited(hosts, 3, ",");
}

void ingress_cells(Row& row) {
  row.add_field("metadata.name");
  row.add_field("spec.ingressClassName", "<none>");
  row.add(ingress_hosts(row));
  row.add(joined(balancer_addresses(row), ","));
  row.add(row.list("spec.tls").empty() ? "80" : "80, 443");
  row.add_age();
}

void ingress_class_cells(Row& row) {
  row.add_field("metadata.name");
  row.add_field("spec.controller");
  std::string parameters = "<none>";
  if (base::find(row.object, "spec.parameters")) {
    parameters = row.text("spec.parameters.kind");
    if (std::string_view group = row.text("spec.parameters.apiGroup"); !group.empty()) parameters += fmt::format(".{}", group);
    parameters += fmt::format("/{}", row.text("spec.parameters.name"));
  }
  row.add(parameters);
  row.add_age();
}

std::string endpoint_list(const Row& row) {
  std::vector<std::string> out;
  for (const json::value& subset : row.list("subsets")) {
    const json::array* addresses = base::find_array(subset, "addresses");
    if (!addresses) continue;
    const json::array* ports = base::find_array(subset, "ports");
    if (!ports || ports->empty()) {
      for (const json::value& a : *addresses) out.emplace_back(base::get_string(a, "ip"));
      continue;
    }
    for (const json::value& p : *ports) {
      for (const json::value& a : *addresses) {
        std::string_view ip = base::get_string(a, "ip");
        bool v6 = ip.find(':') != std::string_view::npos;
        out.push_back(v6 ? fmt::format("[{}]:{}", ip, base::get_int(p, "port")) : fmt::format("{}:{}", ip, base::get_int(p, "port")));
      }
    }
  }
  return out.empty() ? "<none>" : limited(out, 3, ",");
}

void endpoints_cells(Row& row) {
  row.add_field("metadata.name");
  row.add(endpoint_list(row));
  row.add_age();
}

void endpoint_slice_cells(Row& row) {
  std::vector<std::string> ports, addresses;
  for (const json::value& p : row.list("ports")) {
    ports.push_back(base::find(p, "port") ? std::to_string(base::get_int(p, "port")) : std::string("*"));
  }
  for (const json::value& e : row.list("endpoints")) {
    const json::array* list = base::find_array(e, "addresses");
    if (!list) continue;
    for (const json::value& a : *list) addresses.emplace_back(a.is_string() ? std::string_view(a.get_string()) : "");
  }
  row.add_field("metadata.name");
  row.add_field("addressType");
  row.add(ports.empty() ? std::string("<unset>") : limited(ports, 3, ","));
  row.add(addresses.empty() ? std::string("<unset>") : limited(addresses, 3, ","));
  row.add_age();
}

void network_policy_cells(Row& row) {
  row.add_field("metadata.name");
  row.add(selector_text(base::find(row.object, "spec.podSelector")));
  row.add_age();
}

void ip_address_cells(Row& row) {
  row.add_field("metadata.name");
  std::string parent(row.text("spec.parentRef.resource"));
  if (std::string_view group = row.text("spec.parentRef.group"); !group.empty()) parent += fmt::format(".{}", group);
  if (std::string_view ns = row.text("spec.parentRef.namespace"); !ns.empty()) parent += fmt::format("/{}", ns);
  row.add(parent + fmt::format("/{}", row.text("spec.parentRef.name")));
}

void service_cidr_cells(Row& row) {
  std::vector<std::string> cidrs;
  for (const json::value& c : row.list("spec.cidrs")) cidrs.emplace_back(c.is_string() ? std::string_view(c.get_string()) : "");
  row.add_field("metadata.name");
  row.add(joined(cidrs, ","));
  row.add_age();
}

constexpr ColumnInfo kService[] = {
    {"Name", 0, "string", "name"}, {"Type"}, {"Cluster-IP"}, {"External-IP"}, {"Port(s)"}, {"Age"}, {"Selector", 1}};
constexpr ColumnInfo kIngress[] = {{"Name", 0, "string", "name"}, {"Class"}, {"Hosts"}, {"Address"}, {"Ports"}, {"Age"}};
constexpr ColumnInfo kIngressClass[] = {{"Name", 0, "string", "name"}, {"Controller"}, {"Parameters"}, {"Age"}};
constexpr ColumnInfo kEndpoints[] = {{"Name", 0, "string", "name"}, {"Endpoints"}, {"Age"}};
constexpr ColumnInfo kEndpointSlice[] = {{"Name", 0, "string", "name"}, {"AddressType"}, {"Ports"}, {"Endpoints"}, {"Age"}};
constexpr ColumnInfo kNetworkPolicy[] = {{"Name", 0, "string", "name"}, {"Pod-Selector"}, {"Age"}};
constexpr ColumnInfo kIpAddress[] = {{"Name", 0, "string", "name"}, {"ParentRef"}};
constexpr ColumnInfo kServiceCidr[] = {{"Name", 0, "string", "name"}, {"CIDRs"}, {"Age"}};

constexpr Printer kPrinters[] = {
    {"", "Service", kService, service_cells},
    {"networking.k8s.io", "Ingress", kIngress, ingress_cells},
    {"networking.k8s.io", "IngressClass", kIngressClass, ingress_class_cells},
    {"", "Endpoints", kEndpoints, endpoints_cells},
    {"discovery.k8s.io", "EndpointSlice", kEndpointSlice, endpoint_slice_cells},
    {"networking.k8s.io", "NetworkPolicy", kNetworkPolicy, network_policy_cells},
    {"networking.k8s.io", "IPAddress", kIpAddress, ip_address_cells},
    {"networking.k8s.io", "ServiceCIDR", kServiceCidr, service_cidr_cells},
};

}  // namespace

void service_cells(Row& row) {
  std::vector<std::string> ports;
  for (const json::value& p : row.list("spec.ports")) {
    int64_t node_port = base::get_int(p, "nodePort");
    std::string port = std::to_string(base::get_int(p, "port"));
    if (node_port > 0) port += fmt::format(":{}", node_port);
    ports.push_back(port + fmt::format("/{}", base::get_string(p, "protocol", "TCP")));
  }
  row.add_field("metadata.name");
  row.add_field("spec.type", "ClusterIP");
  row.add_field("spec.clusterIP", "<none>");
  row.add(external_ip(row));
  row.add(ports.empty() ? std::string("<none>") : joined(ports, ","));
  row.add_age();
  row.add(labels_text(row.map("spec.selector")));
}

std::span<const Printer> network_printers() { return kPrinters; }

}  // namespace api::tables
