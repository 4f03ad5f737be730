#include "server/apiserver/operations/operations.h"

#include <algorithm>

#include <fmt/format.h>

#include "api/apply.h"
#include "api/patch.h"
#include "api/protobuf.h"
#include "api/yaml.h"
#include "base/time.h"
#include "server/apiserver/http/status.h"
#include "server/apiserver/registry/keys.h"
#include "server/apiserver/registry/write.h"

namespace server {

using base::json::object;
using base::json::value;

Result<value> Operations::decode(const Body& body, const Call& call, std::vector<std::string>& problems,
                                 base::json::storage_ptr storage) const {
  if (body.form == Body::Form::protobuf || api::has_protobuf_envelope(body.text)) return api::from_protobuf(body.text);
  const bool strictly = call.validation != api::FieldValidation::ignore;
  if (body.form == Body::Form::yaml) return strictly ? api::parse_yaml_strictly(body.text, problems) : api::parse_yaml(body.text);
  if (!strictly) return base::parse_json(body.text, 64, std::move(storage));
  return api::parse_json_strictly(body.text, problems, std::move(storage));
}

Reply Operations::reply(const ResourceInfo* r, const RecordPtr& record, int status) const {
  return {status, registry_.present(*r, record), r};
}

Task<Result<Reply>> Operations::get(Target t) {
  if (t.subresource == "scale") co_return co_await get_scale(std::move(t));
  CO_TRY(RecordPtr record, registry_.get(t));
  co_return reply(t.resource, record);
}

Task<Result<Reply>> Operations::store_new(Target t, Call& call, value v) {
  CO_TRY(RecordPtr record, co_await registry_.create(t, call, std::move(v)));
  co_return reply(t.resource, record, 201);
}

Task<Result<Reply>> Operations::create(Target t, Call& call, Body body) {
  std::vector<std::string> problems;
  base::JsonArena arena;
  CO_TRY(value v, decode(body, call, problems, arena));
  if (!v.is_object()) co_return base::bad_request("the request body is not an object");
  if (t.subresource == "binding") co_return co_await bind(std::move(t), call, std::move(v));
  if (t.subresource == "eviction") co_return co_await evict(std::move(t), call, std::move(v));
  if (t.subresource == "token") co_return co_await request_token(std::move(t), call, std::move(v));
  if (!t.subresource.empty())
    co_return base::fail(405, "MethodNotAllowed", "the server does not allow this method on the requested resource");
  CO_CHECK_OK(adopt(t, call, v, std::move(problems), body.form == Body::Form::json ? std::string_view(body.text) : std::string_view()));
  if (t.resource->is_virtual) {
    if (t.resource->resource == "bindings") {
      t.name = text_of(metadata_of(v.get_object()), "name");
      t.resource = registry_.resources().find("", "v1", "pods");
      co_return co_await bind(std::move(t), call, std::move(v));
    }
    co_return co_await review(std::move(t), call, std::move(v));
  }
  co_return co_await store_new(std::move(t), call, std::move(v));
}

namespace {
bool is_system(const std::string& subresource) {
  return subresource == "finalize" || subresource == "approval" || subresource == "ephemeralcontainers" || subresource == "resize";
}
}  // namespace

bool Operations::restrict_change(const std::string& subresource, object& now, const object& before) {
  auto keep = [&](object& into, const object& from, std::string_view name) {
    if (const value* v = from.if_contains(name)) into[name] = *v;
    else into.erase(name);
  };
  auto part = [](object& o, std::string_view name) -> object& {
    value& v = o[name];
    if (!v.is_object()) v.emplace_object();
    return v.get_object();
  };
  if (!is_system(subresource)) return false;
  object result(before, now.storage());
  if (subresource == "finalize") {
    const value* spec = now.if_contains("spec");
    static const object none;
    keep(part(result, "spec"), spec && spec->is_object() ? spec->get_object() : none, "finalizers");
  } else if (subresource == "approval") {
    const value* status = now.if_contains("status");
    static const object none;
    keep(part(result, "status"), status && status->is_object() ? status->get_object() : none, "conditions");
    keep(result, now, "metadata");
  } else if (subresource == "ephemeralcontainers") {
    keep(part(result, "spec"), part(now, "spec"), "ephemeralContainers");
  } else {
    // Resources of containers, by name.
    for (std::string_view list : {"containers", "initContainers"}) {
      value* mine = part(result, "spec").if_contains(list);
      const value* theirs = part(now, "spec").if_contains(list);
      if (!mine || !mine->is_array() || !theirs || !theirs->is_array()) continue;
      for (value& c : mine->get_array())
        for (const value& d : theirs->get_array())
          if (c.is_object() && d.is_object() && text_of(c.get_object(), "name") == text_of(d.get_object(), "name")) {
            keep(c.get_object(), d.get_object(), "resources");
            keep(c.get_object(), d.get_object(), "resizePolicy");
          }
    }
  }
  if (const value* version = metadata_of(now).if_contains("resourceVersion")) metadata_of(result)["resourceVersion"] = *version;
  now = std::move(result);
  return true;
}

namespace {

// As Go prints a map: clients know patches in messages so.
std::string go_text(const value& v) {
  std::string out;
  if (const object* o = v.if_object()) {
    std::vector<std::pair<std::string_view, const value*>> members;
    for (const auto& [name, member] : *o) members.emplace_back(name, &member);
    std::sort(members.begin(), members.end());
    for (const auto& [name, member] : members) out += fmt::format("{}{}:{}", out.empty() ? "" : " ", name, go_text(*member));
    return fmt::format("map[{}]", out);
  }
  if (const base::json::array* a = v.if_array()) {
    for (const value& e : *a) out += (out.empty() ? "" : " ") + go_text(e);
    return fmt::format("[{}]", out);
  }
  if (v.is_null()) return "<nil>";
  return v.is_string() ? std::string(v.get_string()) : base::to_text(v);
}

}  // namespace

// `shown` gives the patch for messages; null: the patched object.
Registry::Change Operations::adopting(Target t, Call& call, std::function<Result<value>(const value&)> change,
                                      std::vector<std::string> problems, std::function<std::string()> shown) const {
  return
      [t, &call, change = std::move(change), problems = std::move(problems), shown = std::move(shown)](const value& live) -> Result<value> {
        TRY(value now, change(live));
        if (auto adopted = adopt(t, call, now, problems); !adopted) {
          // Fields that are wrong are the patch's fault.
          std::string_view why = adopted.error().message;
          std::string mark = fmt::format("cannot be handled as a {}: ", t.resource->kind->kind);
          size_t at = why.find(mark);
          if (at == why.npos || why.find("conversion") != why.npos) return std::unexpected(std::move(adopted).error());
          std::string given = shown ? shown() : std::string();
          if (!shown) {
            TRY(value patched, change(live));
            given = base::to_text(patched);
          }
          return base::invalid("", "", {invalid_value("patch", value(given), why.substr(at + mark.size()))});
        }
        restrict_change(t.subresource, now.as_object(), live.as_object());
        return now;
      };
}

Task<Result<Reply>> Operations::update(Target t, Call& call, Body body) {
  std::vector<std::string> problems;
  base::JsonArena arena;
  CO_TRY(value v, decode(body, call, problems, arena));
  if (v.is_object() && text_of(metadata_of(std::as_const(v).get_object()), "name").empty())
    co_return base::bad_request(fmt::format("the name of the object ({} based on URL) was undeterminable: name must be provided", t.name));
  if (t.subresource == "scale") co_return co_await put_scale(std::move(t), call, [v](value) -> Result<value> { return v; });
  CO_CHECK_OK(adopt(t, call, v, std::move(problems), body.form == Body::Form::json ? std::string_view(body.text) : std::string_view()));
  const bool absent = !registry_.store().get(t.resource->key(t.ns, t.name));
  if (absent && t.subresource.empty() && t.resource->stored->strategy->creates_on_update() &&
      text_of(metadata_of(v.get_object()), "resourceVersion").empty())
    co_return co_await store_new(std::move(t), call, std::move(v));
  Registry::UpdateOptions options;
  options.replace = true;
  options.system = is_system(t.subresource);
  std::string subresource = t.subresource;
  CO_TRY(RecordPtr record, co_await registry_.update(t, call, options, [&v, subresource](const value& live) -> Result<value> {
    value now(v, live.storage());
    restrict_change(subresource, now.as_object(), live.as_object());
    return now;
  }));
  co_return reply(t.resource, record);
}

Task<Result<Reply>> Operations::patch(Target t, Call& call, api::PatchType type, Body body) {
  if (type == api::PatchType::apply) co_return co_await apply(std::move(t), call, std::move(body));
  std::vector<std::string> problems;
  const bool names_fields = type != api::PatchType::json && call.validation != api::FieldValidation::ignore;
  base::JsonArena arena;
  CO_TRY(value p, body.form == Body::Form::yaml ? api::parse_yaml(body.text)
                  : names_fields                ? api::parse_json_strictly(body.text, problems, arena)
                                                : base::parse_json(body.text, 64, arena));
  const api::Type* schema = t.resource->kind->type;
  if (t.subresource == "scale") {
    const api::Kind* scale = api::Schema::builtin().kind("autoscaling", "v1", "Scale");
    if (!scale) co_return base::internal("Scale has no schema");
    schema = scale->type;
  }
  auto patched = [&p, type, schema](const value& live) -> Result<value> {
    switch (type) {
      case api::PatchType::json: return api::json_patch(live, p);
      case api::PatchType::merge: return api::merge_patch(live, p);
      default: return api::strategic_merge_patch(*schema, live, p);
    }
  };
  if (t.subresource == "scale") co_return co_await put_scale(std::move(t), call, [patched](value scale) { return patched(scale); });
  Registry::UpdateOptions options;
  options.system = is_system(t.subresource);
  Registry::Change change = adopting(t, call, patched, std::move(problems),
                                     type == api::PatchType::strategic ? [&p] { return go_text(p); } : std::function<std::string()>());
  CO_TRY(RecordPtr record, co_await registry_.update(t, call, options, change));
  std::sort(call.warnings.begin(), call.warnings.end());
  call.warnings.erase(std::unique(call.warnings.begin(), call.warnings.end()), call.warnings.end());
  co_return reply(t.resource, record);
}

namespace {
// Apply configurations are YAML; those that are JSON without repeated members need no YAML reader.
Result<value> decode_applied(const std::string& text, std::vector<std::string>& problems, base::json::storage_ptr storage) {
  if (api::has_protobuf_envelope(text)) return api::from_protobuf(text);
  if (text.starts_with('{')) {
    std::vector<std::string> repeated;
    auto v = api::parse_json_strictly(text, repeated, std::move(storage));
    if (v && repeated.empty()) return v;
  }
  return api::parse_yaml_strictly(text, problems);
}
}  // namespace

Task<Result<Reply>> Operations::apply(Target t, Call& call, Body body) {
  if (call.field_manager.empty())
    co_return base::invalid("PatchOptions.meta.k8s.io", "", {required("fieldManager", "is required for apply patch")});
  std::vector<std::string> problems;
  base::JsonArena arena;
  CO_TRY(value applied, decode_applied(body.text, problems, arena));
  if (!applied.is_object()) co_return base::bad_request("the applied configuration is not an object");
  if (t.subresource == "scale") co_return co_await apply_scale(std::move(t), call, std::move(applied));
  if (const value* m = metadata_of(applied.as_object()).if_contains("managedFields"); m && !m->is_null())
    co_return base::bad_request("metadata.managedFields must be nil");
  if (std::string why = api::check_applied(*t.resource->kind->type, applied); !why.empty())
    co_return base::fail(
        500, "",
        fmt::format("failed to create typed patch object ({}/{}; {}, Kind={}): {}", t.ns, t.name,
                    t.resource->group.empty() ? "/" + t.resource->version : t.resource->api_version, t.resource->kind->kind, why));
  if (call.validation == api::FieldValidation::ignore) problems.clear();
  if (call.validation == api::FieldValidation::strict && !problems.empty())
    co_return base::bad_request(fmt::format("error strict decoding YAML: yaml: unmarshal errors:\n  {}", fmt::join(problems, "\n  ")));
  CO_CHECK_OK(adopt(t, call, applied, std::move(problems)));
  const std::string version(text_of(metadata_of(applied.as_object()), "resourceVersion"));
  const std::string uid(text_of(metadata_of(applied.as_object()), "uid"));
  for (std::string_view name :
       {"resourceVersion", "uid", "creationTimestamp", "generation", "selfLink", "deletionTimestamp", "deletionGracePeriodSeconds"})
    metadata_of(applied.as_object()).erase(name);
  if (t.subresource == "status") {
    object only({{"apiVersion", t.resource->api_version}, {"kind", t.resource->kind->kind}, {"metadata", applied.as_object()["metadata"]}},
                applied.storage());
    if (const value* status = applied.as_object().if_contains("status")) only["status"] = *status;
    applied = std::move(only);
  } else if (t.resource->has_status) {
    applied.as_object().erase("status");
  }
  const api::Manager manager{call.field_manager, t.subresource, base::now_rfc3339()};
  call.from_apply = true;
  // Fields are owned as they are stored, so that what one version applied another can take back.
  const Conversion* conversion = t.resource->conversion;
  const api::Kind* kind = t.resource->stored->kind;
  if (conversion) conversion->to_stored(applied.as_object());
  const bool absent = !registry_.store().get(t.resource->key(t.ns, t.name));
  if (absent) {
    if (!t.subresource.empty()) co_return base::not_found(t.resource->qualified, t.name);
    if (!version.empty() && version != "0") co_return modified_meanwhile(*t.resource, t.name);
    if (!uid.empty())
      co_return base::conflict(t.resource->qualified, t.name,
                               fmt::format("uid mismatch: the provided object specified uid {}, and no existing object was found", uid));
    CO_TRY(value made, api::apply(*kind, value(), applied, manager, call.force));
    auto stored = co_await store_new(t, call, std::move(made));
    // Somebody else was faster: then this is an update.
    if (stored || !base::is_already_exists(stored.error())) co_return stored;
  }
  Registry::UpdateOptions options;
  options.from_apply = true;
  options.resource_version = version;
  options.uid = uid;
  options.system = is_system(t.subresource);
  const bool force = call.force;
  CO_TRY(RecordPtr record,
         co_await registry_.update(t, call, options, [conversion, kind, &applied, manager, force](const value& live) -> Result<value> {
           if (!conversion) return api::apply(*kind, live, applied, manager, force);
           value stored(live, live.storage());
           conversion->to_stored(stored.as_object());
           return api::apply(*kind, stored, applied, manager, force);
         }));
  co_return reply(t.resource, record);
}

Task<Result<Reply>> Operations::remove(Target t, Call& call, DeleteRequest q) {
  const ResourceInfo* r = t.resource;
  std::string name = t.name;
  CO_TRY(DeleteAnswer answer, co_await registry_.remove(std::move(t), call, q));
  if (!answer.gone || r->deletion_returns_object) {
    const bool with_dependents = q.propagation == "Foreground" || (q.orphan_dependents_set && !q.orphan_dependents);
    int status = !answer.gone && with_dependents ? 202 : 200;
    co_return reply(r, answer.record, status);
  }
  co_return Reply{200, base::make_bytes(deleted_text(r->group, r->resource, name, attributes_of(*answer.record).uid)), nullptr};
}

Task<Result<Reply>> Operations::remove_collection(Target t, Call& call, DeleteRequest q, ListRequest selected) {
  CO_TRY(ListAnswer found, co_await registry_.list(t.resource, t.ns, std::move(selected)));
  object meta{{"resourceVersion", std::to_string(found.revision)}};
  if (!found.continue_token.empty()) meta["continue"] = found.continue_token;
  if (found.remaining > 0) meta["remainingItemCount"] = found.remaining;
  std::string text = fmt::format(R"({{"kind":"{}","apiVersion":"{}","metadata":{},"items":[)", t.resource->kind->list_kind,
                                 t.resource->api_version, base::to_text(meta));
  bool first = true;
  for (const RecordPtr& record : found.records) {
    Target one = t;
    one.name = name_in_key(record->key);
    if (t.resource->namespaced) one.ns = namespace_in_key(record->key);
    auto gone = co_await registry_.remove(std::move(one), call, q);
    if (!gone && gone.error().code != 404) co_return std::unexpected(std::move(gone).error());
    if (!gone) continue;
    if (!first) text += ',';
    first = false;
    text += *registry_.present(*t.resource, gone->record);
  }
  text += "]}";
  co_return Reply{200, base::make_bytes(std::move(text)), nullptr};
}

}  // namespace server
