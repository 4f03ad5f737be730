#include "server/apiserver/http/resource_handler.h"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

#include "api/protobuf.h"
#include "api/yaml.h"
#include "server/apiserver/http/request_audit.h"
#include "server/apiserver/registry/revision.h"
#include "server/apiserver/registry/write.h"

namespace server {

using base::json::value;

namespace {

Result<int64_t> number(std::string_view name, std::string_view text, int64_t otherwise) {
  if (text.empty()) return otherwise;
  int64_t out = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (error != std::errc() || end != text.data() + text.size())
    return base::bad_request(fmt::format("{}: Invalid value: \"{}\": strconv.ParseInt: parsing \"{}\": invalid syntax", name, text, text));
  return out;
}

Result<bool> dry_run(std::string_view text, std::string_view options_kind) {
  if (text.empty()) return false;
  if (text == "All") return true;
  return base::invalid(std::string(options_kind) + ".meta.k8s.io", "", {not_supported("dryRun", text, {"All"})});
}

std::string manager_of(const Exchange& x) {
  std::string_view given = x.request.query.get("fieldManager");
  if (!given.empty()) return std::string(given);
  std::string_view agent = x.request.headers.get("User-Agent");
  agent = agent.substr(0, agent.find('/'));
  return std::string(agent.substr(0, 128));
}

Result<Call> call_of(const Exchange& x, std::string_view options_kind) {
  Call call;
  call.user = x.user;
  call.field_manager = manager_of(x);
  if (call.field_manager.size() > 128)
    return base::invalid(std::string(options_kind) + ".meta.k8s.io", "",
                         {{"FieldValueTooLong", "Too long: may not be more than 128 bytes", "fieldManager"}});
  TRY(call.dry_run, dry_run(x.request.query.get("dryRun"), options_kind));
  for (unsigned char c : call.field_manager)
    if (c < 0x20 || c == 0x7f)
      return base::invalid(std::string(options_kind) + ".meta.k8s.io", "",
                           {invalid_value("fieldManager", value(call.field_manager), "should only contain printable characters")});
  std::string_view validation = x.request.query.get("fieldValidation");
  auto mode = api::parse_field_validation(validation);
  if (!mode)
    return base::invalid(std::string(options_kind) + ".meta.k8s.io", "",
                         {not_supported("fieldValidation", validation, {"", "Ignore", "Strict", "Warn"})});
  call.validation = *mode;
  call.force = x.request.query.flag("force");
  return call;
}

bool has(const std::vector<std::string>& list, std::string_view wanted) {
  return std::find(list.begin(), list.end(), wanted) != list.end();
}

base::Failure not_allowed() {
  return base::fail(405, "MethodNotAllowed", "the server does not allow this method on the requested resource");
}
base::Failure no_such_page() { return base::fail(404, "NotFound", "the server could not find the requested resource"); }

// Which methods a subresource takes.
bool subresource_allows(std::string_view subresource, std::string_view verb) {
  if (subresource == "status" || subresource == "scale" || subresource == "ephemeralcontainers" || subresource == "resize" ||
      subresource == "approval")
    return verb == "get" || verb == "update" || verb == "patch";
  if (subresource == "binding" || subresource == "eviction" || subresource == "token") return verb == "create";
  if (subresource == "finalize") return verb == "update";
  return false;
}

// Kinds that are served and yet on their way out: every request for them is answered with a warning.
std::string_view deprecation(const ResourceInfo& r) {
  if (!r.group.empty()) return {};
  if (r.resource == "endpoints") return "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice";
  if (r.resource == "componentstatuses") return "v1 ComponentStatus is deprecated in v1.19+";
  return {};
}

}  // namespace

Result<ListRequest> list_request(const Exchange& x, const ResourceInfo& r) {
  const base::http::Query& q = x.request.query;
  ListRequest out;
  std::string fields(q.get("fieldSelector"));
  if (!x.info.name.empty()) fields += fmt::format("{}metadata.name={}", fields.empty() ? "" : ",", x.info.name);
  TRY(out.selection, parse_selection(r, q.get("labelSelector"), fields));
  TRY(int64_t limit, number("limit", q.get("limit"), 0));
  if (limit < 0) return base::bad_request("limit: Invalid value: must be greater than or equal to 0");
  out.limit = static_cast<size_t>(limit);
  out.continue_token = q.get("continue");
  out.resource_version = q.get("resourceVersion");
  out.version_match = q.get("resourceVersionMatch");
  if (q.has("sendInitialEvents")) out.initial_events = q.flag("sendInitialEvents");
  return out;
}

Result<DeleteRequest> delete_request(const Exchange& x, Call& call, const std::string& body, Body::Form form) {
  const base::http::Query& q = x.request.query;
  DeleteRequest out;
  if (q.has("gracePeriodSeconds")) {
    TRY(int64_t grace, number("gracePeriodSeconds", q.get("gracePeriodSeconds"), 0));
    out.grace_seconds = grace;
  }
  out.propagation = q.get("propagationPolicy");
  if (q.has("orphanDependents")) {
    out.orphan_dependents_set = true;
    out.orphan_dependents = q.flag("orphanDependents");
  }
  if (!body.empty()) {
    value v;
    if (form == Body::Form::protobuf || api::has_protobuf_envelope(body)) {
      TRY(v, api::from_protobuf(body));
    } else if (form == Body::Form::yaml) {
      TRY(v, api::parse_yaml(body));
    } else {
      TRY(v, base::parse_json(body));
    }
    if (const value* g = base::find(v, "gracePeriodSeconds"); g && !g->is_null()) {
      if (!g->is_int64()) return base::bad_request("DeleteOptions: gracePeriodSeconds must be a number");
      out.grace_seconds = g->get_int64();
    }
    std::string_view kind = base::get_string(v, "kind");
    if (!v.is_object() || (!kind.empty() && kind != "DeleteOptions"))
      return base::bad_request("decoded object cannot be converted to DeleteOptions");
    if (std::string_view p = base::get_string(v, "propagationPolicy"); !p.empty()) out.propagation = p;
    if (const value* o = base::find(v, "orphanDependents"); o && o->is_bool()) {
      out.orphan_dependents_set = true;
      out.orphan_dependents = o->get_bool();
    }
    out.uid = base::get_string(v, "preconditions.uid");
    out.resource_version = base::get_string(v, "preconditions.resourceVersion");
    if (const base::json::array* dry = base::find_array(v, "dryRun"))
      for (const value& d : *dry) {
        TRY(bool yes, dry_run(d.is_string() ? std::string_view(d.get_string()) : std::string_view("?"), "DeleteOptions"));
        call.dry_run = call.dry_run || yes;
      }
  }
  if (!out.propagation.empty() && out.propagation != "Background" && out.propagation != "Foreground" && out.propagation != "Orphan")
    return base::invalid("DeleteOptions.meta.k8s.io", "",
                         {not_supported("propagationPolicy", out.propagation, {"Foreground", "Background", "Orphan", "nil"})});
  if (!out.propagation.empty() && out.orphan_dependents_set)
    return base::invalid(
        "DeleteOptions.meta.k8s.io", "",
        {invalid_value("propagationPolicy", value(out.propagation), "orphanDependents and deletionPropagation cannot be both set")});
  return out;
}

Task<Result<Reply>> ResourceHandler::write(Exchange& x, Target t, Call& call) {
  const std::string& verb = x.info.verb;
  CO_TRY(std::string text, co_await x.request.body(body_limit));
  Body body;
  body.text = std::move(text);
  if (verb == "patch") {
    CO_TRY(api::PatchType type, patch_type(x.request));
    if (type == api::PatchType::apply) {
      body.form = Body::Form::yaml;
      call.field_manager = x.request.query.get("fieldManager");
    }
    audit_request_body(x, body);
    co_return co_await operations_.patch(std::move(t), call, type, std::move(body));
  }
  if (!body.text.empty()) {
    CO_TRY(body.form, body_form(x.request));
  }
  audit_request_body(x, body);
  if (verb == "delete" || verb == "deletecollection") {
    CO_TRY(DeleteRequest request, delete_request(x, call, body.text, body.form));
    if (verb == "delete") co_return co_await operations_.remove(std::move(t), call, std::move(request));
    CO_TRY(ListRequest selected, list_request(x, *t.resource));
    co_return co_await operations_.remove_collection(std::move(t), call, std::move(request), std::move(selected));
  }
  if (verb == "create") co_return co_await operations_.create(std::move(t), call, std::move(body));
  co_return co_await operations_.update(std::move(t), call, std::move(body));
}

Task<> ResourceHandler::handle(Exchange& x) {
  const RequestInfo& info = x.info;
  const ResourceInfo* r = x.resource;
  if (!r || (!info.subresource.empty() && !has(r->subresources, info.subresource))) {
    co_await send_error(x, no_such_page().error());
    co_return;
  }
  if (std::string_view old = deprecation(*r); !old.empty()) add_warnings(x.response, {std::string(old)});
  // The scope is that of the type, never of the path.
  Target t{r, r->namespaced ? info.ns : std::string(), info.name, info.subresource};
  bool scoped_wrongly = r->namespaced ? info.ns.empty() && info.verb != "list" && info.verb != "watch" && info.verb != "deletecollection"
                                      : !info.ns.empty() && r->resource != "namespaces";
  if (scoped_wrongly) {
    co_await send_error(x, no_such_page().error());
    co_return;
  }
  bool allowed = info.subresource.empty() ? has(r->verbs, info.verb) : subresource_allows(info.subresource, info.verb);
  if (info.subresource.empty() && info.verb == "create" && !info.name.empty()) allowed = false;
  if (info.subresource.empty() && (info.verb == "update" || info.verb == "patch") && info.name.empty()) allowed = false;
  if (r->namespaced && info.verb == "deletecollection" && info.ns.empty()) allowed = false;
  if (!allowed) {
    co_await send_error(x, not_allowed().error());
    co_return;
  }
  if (info.verb == "list") co_return co_await list(x, *r, t.ns);
  if (info.verb == "watch") co_return co_await watch(x, *r, t.ns);
  if (info.verb == "get") {
    // A version that this server has not seen yet is waited for.
    if (std::string_view version = x.request.query.get("resourceVersion"); !version.empty() && version != "0") {
      auto wanted = parse_revision(version);
      if (!wanted) co_return co_await send_error(x, wanted.error());
      auto there = co_await wait_for_revision(operations_.registry().store(), *wanted);
      if (!there) co_return co_await send_error(x, there.error());
    }
    auto reply = co_await operations_.get(std::move(t));
    if (reply) co_await send_reply(x, *reply);
    else co_await send_error(x, reply.error());
    co_return;
  }
  auto call = call_of(x, info.verb == "create"   ? "CreateOptions"
                         : info.verb == "update" ? "UpdateOptions"
                         : info.verb == "patch"  ? "PatchOptions"
                                                 : "DeleteOptions");
  if (!call) {
    co_await send_error(x, call.error());
    co_return;
  }
  auto reply = co_await write(x, std::move(t), *call);
  add_warnings(x.response, call->warnings);
  if (x.audit) x.audit->annotations = std::move(call->audit);
  if (reply) co_await send_reply(x, *reply);
  else co_await send_error(x, reply.error());
}

Task<> ResourceHandler::list(Exchange& x, const ResourceInfo& r, std::string ns) {
  auto request = list_request(x, r);
  if (!request) {
    co_await send_error(x, request.error());
    co_return;
  }
  auto answer = co_await operations_.registry().list(&r, std::move(ns), std::move(*request));
  if (answer) co_await send_list(x, operations_.registry(), items_, r, *answer);
  else co_await send_error(x, answer.error());
}

}  // namespace server
