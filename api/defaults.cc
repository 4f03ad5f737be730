#include "api/defaults.h"

#include <string>

namespace api {
namespace {

namespace json = base::json;

json::object* object_at(json::object& o, std::string_view name) {
  json::value* v = o.if_contains(name);
  return v ? v->if_object() : nullptr;
}

json::array* array_at(json::object& o, std::string_view name) {
  json::value* v = o.if_contains(name);
  return v ? v->if_array() : nullptr;
}

std::string_view string_at(const json::object& o, std::string_view name) {
  const json::value* v = o.if_contains(name);
  return v && v->is_string() ? std::string_view(v->get_string()) : std::string_view();
}

bool missing(const json::object& o, std::string_view name) {
  const json::value* v = o.if_contains(name);
  return !v || v->is_null();
}

void set_default(json::object& o, std::string_view name, json::value v) {
  if (missing(o, name)) o[name] = std::move(v);
}

void set_default_text(json::object& o, std::string_view name, std::string_view v) {
  if (string_at(o, name).empty()) o[name] = json::string_view(v.data(), v.size());
}

json::object& ensure_object(json::object& o, std::string_view name) {
  json::value& v = o[name];
  if (!v.is_object()) v = json::object();
  return v.get_object();
}

template <class F>
void each_object(json::object& o, std::string_view name, F f) {
  if (json::array* a = array_at(o, name)) {
    for (json::value& v : *a) {
      if (json::object* e = v.if_object()) f(*e);
    }
  }
}

// "Always" for images without a tag or with :latest, "IfNotPresent" for others.
std::string_view pull_policy(std::string_view image) {
  if (image.find('@') != std::string_view::npos) return "IfNotPresent";
  size_t slash = image.rfind('/');
  std::string_view name = slash == std::string_view::npos ? image : image.substr(slash + 1);
  size_t colon = name.find(':');
  return colon == std::string_view::npos || name.substr(colon + 1) == "latest" ? "Always" : "IfNotPresent";
}

void requests_from_limits(json::object& container) {
  json::object* resources = object_at(container, "resources");
  if (!resources || !object_at(*resources, "limits") || object_at(*resources, "limits")->empty()) return;
  json::object& requests = ensure_object(*resources, "requests");  // moves the members of resources
  for (auto& [name, amount] : *object_at(*resources, "limits")) {
    if (!requests.contains(name)) requests[name] = amount;
  }
}

void host_ports(json::object& container) {
  each_object(container, "ports", [](json::object& port) {
    json::value* number = port.if_contains("containerPort");
    json::value* host = port.if_contains("hostPort");
    if (number && (!host || (host->is_int64() && host->get_int64() == 0))) port["hostPort"] = json::value(*number);
  });
}

void pod_spec(json::object& spec) {
  for (std::string_view list : {"containers", "initContainers", "ephemeralContainers"}) {
    each_object(spec, list, [](json::object& c) { set_default_text(c, "imagePullPolicy", pull_policy(string_at(c, "image"))); });
  }
  each_object(spec, "volumes", [](json::object& v) {
    if (v.size() == 1 && v.contains("name")) v["emptyDir"] = json::object();
  });
  std::string account(string_at(spec, "serviceAccountName"));
  if (account.empty()) account = string_at(spec, "serviceAccount");
  if (!account.empty()) {
    spec["serviceAccountName"] = account;
    spec["serviceAccount"] = account;
  }
}

void template_spec(json::object& parent) {
  json::object* t = object_at(parent, "template");
  json::object* spec = t ? object_at(*t, "spec") : nullptr;
  if (spec) pod_spec(*spec);
}

void pod(json::object& o) {
  json::object* spec = object_at(o, "spec");
  if (!spec) return;
  pod_spec(*spec);
  set_default(*spec, "enableServiceLinks", true);
  const json::value* host = spec->if_contains("hostNetwork");
  bool host_network = host && host->is_bool() && host->get_bool();
  for (std::string_view list : {"containers", "initContainers"}) {
    each_object(*spec, list, [&](json::object& c) {
      requests_from_limits(c);
      if (host_network) host_ports(c);
    });
  }
}

void deployment(json::object& o) {
  json::object* spec = object_at(o, "spec");
  if (!spec) return;
  template_spec(*spec);
  json::object& strategy = ensure_object(*spec, "strategy");
  if (string_at(strategy, "type") == "RollingUpdate") {
    json::object& update = ensure_object(strategy, "rollingUpdate");
    set_default(update, "maxUnavailable", "25%");
    set_default(update, "maxSurge", "25%");
  }
}

void stateful_set(json::object& o) {
  json::object* spec = object_at(o, "spec");
  if (!spec) return;
  template_spec(*spec);
  json::object& strategy = ensure_object(*spec, "updateStrategy");
  if (string_at(strategy, "type") == "RollingUpdate") set_default(ensure_object(strategy, "rollingUpdate"), "partition", 0);
  each_object(*spec, "volumeClaimTemplates", [](json::object& claim) {
    set_default_text(claim, "apiVersion", "v1");
    set_default_text(claim, "kind", "PersistentVolumeClaim");
    set_default_text(ensure_object(claim, "status"), "phase", "Pending");
  });
}

void daemon_set(json::object& o) {
  json::object* spec = object_at(o, "spec");
  if (!spec) return;
  template_spec(*spec);
  json::object& strategy = ensure_object(*spec, "updateStrategy");
  if (string_at(strategy, "type") == "RollingUpdate") {
    json::object& update = ensure_object(strategy, "rollingUpdate");
    set_default(update, "maxUnavailable", 1);
    set_default(update, "maxSurge", 0);
  }
}

// Labels of the object from those of its template. Moves the members of o.
void labels_from_template(json::object& o) {
  json::object* spec = object_at(o, "spec");
  json::object* t = spec ? object_at(*spec, "template") : nullptr;
  json::object* metadata = t ? object_at(*t, "metadata") : nullptr;
  json::object* labels = metadata ? object_at(*metadata, "labels") : nullptr;
  if (!labels || labels->empty()) return;
  json::object copy = *labels;
  json::object& own = ensure_object(o, "metadata");
  if (json::object* mine = object_at(own, "labels"); !mine || mine->empty()) own["labels"] = std::move(copy);
}

void replication_controller(json::object& o) {
  labels_from_template(o);
  json::object* spec = object_at(o, "spec");
  if (!spec) return;
  template_spec(*spec);
  json::object* t = object_at(*spec, "template");
  json::object* metadata = t ? object_at(*t, "metadata") : nullptr;
  json::object* labels = metadata ? object_at(*metadata, "labels") : nullptr;
  if (labels && missing(*spec, "selector")) (*spec)["selector"] = json::object(*labels);
}

void workload(json::object& o) {
  if (json::object* spec = object_at(o, "spec")) template_spec(*spec);
}

void job(json::object& o) {
  labels_from_template(o);
  json::object* spec = object_at(o, "spec");
  if (!spec) return;
  template_spec(*spec);
  if (missing(*spec, "parallelism")) {
    if (missing(*spec, "completions")) (*spec)["completions"] = 1;
    (*spec)["parallelism"] = 1;
  }
  set_default(*spec, "backoffLimit", missing(*spec, "backoffLimitPerIndex") ? 6 : INT32_MAX);
  set_default_text(*spec, "completionMode", "NonIndexed");
  set_default(*spec, "suspend", false);
  set_default_text(*spec, "podReplacementPolicy", missing(*spec, "podFailurePolicy") ? "TerminatingOrFailed" : "Failed");
  if (json::object* policy = object_at(*spec, "podFailurePolicy")) {
    each_object(*policy, "rules", [](json::object& rule) {
      each_object(rule, "onPodConditions", [](json::object& c) { set_default_text(c, "status", "True"); });
    });
  }
}

void cron_job(json::object& o) {
  json::object* spec = object_at(o, "spec");
  json::object* t = spec ? object_at(*spec, "jobTemplate") : nullptr;
  json::object* inner = t ? object_at(*t, "spec") : nullptr;
  if (inner) template_spec(*inner);
}

void service(json::object& o) {
  json::object* spec = object_at(o, "spec");
  if (!spec) return;
  std::string type(string_at(*spec, "type"));
  if (string_at(*spec, "sessionAffinity") == "ClientIP") {
    set_default(ensure_object(ensure_object(*spec, "sessionAffinityConfig"), "clientIP"), "timeoutSeconds", 10800);
  } else {
    spec->erase("sessionAffinityConfig");  // what ClientIP left behind
  }
  each_object(*spec, "ports", [](json::object& port) {
    const json::value* target = port.if_contains("targetPort");
    bool unset = !target || target->is_null() || (target->is_int64() && target->get_int64() == 0) ||
                 (target->is_string() && target->get_string().empty());
    if (const json::value* number = port.if_contains("port"); unset && number) port["targetPort"] = json::value(*number);
  });
  if (type == "NodePort" || type == "LoadBalancer") set_default_text(*spec, "externalTrafficPolicy", "Cluster");
  if (type == "ClusterIP" || type == "NodePort" || type == "LoadBalancer") set_default_text(*spec, "internalTrafficPolicy", "Cluster");
  if (type != "LoadBalancer") return;
  set_default(*spec, "allocateLoadBalancerNodePorts", true);
  json::object* status = object_at(o, "status");
  json::object* balancer = status ? object_at(*status, "loadBalancer") : nullptr;
  if (!balancer) return;
  each_object(*balancer, "ingress", [](json::object& ingress) {
    if (!string_at(ingress, "ip").empty()) set_default_text(ingress, "ipMode", "VIP");
  });
}

void namespace_object(json::object& o) {
  json::object& metadata = ensure_object(o, "metadata");
  if (std::string name(string_at(metadata, "name")); !name.empty()) ensure_object(metadata, "labels")["kubernetes.io/metadata.name"] = name;
  set_default_text(ensure_object(o, "status"), "phase", "Active");
}

void pending_phase(json::object& o) { set_default_text(ensure_object(o, "status"), "phase", "Pending"); }

void limit_range(json::object& o) {
  json::object* spec = object_at(o, "spec");
  if (!spec) return;
  auto fill = [](json::object& item, std::string_view to, std::string_view from) {
    json::object* source = object_at(item, from);
    if (!source) return;
    json::object copy = *source;
    json::object& target = ensure_object(item, to);
    for (auto& [name, amount] : copy) {
      if (!target.contains(name)) target[name] = amount;
    }
  };
  each_object(*spec, "limits", [&](json::object& item) {
    if (string_at(item, "type") != "Container") return;
    fill(item, "default", "max");
    fill(item, "defaultRequest", "default");
    fill(item, "defaultRequest", "min");
  });
}

void network_policy(json::object& o) {
  json::object* spec = object_at(o, "spec");
  if (!spec) return;
  if (json::array* types = array_at(*spec, "policyTypes"); types && !types->empty()) return;
  json::array types{"Ingress"};
  if (json::array* egress = array_at(*spec, "egress"); egress && !egress->empty()) types.emplace_back("Egress");
  (*spec)["policyTypes"] = std::move(types);
}

void ingress_class(json::object& o) {
  json::object* spec = object_at(o, "spec");
  if (json::object* parameters = spec ? object_at(*spec, "parameters") : nullptr) set_default_text(*parameters, "scope", "Cluster");
}

void role_binding(json::object& o) {
  static constexpr std::string_view group = "rbac.authorization.k8s.io";
  if (json::object* role = object_at(o, "roleRef")) set_default_text(*role, "apiGroup", group);
  each_object(o, "subjects", [](json::object& s) {
    std::string_view kind = string_at(s, "kind");
    if (kind == "User" || kind == "Group") set_default_text(s, "apiGroup", group);
  });
}

void horizontal_pod_autoscaler(json::object& o) {
  json::object* spec = object_at(o, "spec");
  if (!spec) return;
  if (json::object* behavior = object_at(*spec, "behavior")) {
    auto policy = [](std::string_view type, int n) {
      return json::object{{"type", json::string_view(type.data(), type.size())}, {"value", n}, {"periodSeconds", 15}};
    };
    json::object& up = ensure_object(*behavior, "scaleUp");
    set_default(up, "stabilizationWindowSeconds", 0);
    set_default_text(up, "selectPolicy", "Max");
    if (missing(up, "policies")) up["policies"] = json::array{policy("Pods", 4), policy("Percent", 100)};
    json::object& down = ensure_object(*behavior, "scaleDown");
    set_default_text(down, "selectPolicy", "Max");
    if (missing(down, "policies")) down["policies"] = json::array{policy("Percent", 100)};
  }
  if (!missing(*spec, "metrics")) return;
  json::object target{{"type", "Utilization"}, {"averageUtilization", 80}};
  json::object resource{{"name", "cpu"}, {"target", std::move(target)}};
  (*spec)["metrics"] = json::array{json::object{{"type", "Resource"}, {"resource", std::move(resource)}}};
}

void custom_resource_definition(json::object& o) {
  json::object* spec = object_at(o, "spec");
  json::object* names = spec ? object_at(*spec, "names") : nullptr;
  if (!names) return;
  std::string kind(string_at(*names, "kind")), singular;
  for (char c : kind) singular += c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  set_default_text(*names, "singular", singular);
  set_default_text(*names, "listKind", kind + "List");
}

void resource_claim(json::object& spec) {
  json::object* devices = object_at(spec, "devices");
  if (!devices) return;
  each_object(*devices, "requests", [](json::object& request) {
    auto fill = [](json::object& r) {
      set_default_text(r, "allocationMode", "ExactCount");
      if (string_at(r, "allocationMode") == "ExactCount") set_default(r, "count", 1);
    };
    if (json::object* exactly = object_at(request, "exactly")) fill(*exactly);
    each_object(request, "firstAvailable", fill);
  });
}

void code_defaults(const Kind& kind, json::object& o) {
  std::string_view g = kind.group, k = kind.kind;
  if (g.empty()) {
    if (k == "Pod") pod(o);
    else if (k == "PodTemplate") template_spec(o);
    else if (k == "Service") service(o);
    else if (k == "Namespace") namespace_object(o);
    else if (k == "PersistentVolumeClaim" || k == "PersistentVolume") pending_phase(o);
    else if (k == "ReplicationController") replication_controller(o);
    else if (k == "LimitRange") limit_range(o);
  } else if (g == "apps") {
    if (k == "Deployment") deployment(o);
    else if (k == "StatefulSet") stateful_set(o);
    else if (k == "DaemonSet") daemon_set(o);
    else if (k == "ReplicaSet") workload(o);
  } else if (g == "batch") {
    if (k == "Job") job(o);
    else if (k == "CronJob") cron_job(o);
  } else if (g == "networking.k8s.io") {
    if (k == "NetworkPolicy") network_policy(o);
    else if (k == "IngressClass") ingress_class(o);
  } else if (g == "rbac.authorization.k8s.io") {
    if (k == "RoleBinding" || k == "ClusterRoleBinding") role_binding(o);
  } else if (g == "autoscaling" && kind.version == "v2" && k == "HorizontalPodAutoscaler") {
    horizontal_pod_autoscaler(o);
  } else if (g == "apiextensions.k8s.io" && k == "CustomResourceDefinition") {
    custom_resource_definition(o);
  } else if (g == "resource.k8s.io" && k == "ResourceClaim") {
    if (json::object* spec = object_at(o, "spec")) resource_claim(*spec);
  } else if (g == "resource.k8s.io" && k == "ResourceClaimTemplate") {
    json::object* spec = object_at(o, "spec");
    if (json::object* inner = spec ? object_at(*spec, "spec") : nullptr) resource_claim(*inner);
  }
}

}  // namespace

void apply_schema_defaults(const Type& type, json::value& v) {
  switch (type.form) {
    case Form::object: {
      json::object* o = v.if_object();
      if (!o) return;
      for (const Field& f : type.fields) {
        json::value* member = o->if_contains(f.name);
        bool unset = !member || (member->is_null() && !f.nullable);
        // An empty string counts as absent, as it does for a Go string.
        if (!unset && f.type->form == Form::string && member->is_string() && member->get_string().empty() && !f.keep_empty) unset = true;
        if (unset) {
          if (f.default_value.is_null()) continue;
          member = &((*o)[f.name] = f.default_value);
        }
        if (member->is_structured()) apply_schema_defaults(*f.type, *member);
        // Zero means unset where a Go number is not a pointer.
        if (f.omit_zero && !f.default_value.is_null() && member->is_int64() && member->get_int64() == 0) *member = f.default_value;
      }
      return;
    }
    case Form::list:
      if (json::array* a = v.if_array()) {
        for (json::value& e : *a) apply_schema_defaults(*type.element, e);
      }
      return;
    case Form::map:
      if (json::object* o = v.if_object(); o && type.element->form >= Form::object) {
        for (auto& [key, value] : *o) apply_schema_defaults(*type.element, value);
      }
      return;
    default: return;
  }
}

void apply_defaults(const Kind& kind, json::value& object) {
  json::object* o = object.if_object();
  if (!o) return;
  apply_schema_defaults(*kind.type, object);
  code_defaults(kind, *o);
}

}  // namespace api
