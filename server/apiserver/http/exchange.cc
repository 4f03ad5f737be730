#include "server/apiserver/http/exchange.h"

#include <fmt/format.h>

#include "api/protobuf.h"
#include "api/table.h"
#include "api/yaml.h"
#include "base/time.h"
#include "server/apiserver/http/compression.h"
#include "server/apiserver/http/item_cache.h"
#include "server/apiserver/http/request_audit.h"
#include "server/apiserver/http/status.h"

namespace server {

using base::json::array;
using base::json::object;
using base::json::value;

namespace {

Result<std::string> encode(const OutputForm& form, const value& v) {
  switch (form.encoding) {
    case OutputForm::Encoding::yaml: return api::to_yaml(v);
    case OutputForm::Encoding::protobuf: return api::to_protobuf(v);
    default: return form.pretty ? pretty_text(v) : base::to_text(v);
  }
}

Task<> send_value(Exchange& x, int status, const value& v) {
  auto text = encode(x.output, v);
  if (!text && x.output.encoding == OutputForm::Encoding::protobuf) {
    // No protobuf form: JSON is what every client reads.
    x.output.encoding = OutputForm::Encoding::json;
    text = encode(x.output, v);
  }
  x.response.status = text ? status : 500;
  x.response.headers.set("Content-Type", content_type(x.output.encoding));
  std::string body = text ? std::move(*text) : status_text(text.error());
  if (x.audit && x.audit->keeps_response() && x.audit->response_object.empty()) {
    std::string json = base::to_text(v);
    std::string_view parts[] = {json};
    audit_response(x, parts);
  }
  co_await send_body(x, body);
}

api::IncludeObject included(const OutputForm& form) {
  return form.include_object == "Object" ? api::IncludeObject::object
         : form.include_object == "None" ? api::IncludeObject::none
                                         : api::IncludeObject::metadata;
}

}  // namespace

object partial_metadata(const OutputForm& form, const value& o) {
  std::string_view version = form.meta_version();
  object out{{"kind", "PartialObjectMetadata"}, {"apiVersion", base::json::string_view(version.data(), version.size())}};
  if (const value* m = o.get_object().if_contains("metadata")) out["metadata"] = *m;
  return out;
}

std::string_view metadata_text(std::string_view stored) {
  constexpr std::string_view mark = "\"metadata\":";
  size_t begin = stored.find(mark);
  if (begin == stored.npos) return "{}";
  begin += mark.size();
  int depth = 0;
  bool quoted = false;
  for (size_t i = begin; i < stored.size(); ++i) {
    char c = stored[i];
    if (quoted) {
      if (c == '\\') ++i;
      else if (c == '"') quoted = false;
    } else if (c == '"') {
      quoted = true;
    } else if (c == '{') {
      ++depth;
    } else if (c == '}' && --depth == 0) {
      return stored.substr(begin, i + 1 - begin);
    }
  }
  return "{}";
}

std::string partial_head(const OutputForm& form) {
  return fmt::format(R"({{"kind":"PartialObjectMetadata","apiVersion":"{}","metadata":)", form.meta_version());
}

value shaped(const OutputForm& form, const ResourceInfo& r, value o, bool with_columns) {
  if (form.shape == OutputForm::Shape::whole) return o;
  const value* items = base::find(o, "items");
  if (form.shape == OutputForm::Shape::table)
    return api::make_table(*r.kind, o, included(form), base::now_rfc3339(), with_columns, form.meta_version());
  if (!items || !items->is_array()) return partial_metadata(form, o);
  std::string_view version = form.meta_version();
  object list{{"kind", "PartialObjectMetadataList"},
              {"apiVersion", base::json::string_view(version.data(), version.size())},
              {"metadata", o.get_object()["metadata"]}};
  array out;
  for (const value& item : items->get_array()) out.push_back(partial_metadata(form, item));
  list["items"] = std::move(out);
  return list;
}

void add_warnings(base::http::Response& response, const std::vector<std::string>& warnings) {
  size_t total = 0;
  for (const std::string& w : warnings) {
    std::string quoted;
    for (char c : w) {
      if (c == '"' || c == '\\') quoted += '\\';
      quoted += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
    }
    total += quoted.size();
    constexpr size_t most = 4096;
    if (total > most) return;
    response.headers.add("Warning", fmt::format("299 - \"{}\"", quoted));
  }
}

Task<> send_json(Exchange& x, int status, std::string_view text) {
  x.response.status = status;
  x.response.headers.set("Content-Type", "application/json");
  x.sent = text.size();
  co_await x.response.send(text);
}

Task<> send_text(Exchange& x, int status, std::string_view text) {
  x.response.status = status;
  x.response.headers.set("Content-Type", "text/plain; charset=utf-8");
  x.response.headers.set("X-Content-Type-Options", "nosniff");
  x.sent = text.size();
  co_await x.response.send(text);
}

Task<> send_error(Exchange& x, const base::Error& error) {
  if (x.response.started()) co_return;
  base::Error e = error;
  if (e.code == 504 && x.request.deadline && base::Clock::now() >= *x.request.deadline) {
    e = base::timeout("Timeout: request did not complete within the allotted timeout").error();
    x.response.headers.set("Connection", "close");  // what is left of the request is not waited for
  }
  if (x.audit) {
    x.audit->reason = e.reason;
    x.audit->message = e.message;
  }
  if (e.retry_after_seconds > 0) x.response.headers.set("Retry-After", std::to_string(e.retry_after_seconds));
  if (e.code == 401) x.response.headers.set("WWW-Authenticate", "Bearer");
  value status = status_object(e);
  // An expired continue token comes with one to go on with (docs of the list call).
  if (e.code == 410 && !e.causes.empty() && e.causes[0].reason == "continue") {
    status.as_object()["metadata"] = object{{"continue", e.causes[0].message}};
    status.as_object().erase("details");
  }
  x.output.shape = OutputForm::Shape::whole;
  co_await send_value(x, e.code, status);
}

Task<> send_reply(Exchange& x, const Reply& reply) {
  audit_reply(x, reply);
  if (x.output.plain() || (x.output.encoding == OutputForm::Encoding::json && !x.output.pretty && !reply.resource)) {
    x.response.status = reply.status;
    x.response.headers.set("Content-Type", "application/json");
    co_await send_body(x, *reply.body);
    co_return;
  }
  auto parsed = base::parse_json(*reply.body, 256);
  if (!parsed) {
    co_await send_error(x, parsed.error());
    co_return;
  }
  value v = reply.resource ? shaped(x.output, *reply.resource, std::move(*parsed)) : std::move(*parsed);
  co_await send_value(x, reply.status, v);
}

namespace {

using Parts = std::vector<std::string_view>;

// {head item,item,item}, gathered; what the views point at is the caller's.
Task<> send_gathered(Exchange& x, std::string_view type, const Parts& parts) {
  x.response.status = 200;
  x.response.headers.set("Content-Type", type);
  if (type == "application/json") audit_response(x, parts);
  co_await send_body(x, parts);
}

Task<> send_stored(Exchange& x, const Registry& registry, const ResourceInfo& r, const ListAnswer& list, const object& meta) {
  std::string head =
      fmt::format(R"({{"kind":"{}","apiVersion":"{}","metadata":{},"items":[)", r.kind->list_kind, r.api_version, base::to_text(meta));
  std::vector<Bytes> owned;
  Parts parts;
  parts.reserve(list.records.size() * 2 + 2);
  parts.push_back(head);
  for (const RecordPtr& record : list.records) {
    if (parts.size() > 1) parts.push_back(",");
    if (r.conversion) owned.push_back(registry.present(r, record));
    parts.push_back(r.conversion ? *owned.back() : *record->value);
  }
  parts.push_back("]}");
  co_await send_gathered(x, "application/json", parts);
}

Task<> send_partial(Exchange& x, const ListAnswer& list, const object& meta) {
  std::string head = fmt::format(R"({{"kind":"PartialObjectMetadataList","apiVersion":"{}","metadata":{},"items":[)",
                                 x.output.meta_version(), base::to_text(meta));
  std::string first = partial_head(x.output), further = "}," + first;
  Parts parts;
  parts.reserve(list.records.size() * 2 + 3);
  parts.push_back(head);
  for (const RecordPtr& record : list.records) {
    parts.push_back(parts.size() == 1 ? first : further);
    parts.push_back(metadata_text(*record->value));
  }
  parts.push_back(list.records.empty() ? "]}" : "}]}");
  co_await send_gathered(x, "application/json", parts);
}

// Object by object, so that never all of them are decoded at once.
Task<> send_table(Exchange& x, const Registry& registry, const ResourceInfo& r, const ListAnswer& list, const object& meta) {
  std::string text = fmt::format(R"({{"kind":"Table","apiVersion":"{}","metadata":{},"columnDefinitions":{},"rows":[)",
                                 x.output.meta_version(), base::to_text(meta), base::to_text(api::table_columns(*r.kind)));
  const std::string now = base::now_rfc3339();
  bool first = true;
  for (const RecordPtr& record : list.records) {
    base::JsonArena arena;
    auto item = registry.decode(r, *record, arena);
    if (!item) continue;
    if (!first) text += ',';
    first = false;
    text += base::to_text(api::table_row(*r.kind, *item, included(x.output), now, x.output.meta_version()));
  }
  text += "]}";
  Parts parts{text};
  co_await send_gathered(x, "application/json", parts);
}

Task<> send_protobuf(Exchange& x, const Registry& registry, ItemCache& items, const ResourceInfo& r, const ListAnswer& list,
                     const object& meta) {
  const bool partial = x.output.shape == OutputForm::Shape::partial;
  auto out = partial ? api::ProtobufList::begin("meta.k8s.io/v1", "PartialObjectMetadataList", meta)
                     : api::ProtobufList::begin(r.api_version, r.kind->list_kind, meta);
  if (!out) co_return co_await send_error(x, out.error());
  const std::vector<Bytes> kept = items.get(list.records, r, partial, [&](const datastore::Record& record) {
    base::JsonArena arena;
    auto item = registry.decode(r, record, arena);
    return item ? out->item(*item) : std::string();
  });
  size_t size = 0;
  for (const Bytes& item : kept) size += item->size();
  std::string head = out->head(size);
  Parts parts{head};
  parts.reserve(kept.size() + 2);
  for (const Bytes& item : kept) parts.push_back(*item);
  parts.push_back(out->tail());
  co_await send_gathered(x, content_type(OutputForm::Encoding::protobuf), parts);
}

}  // namespace

Task<> send_list(Exchange& x, const Registry& registry, ItemCache& items, const ResourceInfo& r, const ListAnswer& list) {
  object meta{{"resourceVersion", std::to_string(list.revision)}};
  if (!list.continue_token.empty()) meta["continue"] = list.continue_token;
  if (list.remaining > 0) meta["remainingItemCount"] = list.remaining;
  if (x.output.plain()) co_return co_await send_stored(x, registry, r, list, meta);
  if (x.output.encoding == OutputForm::Encoding::protobuf) co_return co_await send_protobuf(x, registry, items, r, list, meta);
  if (x.output.encoding == OutputForm::Encoding::json && !x.output.pretty && x.output.shape == OutputForm::Shape::table)
    co_return co_await send_table(x, registry, r, list, meta);
  if (x.output.encoding == OutputForm::Encoding::json && !x.output.pretty && !r.conversion) co_return co_await send_partial(x, list, meta);
  array objects;
  objects.reserve(list.records.size());
  for (const RecordPtr& record : list.records) {
    auto item = registry.decode(r, *record);
    if (item) objects.push_back(std::move(*item));
  }
  value whole =
      object{{"kind", r.kind->list_kind}, {"apiVersion", r.api_version}, {"metadata", std::move(meta)}, {"items", std::move(objects)}};
  value v = shaped(x.output, r, std::move(whole));
  co_await send_value(x, 200, v);
}

}  // namespace server
