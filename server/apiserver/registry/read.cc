// Get and list.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "server/apiserver/registry/continue_token.h"
#include "server/apiserver/registry/keys.h"
#include "server/apiserver/registry/registry.h"
#include "server/apiserver/registry/revision.h"

namespace server {

Result<Revision> parse_revision(std::string_view text) {
  Revision out = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (error != std::errc() || end != text.data() + text.size())
    return base::bad_request(
        fmt::format("resourceVersion: Invalid value: \"{}\": strconv.ParseUint: parsing \"{}\": invalid syntax", text, text));
  return out;
}

Task<Result<>> wait_for_revision(const datastore::Store& store, Revision wanted) {
  if (store.revision() >= wanted) co_return Result<>{};
  // A list at that state, of nothing, is answered when the state is there.
  datastore::ListOptions options;
  options.limit = 1;
  options.at = wanted;
  auto there = co_await store.list("/none/", options);
  if (store.revision() >= wanted) co_return Result<>{};
  if (!there && there.error().code != 504) co_return std::unexpected(std::move(there).error());
  base::Error e = base::timeout(fmt::format("Too large resource version: {}, current: {}", wanted, store.revision())).error();
  e.causes.push_back({"ResourceVersionTooLarge", "Too large resource version", {}});
  e.retry_after_seconds = 1;
  co_return std::unexpected(std::move(e));
}

bool Selection::matches(const datastore::Record& record, bool namespaced) const {
  if (everything) return true;
  const Attributes& a = attributes_of(record);
  if (!labels.empty()) {
    bool ok = labels.matches([&](std::string_view key) -> std::optional<std::string_view> {
      auto it =
          std::lower_bound(a.labels.begin(), a.labels.end(), key, [](const auto& entry, std::string_view k) { return entry.first < k; });
      if (it == a.labels.end() || it->first != key) return std::nullopt;
      return std::string_view(it->second);
    });
    if (!ok) return false;
  }
  return fields.empty() || fields.matches([&](std::string_view field) -> std::string_view {
    if (field == "metadata.name") return name_in_key(record.key);
    if (field == "metadata.namespace") return namespaced ? namespace_in_key(record.key) : std::string_view();
    return a.field(field);
  });
}

std::string Selection::key(const ResourceInfo& r, const std::string& ns) const {
  if (fields.empty() || (r.namespaced && ns.empty())) return {};
  auto name = fields.required_value("metadata.name");
  return name && !name->empty() ? r.collection(ns) + *name : std::string();
}

namespace {

// Names of core events' fields in events.k8s.io.
std::string stored_field(const ResourceInfo& r, const std::string& field) {
  if (r.stored == &r || r.group != "events.k8s.io") return field;
  if (field.starts_with("regarding.")) return "involvedObject." + field.substr(10);
  if (field == "reportingController") return "reportingComponent";
  return field;
}

// Kinds whose fields Kubernetes converts one by one complain of an unknown one in their own words, the others name what every kind has.
std::string unknown_field(const ResourceInfo& r, bool has_own, const std::string& field) {
  if (r.group == "batch" && r.resource == "jobs") return fmt::format("field label \"{}\" not supported for Job", field);
  if (has_own) return fmt::format("field label not supported: {}", field);
  return fmt::format("\"{}\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"", field);
}

base::Failure bad_options(base::Cause cause) { return base::invalid("ListOptions.meta.k8s.io", "", {std::move(cause)}); }

}  // namespace

Result<> check_list_options(const ListRequest& q) {
  if (q.initial_events.has_value()) return bad_options(forbidden_field("sendInitialEvents", "sendInitialEvents is forbidden for list"));
  if (q.version_match.empty()) return {};
  if (q.resource_version.empty())
    return bad_options(forbidden_field("resourceVersionMatch", "resourceVersionMatch is forbidden unless resourceVersion is provided"));
  if (!q.continue_token.empty())
    return bad_options(forbidden_field("resourceVersionMatch", "resourceVersionMatch is forbidden when continue is provided"));
  if (q.version_match != "Exact" && q.version_match != "NotOlderThan")
    return bad_options(not_supported("resourceVersionMatch", q.version_match, {"Exact", "NotOlderThan", ""}));
  if (q.version_match == "Exact" && q.resource_version == "0")
    return bad_options(forbidden_field("resourceVersionMatch", "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\""));
  return {};
}

Result<> check_watch_options(const WatchRequest& q) {
  if (!q.initial_events.has_value()) {
    if (q.version_match.empty()) return {};
    return bad_options(
        forbidden_field("resourceVersionMatch", "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"));
  }
  if (q.version_match.empty())
    return bad_options(forbidden_field("resourceVersionMatch", "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"));
  if (q.version_match != "NotOlderThan") return bad_options(not_supported("resourceVersionMatch", q.version_match, {"NotOlderThan"}));
  return {};
}

Result<Selection> parse_selection(const ResourceInfo& r, std::string_view labels, std::string_view fields) {
  Selection out;
  if (!labels.empty()) {
    TRY(out.labels, api::LabelSelector::parse(labels));
    out.everything = false;
  }
  if (!fields.empty()) {
    auto parsed = api::FieldSelector::parse(fields);
    if (!parsed) return std::unexpected(std::move(parsed).error());
    out.everything = false;
    std::vector<std::string_view> known = api::selectable_fields(r.stored->group, r.stored->resource);
    std::string rewritten;
    for (const auto& q : parsed->requirements()) {
      std::string field = stored_field(r, q.field);
      if (field != "metadata.name" && field != "metadata.namespace" && std::find(known.begin(), known.end(), field) == known.end())
        return base::bad_request(unknown_field(r, !known.empty(), q.field));
      rewritten += fmt::format("{}{}{}{}", rewritten.empty() ? "" : ",", field, q.equal ? "=" : "!=", q.value);
    }
    if (r.stored == &r) {
      out.fields = std::move(*parsed);
    } else {
      TRY(out.fields, api::FieldSelector::parse(rewritten));
    }
  }
  return out;
}

Result<RecordPtr> Registry::get(const Target& t) const {
  RecordPtr record = store_.get(t.resource->key(t.ns, t.name));
  if (!record) return base::not_found(t.resource->qualified, t.name);
  return record;
}

Task<Result<ListAnswer>> Registry::list(const ResourceInfo* r, std::string ns, ListRequest q) const {
  std::string prefix = r->collection(ns);
  datastore::ListOptions options;
  CO_CHECK_OK(check_list_options(q));
  if (std::string one = q.selection.key(*r, ns); !one.empty() && q.limit == 0 && q.continue_token.empty()) prefix = std::move(one);
  if (!q.continue_token.empty()) {
    if (!q.resource_version.empty() && q.resource_version != "0")
      co_return base::bad_request("specifying resource version is not allowed when using continue");
    CO_TRY(ContinueToken token, decode_continue(q.continue_token));
    options.start_after = prefix + token.start;
    options.at = token.revision;
  } else if (!q.resource_version.empty() && q.resource_version != "0") {
    CO_TRY(Revision wanted, parse_revision(q.resource_version));
    CO_CHECK_OK(co_await wait_for_revision(store_, wanted));
    // Without a match a page of an old state is that state; anything else is at least as new.
    if (q.version_match == "Exact" || (q.version_match.empty() && q.limit > 0)) options.at = wanted;
  }
  ListAnswer out;
  // With a selector the limit counts what is selected, so pages of the store are read until it is reached.
  options.limit = q.limit == 0 ? 0 : q.selection.everything ? q.limit : std::max<size_t>(q.limit * 4, 500);
  for (;;) {
    auto page = co_await store_.list(prefix, options);
    if (!page) {
      if (page.error().code == 410 && !q.continue_token.empty()) {
        base::Error e =
            base::expired(
                "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
                "the continue parameter, or use the continue token in this response to retrieve the remainder of the results. "
                "Continuing with the provided token results in an inconsistent list - objects that were created, modified, or "
                "deleted between the time the first chunk was returned and now may show up in the list.")
                .error();
        e.causes.push_back({"continue", encode_continue({0, options.start_after.substr(prefix.size())}), {}});
        co_return std::unexpected(std::move(e));
      }
      if (page.error().code == 410)
        co_return base::expired(fmt::format("The resourceVersion for the provided list is too old: {}", options.at));
      co_return std::unexpected(std::move(page).error());
    }
    out.revision = page->revision;
    size_t used = 0;
    for (RecordPtr& record : page->records) {
      if (q.limit > 0 && out.records.size() == q.limit) break;
      ++used;
      options.start_after = record->key;
      if (q.selection.matches(*record, r->namespaced)) out.records.push_back(std::move(record));
    }
    bool more = page->more || used < page->records.size();
    if (!more) co_return out;
    if (out.records.size() == q.limit) {
      out.continue_token = encode_continue({out.revision, options.start_after.substr(prefix.size())});
      if (q.selection.everything) out.remaining = page->remaining + (page->records.size() - used);
      co_return out;
    }
    options.at = out.revision;
  }
}

Result<base::json::value> Registry::decode(const ResourceInfo& r, const datastore::Record& record, base::json::storage_ptr storage) const {
  auto parsed = base::parse_json(*record.value, 256, std::move(storage));
  if (!parsed || !parsed->is_object()) return base::internal(fmt::format("the stored object {} cannot be read", record.key));
  if (r.conversion) r.conversion->from_stored(parsed->get_object());
  return parsed;
}

Bytes Registry::present(const ResourceInfo& r, const RecordPtr& record) const {
  if (!r.conversion) return record->value;
  base::JsonArena arena;
  auto object = decode(r, *record, arena);
  return object ? base::make_bytes(base::to_text(*object)) : record->value;
}

}  // namespace server
