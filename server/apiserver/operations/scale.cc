// The scale subresource: autoscaling/v1 Scale over spec.replicas of Deployments, ReplicaSets, StatefulSets and ReplicationControllers.
#include <fmt/format.h>

#include "api/apply.h"
#include "api/selector.h"
#include "base/time.h"
#include "server/apiserver/operations/operations.h"
#include "server/apiserver/registry/write.h"

namespace server {

using base::json::object;
using base::json::value;

namespace {

value scale_of(const value& live) {
  object meta;
  for (std::string_view name : {"name", "namespace", "uid", "resourceVersion", "creationTimestamp"})
    if (const value* v = metadata_of(live.get_object()).if_contains(name)) meta[name] = *v;
  object spec, status{{"replicas", base::get_int(live, "status.replicas")}};
  if (int64_t n = base::get_int(live, "spec.replicas"); n != 0) spec["replicas"] = n;
  std::string selector;
  if (const value* s = base::find(live, "spec.selector"); s && s->is_object()) {
    bool plain = !s->get_object().contains("matchLabels") && !s->get_object().contains("matchExpressions");
    auto parsed = api::LabelSelector::of_json(plain ? value(object{{"matchLabels", *s}}) : *s);
    if (parsed) selector = parsed->to_string();
  }
  if (!selector.empty()) status["selector"] = selector;
  return object{{"kind", "Scale"}, {"apiVersion", "autoscaling/v1"}, {"metadata", std::move(meta)}, {"spec", std::move(spec)}, {"status", std::move(status)}};
}

Bytes scale_text(const value& live) { return base::make_bytes(base::to_text(scale_of(live))); }

}  // namespace

Task<Result<Reply>> Operations::get_scale(Target t) {
  CO_TRY(RecordPtr record, registry_.get(t));
  CO_TRY(value live, registry_.decode(*t.resource, *record));
  co_return Reply{200, scale_text(live), nullptr};
}

Task<Result<Reply>> Operations::put_scale(Target t, Call& call, std::function<Result<value>(value)> change) {
  Registry::UpdateOptions options;
  options.manager_subresource = "scale";
  Registry::Change set = [change, name = t.name](const value& live) -> Result<value> {
    TRY(value scale, change(scale_of(live)));
    if (!scale.is_object()) return base::bad_request("a Scale must be an object");
    const value* n = base::find(scale, "spec.replicas");
    if (n && !n->is_null() && !n->is_int64()) return base::bad_request("Scale: spec.replicas must be a number");
    int64_t replicas = n && n->is_int64() ? n->get_int64() : 0;
    if (replicas < 0)
      return base::invalid("Scale.autoscaling", name, {invalid_value("spec.replicas", *n, "must be greater than or equal to 0")});
    value now = live;
    base::make_object(now, "spec")["replicas"] = replicas;
    object& meta = metadata_of(now.as_object());
    for (std::string_view field : {"resourceVersion", "uid"}) {
      std::string_view wanted = text_of(metadata_of(scale.as_object()), field);
      if (wanted.empty()) meta.erase(field);
      else meta[field] = wanted;
    }
    return now;
  };
  t.subresource.clear();
  CO_TRY(RecordPtr record, co_await registry_.update(t, call, options, set));
  CO_TRY(value live, registry_.decode(*t.resource, *record));
  co_return Reply{200, scale_text(live), nullptr};
}

// The replicas a Scale states, as if the object itself had been applied with them: ownership is kept there.
Task<Result<Reply>> Operations::apply_scale(Target t, Call& call, value scale) {
  const std::string version(base::get_string(scale, "apiVersion")), kind_said(base::get_string(scale, "kind"));
  if (version != "autoscaling/v1" || kind_said != "Scale")
    co_return base::bad_request(fmt::format(
        "the API version and kind in the data ({}, {}) do not match the expected ones (autoscaling/v1, Scale)", version, kind_said));
  const value* n = base::find(scale, "spec.replicas");
  if (n && !n->is_null() && !n->is_int64()) co_return base::bad_request("Scale: spec.replicas must be a number");
  if (n && n->is_int64() && n->get_int64() < 0)
    co_return base::invalid("Scale.autoscaling", t.name, {invalid_value("spec.replicas", *n, "must be greater than or equal to 0")});
  object wanted{{"apiVersion", t.resource->api_version}, {"kind", t.resource->kind->kind}, {"metadata", object{{"name", t.name}}}};
  if (n && n->is_int64()) wanted["spec"] = object{{"replicas", *n}};
  const api::Manager manager{call.field_manager, "scale", base::now_rfc3339()};
  call.from_apply = true;
  Registry::UpdateOptions options;
  options.from_apply = true;
  options.uid = base::get_string(scale, "metadata.uid");
  options.resource_version = base::get_string(scale, "metadata.resourceVersion");
  Registry::Change set = [kind = t.resource->kind, applied = value(std::move(wanted)), manager, force = call.force](const value& live) {
    return api::apply(*kind, live, applied, manager, force);
  };
  t.subresource.clear();
  CO_TRY(RecordPtr record, co_await registry_.update(t, call, options, set));
  CO_TRY(value live, registry_.decode(*t.resource, *record));
  co_return Reply{200, scale_text(live), nullptr};
}

}  // namespace server
