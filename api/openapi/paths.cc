// Paths of resources with the operations every resource has. kubectl looks here for the query parameters a kind's PATCH takes.
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

json::string_view sv(std::string_view s) { return {s.data(), s.size()}; }

class Operations {
 public:
  Operations(Dialect d, const Kind& kind, std::string definition) : d_(d), kind_(kind), definition_(std::move(definition)) {}

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

  object operation(std::string_view verb, std::string_view action, std::string_view result, std::string_view suffix) const {
    object o{{"operationId", fmt::format("{}{}{}{}", verb, id_part(), kind_.kind, suffix)}};
    std::string name(result);
    object response{{"description", "OK"}};
    if (d_ == Dialect::v2) {
      response["schema"] = reference(name);
      o["consumes"] = array{"*/*"};
      o["produces"] = array{"application/json", "application/yaml", "application/vnd.kubernetes.protobuf"};
    } else {
      response["content"] = object{{"application/json", object{{"schema", reference(name)}}}};
    }
    o["responses"] = object{{"200", std::move(response)}};
    o["x-kubernetes-action"] = sv(action);
    o["x-kubernetes-group-version-kind"] = object{{"group", kind_.group}, {"kind", kind_.kind}, {"version", kind_.version}};
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

  // "CoreV1Namespaced": keeps operation ids apart.
  std::string id_part() const {
    std::string_view label = kind_.group.empty() ? std::string_view("core") : std::string_view(kind_.group).substr(0, kind_.group.find('.'));
    std::string out(label), version = kind_.version;
    out[0] = static_cast<char>(out[0] - 32);
    version[0] = static_cast<char>(version[0] - 32);
    return out + version + (kind_.namespaced ? "Namespaced" : "");
  }

  Dialect d_;
  const Kind& kind_;
  std::string definition_;
};

}  // namespace

void paths_of(Dialect d, const Kind& kind, const std::string& name, const std::function<void(std::string path, object item)>& each) {
  if (kind.plural.empty()) return;
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
    item["get"] = ops.operation("read", "get", name, suffix);
    object put = ops.operation("replace", "put", name, suffix);
    ops.add_query(put, kWrite);
    ops.add_body(put, false);
    item["put"] = std::move(put);
    object patch = ops.operation("patch", "patch", name, suffix);
    ops.add_query(patch, kWrite);
    ops.add_query(patch, kForce);
    ops.add_body(patch, true);
    item["patch"] = std::move(patch);
    if (sub.empty()) {
      object remove = ops.operation("delete", "delete", status, suffix);
      ops.add_query(remove, kWrite[0]);
      ops.add_query(remove, kDelete);
      item["delete"] = std::move(remove);
    }
    item["parameters"] = path_parameters;
    each(fmt::format("{}/{}/{{name}}{}", scope, kind.plural, sub), std::move(item));
  }
}

}  // namespace api::openapi
