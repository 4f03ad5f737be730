// Creation, and taking in what a client sent.
#include <fmt/format.h>

#include "api/apply.h"
#include "api/defaults.h"
#include "api/validation/validate.h"
#include "base/time.h"
#include "server/apiserver/registry/keys.h"
#include "server/apiserver/registry/write.h"

namespace server {

using base::json::object;
using base::json::value;

Result<> adopt(const Target& t, Call& call, value& v, std::vector<std::string> problems, std::string_view json_text) {
  const ResourceInfo& r = *t.resource;
  if (!v.is_object())
    return base::bad_request(fmt::format("the object provided is unrecognized (must be of type {}): not an object", r.kind->kind));
  // Copies, here and below: an insertion moves the members of a DOM object, and short texts with them.
  std::string version(text_of(v.get_object(), "apiVersion")), kind(text_of(v.get_object(), "kind"));
  if (version.empty()) version = r.api_version;
  if (kind.empty()) kind = r.kind->kind;
  if (version != r.api_version || kind != r.kind->kind)
    return base::bad_request(
        version != r.api_version
            ? fmt::format("the API version in the data ({}) does not match the expected API version ({})", version, r.api_version)
            : fmt::format("{0} in version \"{1}\" cannot be handled as a {2}: converting ({1}.{0}) to ({1}.{2}): unknown conversion", kind,
                          r.version, r.kind->kind));
  CHECK_OK(api::prune(*r.kind, v, problems));
  if (!json_text.empty()) api::order_problems(json_text, problems);
  CHECK_OK(api::enforce(call.validation, *r.kind, problems));
  if (call.validation == api::FieldValidation::warn)
    for (std::string& p : problems) call.warnings.push_back(std::move(p));
  object& o = v.as_object();
  o["apiVersion"] = r.api_version;
  o["kind"] = r.kind->kind;
  object& meta = metadata_of(o);
  const std::string ns(text_of(meta, "namespace")), name(text_of(meta, "name"));
  if (r.namespaced) {
    if (!ns.empty() && ns != t.ns)
      return base::bad_request(fmt::format("the namespace of the provided object does not match the namespace sent on the request"));
    meta["namespace"] = t.ns;
  } else if (!ns.empty()) {
    meta.erase("namespace");  // as in Kubernetes: the scope is that of the request
  }
  if (!t.name.empty()) {
    if (!name.empty() && name != t.name)
      return base::bad_request(fmt::format("the name of the object ({}) does not match the name on the URL ({})", name, t.name));
    meta["name"] = t.name;
  }
  return {};
}

namespace {

// What a namespace must be for something new to appear in it.
Result<> check_namespace(const datastore::Store& store, const ResourceInfo& r, const std::string& ns, std::string_view name) {
  if (!r.namespaced) return {};
  RecordPtr record = store.get(object_key("", "namespaces", {}, ns));
  if (!record) return base::not_found("namespaces", ns);
  if (!attributes_of(*record).deleting) return {};
  base::Error e =
      base::forbidden(r.qualified, name, fmt::format("unable to create new content in namespace {} because it is being terminated", ns))
          .error();
  e.causes.push_back({"NamespaceTerminating", fmt::format("namespace {} is being terminated", ns), "metadata.namespace"});
  return std::unexpected(std::move(e));
}

}  // namespace

Task<Result<>> Registry::run_admission(Admit admit, bool mutating) {
  for (const auto& plugin : admission_) {
    if (!plugin->handles(admit)) continue;
    auto done = co_await (mutating ? plugin->mutate(admit) : plugin->validate(admit));
    if (!done) co_return std::unexpected(std::move(done).error());
  }
  co_return Result<>{};
}

Task<Result<RecordPtr>> Registry::create(Target t, Call& call, value v) {
  const ResourceInfo& r = *t.resource;
  const ResourceInfo& s = *r.stored;
  if (r.conversion) r.conversion->to_stored(v.as_object());
  object& o = v.as_object();
  if (std::string_view version = text_of(metadata_of(o), "resourceVersion"); !version.empty() && version != "0")
    co_return base::bad_request("resourceVersion should not be set on objects to be created");
  if (s.has_status && !s.strategy->keeps_status_on_create()) o["status"] = object{};
  object& meta = metadata_of(o);  // after what inserts into o
  std::string prefix(text_of(meta, "generateName"));
  bool generate = text_of(meta, "name").empty() && !prefix.empty();
  constexpr size_t suffix = 5, longest = 63;
  if (prefix.size() > longest - suffix) prefix.resize(longest - suffix);
  if (generate) meta["name"] = prefix + name_suffix_(suffix);
  fill_new(meta, s.namespaced ? t.ns : std::string(), s.has_generation);
  CO_CHECK_OK(check_namespace(store_, r, t.ns, text_of(meta, "name")));
  api::apply_defaults(*s.kind, v);

  // A transaction that lost a race for a generated name or for something allocated is repeated from this state.
  constexpr int names = 8;
  int name_tries = 0;
  for (int number = 0; number < most_attempts; ++number) {
    value attempt_value(v, v.storage());
    object& a = attempt_value.as_object();
    std::string name(text_of(metadata_of(a), "name"));
    // The writer owns what it said and its defaults, not what admission and allocation add.
    api::normalise(*s.kind->type, attempt_value);
    if (!call.field_manager.empty() && !call.from_apply)
      api::track_update(*s.kind, value(), attempt_value, {call.field_manager, {}, base::now_rfc3339()});
    WriteAttempt attempt{s, store_, call, t.ns, name, {}, {}, number};
    Admit admit{Operation::create, attempt, &attempt_value, nullptr};
    CO_CHECK_OK(co_await run_admission(admit, true));
    CO_CHECK_OK(s.strategy->prepare_create(attempt, a));
    api::normalise(*s.kind->type, attempt_value);
    std::vector<base::Cause> causes;
    validate_metadata(metadata_of(a), s.namespaced, s.name_rule, causes);
    for (base::Cause& c : api::validate_create(*s.kind, attempt_value)) causes.push_back(std::move(c));
    s.strategy->validate_create(attempt, a, causes);
    CO_CHECK_OK(check_causes(s, name, std::move(causes)));
    CO_CHECK_OK(co_await run_admission(admit, false));
    std::string key = s.key(t.ns, name);
    if (call.dry_run) {
      if (store_.get(key)) co_return base::already_exists(r.qualified, name);
      co_return unsaved_record(s, key, attempt_value, 0);
    }
    std::vector<datastore::Write> writes;
    writes.push_back(object_write(s, key, attempt_value, 0));
    for (datastore::Write& w : attempt.also) writes.push_back(std::move(w));
    auto written = co_await store_.write(std::move(writes));
    if (written) co_return std::move(written->front());
    if (!base::is_conflict(written.error())) co_return std::unexpected(std::move(written).error());
    if (lost_race(written.error(), key)) {
      if (!generate) co_return base::already_exists(r.qualified, name);
      if (++name_tries >= names) {
        base::Error e = base::already_exists(r.qualified, name).error();
        e.message += ", the server was not able to generate a unique name for the object";
        e.retry_after_seconds = 1;
        co_return std::unexpected(std::move(e));
      }
      metadata_of(v.as_object())["name"] = prefix + name_suffix_(suffix);
    }
  }
  co_return base::internal(fmt::format("{} \"{}\" could not be written: too many changes at the same time", r.qualified,
                                       text_of(metadata_of(v.as_object()), "name")));
}

}  // namespace server
