// Update: one loop for PUT, every kind of PATCH and the subresources that change a stored object.
#include <fmt/format.h>

#include "api/apply.h"
#include "api/defaults.h"
#include "api/validation/validate.h"
#include "base/time.h"
#include "server/apiserver/registry/write.h"

namespace server {

using base::json::object;
using base::json::value;

namespace {

Result<> check_preconditions(const ResourceInfo& r, const std::string& name, const datastore::Record& live,
                             const Registry::UpdateOptions& options, const object& now) {
  auto uid_differs = [&](std::string_view wanted) {
    return base::conflict(
        r.qualified, name,
        fmt::format("Precondition failed: UID in precondition: {}, UID in object meta: {}", wanted, attributes_of(live).uid));
  };
  const std::string& uid = attributes_of(live).uid;
  if (!options.uid.empty() && options.uid != uid) return uid_differs(options.uid);
  if (std::string_view wanted = text_of(metadata_of(now), "uid"); !wanted.empty() && wanted != uid) return uid_differs(wanted);
  std::string revision = std::to_string(live.revision);
  if (!options.resource_version.empty() && options.resource_version != revision) return modified_meanwhile(r, name);
  std::string_view version = text_of(metadata_of(now), "resourceVersion");
  if (!version.empty() && version != "0" && version != revision) return modified_meanwhile(r, name);
  if (options.replace && (version.empty() || version == "0") && !r.stored->strategy->may_update_without_version())
    return base::invalid(kind_name(r), name,
                         {{"FieldValueInvalid", "Invalid value: 0x0: must be specified for an update", "metadata.resourceVersion"}});
  return {};
}

void put_member(object& into, std::string_view name, const object& from) {
  if (const value* v = from.if_contains(name)) into[name] = *v;
  else into.erase(name);
}

bool same_member(const object& a, const object& b, std::string_view name) {
  const value *x = a.if_contains(name), *y = b.if_contains(name);
  return x && y ? *x == *y : x == y;
}

// Only what the subresource is about may differ from the live object.
void keep_apart(const ResourceInfo& s, const std::string& subresource, object& now, const object& before) {
  if (subresource == "status") {
    object result(before, now.storage());
    put_member(result, "status", now);
    object meta(std::move(metadata_of(now)));
    put_member(meta, "ownerReferences", metadata_of(before));
    result["metadata"] = std::move(meta);
    now = std::move(result);
  } else if (s.has_status) {
    put_member(now, "status", before);
  }
}

}  // namespace

Task<Result<RecordPtr>> Registry::update(Target t, Call& call, UpdateOptions options, Change change) {
  const ResourceInfo& r = *t.resource;
  const ResourceInfo& s = *r.stored;
  const std::string key = r.key(t.ns, t.name);
  const bool status = t.subresource == "status" && !options.system;
  for (int number = 0; number < most_attempts; ++number) {
    RecordPtr live = store_.get(key);
    if (!live) co_return base::not_found(r.qualified, t.name);
    base::JsonArena arena;
    CO_TRY(value before, decode(r, *live, arena));
    auto changed = change(before);
    if (!changed) co_return std::unexpected(std::move(changed).error());
    value now = std::move(*changed);
    if (!now.is_object()) co_return base::bad_request("the result is not an object");
    CO_CHECK_OK(check_preconditions(r, t.name, *live, options, now.get_object()));
    if (r.conversion) {
      r.conversion->to_stored(before.as_object());
      r.conversion->to_stored(now.as_object());
    }
    // What an older program has stored may lack defaults of today; they are no change of this writer's.
    if (t.subresource.empty()) {
      api::apply_defaults(*s.kind, before);
      api::normalise(*s.kind->type, before);
    }
    const object& b = before.get_object();
    std::vector<base::Cause> causes;
    {
      object& n = now.get_object();
      put_member(n, "apiVersion", b);
      put_member(n, "kind", b);
      check_system_fields(metadata_of(n), metadata_of(b), causes);
      keep_system_fields(metadata_of(n), metadata_of(b));
      if (text_of(metadata_of(n), "name") != t.name)
        co_return base::bad_request(
            fmt::format("the name of the object ({}) does not match the name on the URL ({})", text_of(metadata_of(n), "name"), t.name));
      if (!options.system) keep_apart(s, status ? "status" : "", n, b);
    }
    api::apply_defaults(*s.kind, now);
    object& n = now.get_object();
    // The writer owns what it changed, not what admission and allocation do then.
    api::normalise(*s.kind->type, now);
    if (!options.from_apply && !call.field_manager.empty())
      api::track_update(
          *s.kind, before, now,
          {call.field_manager, options.manager_subresource.empty() ? t.subresource : options.manager_subresource, base::now_rfc3339()});
    WriteAttempt attempt{s, store_, call, t.ns, t.name, t.subresource, {}, number};
    Admit admit{Operation::update, attempt, &now, &before};
    CO_CHECK_OK(co_await run_admission(admit, true));
    CO_CHECK_OK(s.strategy->prepare_update(attempt, n, b));
    api::normalise(*s.kind->type, now);
    validate_metadata(metadata_of(n), s.namespaced, s.name_rule, causes);
    validate_metadata_update(metadata_of(n), metadata_of(b), causes);
    for (base::Cause& c : api::validate_update(*s.kind, before, now, t.subresource)) causes.push_back(std::move(c));
    s.strategy->validate_update(attempt, n, b, causes);
    CO_CHECK_OK(check_causes(s, t.name, std::move(causes)));
    CO_CHECK_OK(co_await run_admission(admit, false));
    const bool differs = !same_desired(n, b) || (s.annotations_count && !same_member(metadata_of(n), metadata_of(b), "annotations"));
    if (s.generation_counts && !status && t.subresource != "binding" && differs) {
      const value* g = metadata_of(b).if_contains("generation");
      metadata_of(n)["generation"] = (g && g->is_int64() ? g->get_int64() : 0) + 1;
    }
    const bool deleting = attributes_of(*live).deleting;
    const int64_t grace = base::get_int(before, "metadata.deletionGracePeriodSeconds");
    const bool go = deleting && grace == 0 && !has_finalizers(metadata_of(n)) && s.strategy->may_go(n);
    if (!go && same_object(n, b)) co_return live;
    if (call.dry_run) co_return unsaved_record(s, key, now, live->revision);
    std::vector<datastore::Write> writes;
    if (go) {
      writes.push_back({.key = key, .value = nullptr, .expected = live->revision});
      s.strategy->on_gone(attempt, b);
    } else {
      writes.push_back(object_write(s, key, now, live->revision));
    }
    for (datastore::Write& w : attempt.also) writes.push_back(std::move(w));
    auto written = co_await store_.write(std::move(writes));
    if (written) {
      if (go) co_return unsaved_record(s, key, now, written->front()->revision);
      co_return std::move(written->front());
    }
    if (!base::is_conflict(written.error()) && !base::is_not_found(written.error())) co_return std::unexpected(std::move(written).error());
  }
  co_return modified_meanwhile(r, t.name);
}

}  // namespace server
