#include "server/apiserver/http/request_audit.h"

#include "api/protobuf.h"
#include "api/yaml.h"

namespace server {
namespace {

audit::Subject subject_of(const Exchange& x) {
  const RequestInfo& i = x.info;
  return {*x.user, i.verb, i.is_resource, i.group, i.resource, i.subresource, i.ns, i.name, i.path};
}

}  // namespace

void begin_audit(Exchange& x, std::optional<audit::Entry>& entry) {
  if (!x.auditor || x.audit) return;
  audit::Decision decision = x.auditor->decide(subject_of(x));
  if (decision.level == audit::Level::none) return;
  entry.emplace();
  entry->decision = decision;
  entry->received = base::WallClock::now();
  entry->user = x.user;
  x.audit = &*entry;
  audit_stage(x, audit::kReceived);
}

void audit_stage(const Exchange& x, audit::Stage stage) {
  if (!x.audit || (x.audit->decision.omitted & stage)) return;
  const audit::Entry& a = *x.audit;
  const RequestInfo& i = x.info;
  audit::Event e;
  e.level = a.decision.level;
  e.stage = stage;
  e.id = x.response.headers.get("Audit-Id");
  e.uri = x.request.target;
  e.verb = i.verb;
  std::string peer = x.request.stream().peer_address();
  e.source = std::string_view(peer).substr(0, peer.rfind(':'));
  if (e.source.starts_with('[') && e.source.ends_with(']')) e.source = e.source.substr(1, e.source.size() - 2);
  e.agent = x.request.headers.get("User-Agent");
  e.user = a.user.get();
  if (x.user != a.user) e.impersonated = x.user.get();
  e.is_resource = i.is_resource;
  e.group = i.group;
  e.version = i.version;
  e.resource = i.resource;
  e.subresource = i.subresource;
  e.ns = i.ns;
  e.name = i.name.empty() ? std::string_view(a.name) : std::string_view(i.name);
  e.uid = a.uid;
  e.received = a.received;
  e.at = stage == audit::kReceived ? a.received : base::WallClock::now();
  if (stage != audit::kReceived) {
    e.status = x.response.status;
    e.reason = a.reason;
    e.message = a.message;
    e.request_object = a.request_object;
    e.decision = a.authorized;
    e.annotations = &a.annotations;
  }
  if (stage == audit::kComplete) e.response_object = a.response_object;
  x.auditor->write(e);
}

void audit_request_body(Exchange& x, const Body& body) {
  if (!x.audit || !x.audit->keeps_request() || body.text.empty()) return;
  // The log holds JSON: other forms are translated, JSON is checked to be some.
  Result<base::json::value> v = body.form == Body::Form::protobuf || api::has_protobuf_envelope(body.text) ? api::from_protobuf(body.text)
                                : body.form == Body::Form::yaml                                            ? api::parse_yaml(body.text)
                                                                : base::parse_json(body.text, 256);
  if (v) x.audit->request_object = audit::kept_text(x.audit->decision, base::to_text(*v));
}

void audit_response(Exchange& x, std::span<const std::string_view> json) {
  if (!x.audit || !x.audit->keeps_response()) return;
  size_t size = 0;
  for (std::string_view part : json) size += part.size();
  if (size > audit::most_object) return;
  std::string text;
  text.reserve(size);
  for (std::string_view part : json) text += part;
  x.audit->response_object = audit::kept_text(x.audit->decision, std::move(text));
}

void audit_reply(Exchange& x, const Reply& reply) {
  if (!x.audit) return;
  if (x.info.name.empty() && x.info.verb == "create" && reply.resource) {
    const audit::Named made = audit::named_in(*reply.body);
    x.audit->name = made.name;
    x.audit->uid = made.uid;
  }
  std::string_view parts[] = {*reply.body};
  audit_response(x, parts);
}

}  // namespace server
