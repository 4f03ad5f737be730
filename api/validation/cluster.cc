// Nodes, namespaces, classes, leases, certificates and the fairness of the API.
#include <algorithm>
#include <set>

#include "api/quantity.h"
#include "api/validate_names.h"
#include "api/validation/rules.h"

namespace api::validation {
namespace {

void priority_class(Checker& c, const object* before, const object& o) {
  std::string_view name = text(map(o, "metadata"), "name");
  int64_t v = number(o, "value");
  if (name.starts_with("system-")) {
    int64_t fixed = name == "system-node-critical" ? 2000001000 : name == "system-cluster-critical" ? 2000000000 : 0;
    std::string_view wrong = fixed == 0                 ? std::string_view()
                             : v != fixed               ? "value"
                             : flag(o, "globalDefault") ? "globalDefault"
                                                        : std::string_view();
    if (fixed == 0 || !wrong.empty()) {
      c.forbidden("metadata.name", fmt::format("priority class names with 'system-' prefix are reserved for system use only. error: {}",
                                               fixed == 0 ? fmt::format("{} is not a known system priority class", name)
                                                          : fmt::format("{} of {} PriorityClass must be {}", wrong, name,
                                                                        wrong == "value" ? std::to_string(fixed) : "false")));
    }
  } else if (v > 1'000'000'000) {
    c.forbidden("value", "maximum allowed value of a user defined priority is 1000000000");
  }
  if (before && number(*before, "value") != v) c.forbidden("value", "may not be changed in an update.");
}

void lease(Checker& c, const object*, const object& o) {
  const object& spec = map(o, "spec");
  if (!text(spec, "preferredHolder").empty() && text(spec, "strategy").empty())
    c.forbidden("spec.preferredHolder", "may only be specified when `strategy` is defined");
}

void node(Checker& c, const object* before, const object& o) {
  const object& spec = map(o, "spec");
  std::set<std::string> seen;
  const array& taints = list(spec, "taints");
  for (size_t i = 0; i < taints.size(); ++i) {
    const object& t = as_object(taints[i]);
    if (!seen.insert(fmt::format("{}:{}", text(t, "key"), text(t, "effect"))).second)
      c.duplicate(fmt::format("spec.taints[{}]", i), taints[i]);
  }
  const array& cidrs = list(spec, "podCIDRs");
  if (cidrs.size() > 2) c.invalid("spec.podCIDRs", value(cidrs), "may specify no more than one CIDR for each IP family");
  if (!before) return;
  const object& old = map(*before, "spec");
  if (!text(old, "podCIDR").empty() && text(old, "podCIDR") != text(spec, "podCIDR")) {
    c.forbidden("spec.podCIDRs", "node updates may not change podCIDR except from \"\" to valid");
  }
  if (!text(old, "providerID").empty() && text(old, "providerID") != text(spec, "providerID")) {
    c.forbidden("spec.providerID", "node updates may not change providerID except from \"\" to valid");
  }
}

void node_status(Checker& c, const object&, const object& o) {
  std::set<std::string> seen;
  const array& addresses = list(map(o, "status"), "addresses");
  for (size_t i = 0; i < addresses.size(); ++i) {
    const object& a = as_object(addresses[i]);
    if (!seen.insert(fmt::format("{}/{}", text(a, "type"), text(a, "address"))).second)
      c.duplicate(fmt::format("status.addresses[{}]", i), addresses[i]);
  }
  for (std::string_view kind : {"capacity", "allocatable"}) {
    for (const auto& [name, amount] : map(map(o, "status"), kind)) {
      std::string at = fmt::format("status.{}[{}]", kind, std::string_view(name));
      c.check_text(at, name, check_qualified_name(name));
      auto q = Quantity::parse(as_text(amount));
      if (q && q->sign() < 0) c.invalid(at, amount, "must be greater than or equal to 0");
    }
  }
}

void runtime_class(Checker& c, const object*, const object& o) {
  for (const auto& [name, amount] : map(map(o, "overhead"), "podFixed")) {
    std::string at = fmt::format("overhead.podFixed[{}]", std::string_view(name));
    check_resource_name(c, name, at);
    check_amount(c, name, amount, at);
  }
  check_labels(c, map(map(o, "scheduling"), "nodeSelector"), "scheduling.nodeSelector");
  const array& tolerations = list(map(o, "scheduling"), "tolerations");
  for (size_t i = 0; i < tolerations.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      if (tolerations[j] == tolerations[i]) c.duplicate(fmt::format("scheduling.tolerations[{}]", i), tolerations[i]);
    }
  }
}

void certificate_request(Checker& c, const object* before, const object& o) {
  const object& spec = map(o, "spec");
  const array& usages = list(spec, "usages");
  if (usages.empty()) c.required("spec.usages", "usages are required for signing requests");
  static constexpr std::string_view known[] = {
      "any",           "cert sign",         "client auth",      "code signing",  "content commitment", "crl sign",     "data encipherment",
      "decipher only", "digital signature", "email protection", "encipher only", "ipsec end system",   "ipsec tunnel", "ipsec user",
      "key agreement", "key encipherment",  "microsoft sgc",    "netscape sgc",  "ocsp signing",       "s/mime",       "server auth",
      "signing",       "timestamping"};
  std::set<std::string_view> seen;
  for (size_t i = 0; i < usages.size() && !before; ++i) {
    std::string at = fmt::format("spec.usages[{}]", i);
    if (std::find(std::begin(known), std::end(known), as_text(usages[i])) == std::end(known)) {
      c.unsupported(at, as_text(usages[i]), {std::begin(known), std::end(known)});
    } else if (!seen.insert(as_text(usages[i])).second) {
      c.duplicate(at, as_text(usages[i]));
    }
  }
  if (std::string_view signer = text(spec, "signerName"); !signer.empty()) {
    size_t slash = signer.find('/');
    if (slash == std::string_view::npos || slash == 0 || slash + 1 == signer.size() ||
        signer.find('/', slash + 1) != std::string_view::npos) {
      c.invalid_text("spec.signerName", signer, "must be a fully qualified domain and path of the form 'example.com/signer-name'");
    } else {
      std::string_view domain = signer.substr(0, slash), path = signer.substr(slash + 1);
      if (domain.find('.') == std::string_view::npos)
        c.invalid_text("spec.signerName", signer, "should be a domain with at least two segments separated by dots");
      c.check_text("spec.signerName", domain, check_dns1123_subdomain(domain));
      c.check_text("spec.signerName", path, check_dns1123_subdomain(path));
    }
  }
  if (has(spec, "expirationSeconds") && number(spec, "expirationSeconds") < 600) {
    c.invalid("spec.expirationSeconds", *spec.if_contains("expirationSeconds"),
              "may not specify a duration less than 600 seconds (10 minutes)");
  }
  if (before && map(*before, "spec") != spec) c.invalid("spec", value(spec), "field is immutable");
}

// "*" stands alone.
void check_words(Checker& c, const object& o, std::string_view name, const std::string& path, std::string_view what) {
  const array& words = list(o, name);
  std::string at = fmt::format("{}.{}", path, name);
  if (words.empty()) c.required(at, fmt::format("{} must contain at least one value", name));
  bool all = std::any_of(words.begin(), words.end(), [](const value& v) { return as_text(v) == "*"; });
  if (all && words.size() > 1) c.invalid(at, value(words), fmt::format("if '*' is present, must not specify other {}", what));
}

void check_verbs(Checker& c, const object& o, const std::string& path) {
  check_words(c, o, "verbs", path, "verbs");
  static constexpr std::string_view known[] = {"create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"};
  const array& verbs = list(o, "verbs");
  for (const value& v : verbs) {
    if (as_text(v) == "*" || std::find(std::begin(known), std::end(known), as_text(v)) != std::end(known)) continue;
    c.unsupported(path + ".verbs", as_text(v), {std::begin(known), std::end(known)});
    return;
  }
}

void resource_rule(Checker& c, const object& o, const std::string& path) {
  check_verbs(c, o, path);
  check_words(c, o, "apiGroups", path, "api groups");
  check_words(c, o, "resources", path, "resources");
  if (list(o, "namespaces").empty() && !flag(o, "clusterScope"))
    c.required(path + ".namespaces", "resource rules that are not cluster scoped must supply at least one namespace");
  const array& spaces = list(o, "namespaces");
  for (size_t i = 0; i < spaces.size(); ++i) {
    if (as_text(spaces[i]) == "*") continue;
    c.check_text(fmt::format("{}.namespaces[{}]", path, i), as_text(spaces[i]), check_dns1123_label(as_text(spaces[i])));
  }
}

void url_rule(Checker& c, const object& o, const std::string& path) {
  check_verbs(c, o, path);
  check_words(c, o, "nonResourceURLs", path, "non-resource URLs");
  const array& urls = list(o, "nonResourceURLs");
  for (size_t i = 0; i < urls.size(); ++i) {
    std::string_view u = as_text(urls[i]);
    std::string at = fmt::format("{}.nonResourceURLs[{}]", path, i);
    if (u == "*" || u == "/") continue;
    if (!u.starts_with('/')) c.invalid_text(at, u, "must start with slash");
    else if (u.find(' ') != std::string_view::npos) c.invalid_text(at, u, "must not contain white-space");
    else if (u.find("//") != std::string_view::npos) c.invalid_text(at, u, "must not contain double slash");
    else if (u.find('*') != std::string_view::npos && !(u.ends_with("/*") && u.find('*') == u.size() - 1))
      c.invalid_text(at, u, "wildcard can only do suffix matching");
  }
}

void flow_rule(Checker& c, const object& o, const std::string& path) {
  if (list(o, "resourceRules").empty() && list(o, "nonResourceRules").empty()) {
    c.required(path, "at least one of resourceRules and nonResourceRules has to be non-empty");
  }
}

void flow_subject(Checker& c, const object& o, const std::string& path) {
  static constexpr std::pair<std::string_view, std::string_view> kinds[] = {
      {"User", "user"}, {"Group", "group"}, {"ServiceAccount", "serviceAccount"}};
  std::string_view kind = text(o, "kind");
  for (auto [name, member] : kinds) {
    std::string at = fmt::format("{}.{}", path, member);
    if (kind == name && !has(o, member)) c.required(at, fmt::format("{} is required when subject kind is '{}'", member, name));
    if (kind != name && has(o, member)) c.forbidden(at, fmt::format("{} is forbidden when subject kind is not '{}'", member, name));
  }
}

void flow_schema(Checker& c, const object*, const object& o) {
  const object& spec = map(o, "spec");
  std::string_view name = text(map(o, "metadata"), "name");
  int64_t precedence = number(spec, "matchingPrecedence");
  if (precedence > 10000) c.invalid("spec.matchingPrecedence", value(precedence), "must not be greater than 10000");
  if (precedence <= 0) c.invalid("spec.matchingPrecedence", value(precedence), "must be a positive value");
  if (precedence == 1 && name != "exempt")
    c.invalid("spec.matchingPrecedence", value(precedence), "only the schema named 'exempt' may have matchingPrecedence 1");
}

void priority_level(Checker& c, const object*, const object& o) {
  const object& spec = map(o, "spec");
  std::string_view type = text(spec, "type"), name = text(map(o, "metadata"), "name");
  if (type == "Exempt" && name != "exempt") c.invalid_text("spec.type", type, "must be 'Limited' if and only if `name` is not 'exempt'");
  if (type == "Exempt" && has(spec, "limited")) c.forbidden("spec.limited", "must be nil if the type is not Limited");
  if (type == "Limited" && has(spec, "exempt")) c.forbidden("spec.exempt", "must be nil if the type is Limited");
  if (type == "Limited" && !has(spec, "limited")) c.required("spec.limited", "must not be empty when type is Limited");
}

void limit_response(Checker& c, const object& o, const std::string& path) {
  std::string_view type = text(o, "type");
  if (type == "Reject" && has(o, "queuing")) c.forbidden(path + ".queuing", "must be nil if limited.limitResponse.type is not Limited");
  if (type == "Queue" && !has(o, "queuing")) c.required(path + ".queuing", "must not be empty if limited.limitResponse.type is Limited");
}

void queuing(Checker& c, const object& o, const std::string& path) {
  int64_t queues = number(o, "queues"), hand = number(o, "handSize");
  if (queues <= 0) c.invalid(path + ".queues", value(queues), "must be positive");
  if (queues > 10'000'000) c.invalid(path + ".queues", value(queues), "must not be greater than 10000000");
  if (number(o, "queueLengthLimit") <= 0) c.invalid(path + ".queueLengthLimit", value(number(o, "queueLengthLimit")), "must be positive");
  if (hand <= 0) c.invalid(path + ".handSize", value(hand), "must be positive");
  if (hand > queues) c.invalid(path + ".handSize", value(hand), fmt::format("should not be greater than queues ({})", queues));
}

constexpr TypeRule type_rules[] = {
    {"flowcontrol.v1.ResourcePolicyRule", resource_rule},        {"flowcontrol.v1.NonResourcePolicyRule", url_rule},
    {"flowcontrol.v1.PolicyRulesWithSubjects", flow_rule},       {"flowcontrol.v1.Subject", flow_subject},
    {"flowcontrol.v1.LimitResponse", limit_response},            {"flowcontrol.v1.QueuingConfiguration", queuing},
};
constexpr KindRule kind_rules[] = {
    {"scheduling.k8s.io", "PriorityClass", priority_class},
    {"coordination.k8s.io", "Lease", lease},
    {"", "Node", node, node_status},
    {"node.k8s.io", "RuntimeClass", runtime_class},
    {"certificates.k8s.io", "CertificateSigningRequest", certificate_request},
    {"flowcontrol.apiserver.k8s.io", "FlowSchema", flow_schema},
    {"flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration", priority_level},
};

}  // namespace

std::span<const TypeRule> flow_type_rules() { return type_rules; }
std::span<const KindRule> cluster_rules() { return kind_rules; }

}  // namespace api::validation
