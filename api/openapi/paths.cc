// Paths of resources and their subresources. kubectl looks here for the query parameters a kind's PATCH takes.
#include <fmt/format.h>

#include "api/openapi/document.h"

namespace api::openapi {
namespace {

namespace json = base::json;

struct Parameter {
  std::string_view name, type, doc;
};
constexpr Parameter kWrite[] = {
    {"dryRun", "string", "All: process the request in full, but do not store the result."},
    {"fieldManager", "string", "Name under which changed fields are recorded."},
    {"fieldValidation", "string", "What to do about unknown and repeated fields: Ignore, Warn or Strict."},
};
constexpr Parameter kForce{"force", "boolean", "Take fields over from other managers (apply only)."};
constexpr Parameter kList[] = {
    {"labelSelector", "string", "Only objects with these labels."},
    {"fieldSelector", "string", "Only objects with these field values."},
    {"limit", "integer", "Largest number of objects in one answer."},
    {"continue", "string", "Token of the next page, from the previous answer."},
    {"resourceVersion", "string", "State of the data from which to answer."},
    {"resourceVersionMatch", "string", "How resourceVersion is applied: Exact or NotOlderThan."},
    {"allowWatchBookmarks", "boolean", "Whether a watch may send bookmarks."},
    {"sendInitialEvents", "boolean", "Whether a watch begins with the present objects."},
    {"timeoutSeconds", "integer", "End the list or watch after this time."},
    {"watch", "boolean", "Stream changes instead of a list."},
};
constexpr Parameter kDelete[] = {
    {"gracePeriodSeconds", "integer", "Time the object has to stop; 0 deletes at once."},
    {"propagationPolicy", "string", "What becomes of dependents: Orphan, Background or Foreground."},
};

// Subresources besides status.
// kConnect: GET and POST; kProxy: all methods, and paths below.
enum Method : unsigned { kGet = 1, kPut = 2, kPatch = 4, kPost = 8, kConnect = 16, kProxy = 32 };
struct Subresource {
  std::string_view group, plural, name, suffix;  // suffix: in the ids of its operations
  std::string_view api_version, kind;            // of what is sent and answered; empty: the object itself, or text
  unsigned methods;
};
constexpr unsigned kWhole = kGet | kPut | kPatch;
constexpr Subresource kSubresources[] = {
    {"apps", "deployments", "scale", "Scale", "autoscaling/v1", "Scale", kWhole},
    {"apps", "replicasets", "scale", "Scale", "autoscaling/v1", "Scale", kWhole},
    {"apps", "statefulsets", "scale", "Scale", "autoscaling/v1", "Scale", kWhole},
    {"", "replicationcontrollers", "scale", "Scale", "autoscaling/v1", "Scale", kWhole},
    {"", "pods", "ephemeralcontainers", "Ephemeralcontainers", "", "", kWhole},
    {"", "pods", "resize", "Resize", "", "", kWhole},
    {"", "pods", "binding", "Binding", "v1", "Binding", kPost},
    {"", "pods", "eviction", "Eviction", "policy/v1", "Eviction", kPost},
    {"", "pods", "log", "Log", "", "", kGet | kConnect},
    {"", "pods", "attach", "Attach", "", "", kConnect},
    {"", "pods", "exec", "Exec", "", "", kConnect},
    {"", "pods", "portforward", "Portforward", "", "", kConnect},
    {"", "pods", "proxy", "Proxy", "", "", kProxy},
    {"", "services", "proxy", "Proxy", "", "", kProxy},
    {"", "nodes", "proxy", "Proxy", "", "", kProxy},
    {"", "serviceaccounts", "token", "Token", "authentication.k8s.io/v1", "TokenRequest", kPost},
    {"", "namespaces", "finalize", "Finalize", "", "", kPut},
    {"certificates.k8s.io", "certificatesigningrequests", "approval", "Approval", "", "", kWhole},
};

json::string_view sv(std::string_view s) { return {s.data(), s.size()}; }

class Operations {
 public:
  // about: what is sent and answered, when it is not the kind itself.
  Operations(Dialect d, const Kind& kind, std::string definition, const Kind* about = nullptr)
      : d_(d), kind_(kind), about_(about ? about : &kind), definition_(std::move(definition)) {}

  object reference(const std::string& name) const {
    return {{"$ref", (d_ == Dialect::v2 ? "#/definitions/" : "#/components/schemas/") + name}};
  }

  object parameter(const Parameter& p, std::string_view where) const {
    object o{{"name", sv(p.name)}, {"in", sv(where)}, {"description", sv(p.doc)}};
    if (where == "path") o["required"] = true;
    if (d_ == Dialect::v2) {
      o["type"] = sv(p.type);
      o["uniqueItems"] = true;
    } else {
      o["schema"] = object{{"type", sv(p.type)}, {"uniqueItems", true}};
    }
    return o;
  }

  // result: a definition; empty: text. method: named in the id of a connect.
  object operation(std::string_view verb, std::string_view action, std::string_view result, std::string_view suffix,
                   std::string_view method = {}) const {
    const std::string_view scope = kind_.namespaced ? "Namespaced" : "";
    object o{{"operationId", fmt::format("{}{}{}{}{}{}", verb, id_part(), method, scope, kind_.kind, suffix)}};
    object response{{"description", "OK"}}, schema = result.empty() ? object{{"type", "string"}} : reference(std::string(result));
    if (d_ == Dialect::v2) {
      response["schema"] = std::move(schema);
      o["consumes"] = array{"*/*"};
      o["produces"] = array{"application/json", "application/yaml", "application/vnd.kubernetes.protobuf"};
    } else {
      response["content"] = object{{result.empty() ? "*/*" : "application/json", object{{"schema", std::move(schema)}}}};
    }
    o["responses"] = object{{"200", std::move(response)}};
    o["x-kubernetes-action"] = sv(action);
    o["x-kubernetes-group-version-kind"] = object{{"group", about_->group}, {"kind", about_->kind}, {"version", about_->version}};
    return o;
  }

  template <size_t N>
  void add_query(object& o, const Parameter (&list)[N]) const {
    for (const Parameter& p : list) parameters(o).push_back(parameter(p, "query"));
  }
  void add_query(object& o, const Parameter& p) const { parameters(o).push_back(parameter(p, "query")); }

  void add_body(object& o, bool is_patch) const {
    object schema = is_patch ? object{{"type", "object"}} : reference(definition_);
    if (d_ == Dialect::v2) {
      parameters(o).push_back(object{{"name", "body"}, {"in", "body"}, {"required", true}, {"schema", std::move(schema)}});
      if (is_patch) {
        o["consumes"] = array{"application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json",
                              "application/apply-patch+yaml"};
      }
      return;
    }
    object content;
    if (is_patch) {
      for (std::string_view type : {"application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json",
                                    "application/apply-patch+yaml"}) {
        content[sv(type)] = object{{"schema", schema}};
      }
    } else {
      content["*/*"] = object{{"schema", std::move(schema)}};
    }
    o["requestBody"] = object{{"content", std::move(content)}, {"required", true}};
  }

 private:
  static array& parameters(object& o) {
    value& v = o["parameters"];
    if (!v.is_array()) v = array();
    return v.get_array();
  }

  // "CoreV1": keeps operation ids apart.
  std::string id_part() const {
    std::string_view label =
        kind_.group.empty() ? std::string_view("core") : std::string_view(kind_.group).substr(0, kind_.group.find('.'));
    std::string out(label), version = kind_.version;
    out[0] = static_cast<char>(out[0] - 32);
    version[0] = static_cast<char>(version[0] - 32);
    return out + version;
  }

  Dialect d_;
  const Kind& kind_;
  const Kind* about_;
  std::string definition_;
};

// GET, PUT and PATCH of an object or a part of it.
void add_whole(object& item, const Operations& ops, const std::string& name, std::string_view suffix, unsigned methods) {
  if (methods & kGet) item["get"] = ops.operation("read", "get", name, suffix);
  if (methods & kPut) {
    object put = ops.operation("replace", "put", name, suffix);
    ops.add_query(put, kWrite);
    ops.add_body(put, false);
    item["put"] = std::move(put);
  }
  if (methods & kPatch) {
    object patch = ops.operation("patch", "patch", name, suffix);
    ops.add_query(patch, kWrite);
    ops.add_query(patch, kForce);
    ops.add_body(patch, true);
    item["patch"] = std::move(patch);
  }
}

const Kind* about(const Subresource& s) { return s.kind.empty() ? nullptr : Schema::builtin().kind(s.api_version, s.kind); }

void subresource_paths(Dialect d, const Kind& kind, const std::string& name, const std::string& object_path, const array& parameters,
                       const std::function<void(std::string path, object item)>& each) {
  for (const Subresource& s : kSubresources) {
    if (s.group != kind.group || s.plural != kind.plural) continue;
    const Kind* other = about(s);
    const std::string definition = other ? definition_name(*other->type) : name;
    Operations ops(d, kind, definition, other);
    object item{{"parameters", parameters}};
    if (s.methods & kPost) {
      object post = ops.operation("create", "post", definition, s.suffix);
      ops.add_query(post, kWrite);
      ops.add_body(post, false);
      item["post"] = std::move(post);
    }
    if (s.methods & (kConnect | kProxy)) {
      const bool reads = s.methods & kGet, proxies = s.methods & kProxy;
      for (std::string_view method : {"get", "post", "put", "delete", "patch", "head", "options"}) {
        if (!proxies && method != "get" && (method != "post" || reads)) continue;
        const std::string name_of_method = fmt::format("{:c}{}", method[0] - 32, method.substr(1));
        item[sv(method)] = reads ? ops.operation("read", "get", "", s.suffix)
                                 : ops.operation("connect", "connect", "", s.suffix, name_of_method);
      }
    } else {
      add_whole(item, ops, definition, s.suffix, s.methods);
    }
    const std::string path = fmt::format("{}/{}", object_path, s.name);
    if (s.methods & kProxy) {
      object below = item;
      below["parameters"].as_array().push_back(ops.parameter({"path", "string", "Path on the proxied server."}, "path"));
      for (auto& [method, operation] : below)
        if (operation.is_object()) operation.as_object()["operationId"] = std::string(operation.at("operationId").as_string()) + "WithPath";
      each(path + "/{path}", std::move(below));
    }
    each(path, std::move(item));
  }
}

}  // namespace

std::vector<const Kind*> subresource_kinds(const Kind& kind) {
  std::vector<const Kind*> out;
  for (const Subresource& s : kSubresources)
    if (s.group == kind.group && s.plural == kind.plural && about(s)) out.push_back(about(s));
  return out;
}

void paths_of(Dialect d, const Kind& kind, const std::string& name, const std::function<void(std::string path, object item)>& each) {
  if (kind.plural.empty() || kind.plural == "scales" || kind.plural == "evictions") return;  // these are subresources
  Operations ops(d, kind, name);
  std::string base = "/" + group_path(kind);
  const std::string list = name + (kind.is_virtual ? "" : "List"), status = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";
  std::string scope = kind.namespaced ? base + "/namespaces/{namespace}" : base;
  array path_parameters;
  if (kind.namespaced) path_parameters.push_back(ops.parameter({"namespace", "string", "Namespace of the object."}, "path"));

  object collection;
  object post = ops.operation("create", "post", name, "");
  ops.add_query(post, kWrite);
  ops.add_body(post, false);
  if (!kind.is_virtual) {
    object get = ops.operation("list", "list", list, "");
    ops.add_query(get, kList);
    object remove = ops.operation("delete", "deletecollection", status, "Collection");
    ops.add_query(remove, kList);
    collection["get"] = get;
    collection["delete"] = std::move(remove);
    if (kind.namespaced) {
      get["operationId"] = std::string(get.at("operationId").get_string()) + "ForAllNamespaces";
      each(base + "/" + kind.plural, object{{"get", std::move(get)}});
    }
  }
  collection["post"] = std::move(post);
  if (!path_parameters.empty()) collection["parameters"] = path_parameters;
  each(scope + "/" + kind.plural, std::move(collection));
  if (kind.is_virtual) return;

  path_parameters.push_back(ops.parameter({"name", "string", "Name of the object."}, "path"));
  for (std::string_view sub : {"", "/status"}) {
    if (!sub.empty() && !kind.type->field("status")) continue;
    std::string suffix = sub.empty() ? "" : "Status";
    object item;
    add_whole(item, ops, name, suffix, kWhole);
    if (sub.empty()) {
      object remove = ops.operation("delete", "delete", status, suffix);
      ops.add_query(remove, kWrite[0]);
      ops.add_query(remove, kDelete);
      item["delete"] = std::move(remove);
    }
    item["parameters"] = path_parameters;
    each(fmt::format("{}/{}/{{name}}{}", scope, kind.plural, sub), std::move(item));
  }
  subresource_paths(d, kind, name, fmt::format("{}/{}/{{name}}", scope, kind.plural), path_parameters, each);
}

}  // namespace api::openapi
