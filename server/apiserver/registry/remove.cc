// Deletion: preconditions, finalizers and propagation, grace, and the end.
#include <fmt/format.h>

#include "base/time.h"
#include "server/apiserver/registry/write.h"

namespace server {

using base::json::object;
using base::json::value;

namespace {

Result<> check_preconditions(const ResourceInfo& r, const std::string& name, const datastore::Record& live, const DeleteRequest& q) {
  const std::string& uid = attributes_of(live).uid;
  if (!q.uid.empty() && q.uid != uid)
    return base::conflict(r.qualified, name,
                          fmt::format("Precondition failed: UID in precondition: {}, UID in object meta: {}", q.uid, uid));
  if (!q.resource_version.empty() && q.resource_version != std::to_string(live.revision))
    return base::conflict(r.qualified, name,
                          fmt::format("Precondition failed: ResourceVersion in precondition: {}, ResourceVersion in object meta: {}",
                                      q.resource_version, live.revision));
  return {};
}

// Finalizers that make the garbage collector orphan dependents, or delete them first.
void set_propagation(const ResourceInfo& r, object& meta, const DeleteRequest& q) {
  if (r.group.empty() && r.resource == "events") return;  // nothing depends on them
  // Said by nobody and not by the object either: old kinds keep what they made.
  if (q.propagation.empty() && !q.orphan_dependents_set) {
    if (r.orphans_by_default && !has_finalizer(meta, "foregroundDeletion")) set_finalizer(meta, "orphan", true);
    return;
  }
  if (q.propagation == "Orphan" || (q.orphan_dependents_set && q.orphan_dependents)) {
    set_finalizer(meta, "orphan", true);
    set_finalizer(meta, "foregroundDeletion", false);
  } else if (q.propagation == "Foreground") {
    set_finalizer(meta, "foregroundDeletion", true);
    set_finalizer(meta, "orphan", false);
  } else if (q.propagation == "Background" || q.orphan_dependents_set) {
    set_finalizer(meta, "orphan", false);
    set_finalizer(meta, "foregroundDeletion", false);
  }
}

}  // namespace

Task<Result<DeleteAnswer>> Registry::remove(Target t, Call& call, DeleteRequest q) {
  const ResourceInfo& r = *t.resource;
  const ResourceInfo& s = *r.stored;
  const std::string key = r.key(t.ns, t.name);
  if (s.orphans_by_default && s.resource == "jobs" && q.propagation.empty() && !q.orphan_dependents_set)
    call.warnings.push_back(
        "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set "
        "propagationPolicy=Orphan to suppress this warning");
  for (int number = 0; number < most_attempts; ++number) {
    RecordPtr live = store_.get(key);
    if (!live) co_return base::not_found(r.qualified, t.name);
    CO_CHECK_OK(check_preconditions(r, t.name, *live, q));
    CO_TRY(value before, decode(s, *live));
    const object& b = before.get_object();
    WriteAttempt attempt{s, store_, call, t.ns, t.name, {}, {}, number};
    CO_CHECK_OK(s.strategy->allow_delete(attempt, b));
    Admit admit{Operation::remove, attempt, nullptr, &before};
    CO_CHECK_OK(co_await run_admission(admit, false));

    value now = before;
    object& n = now.get_object();
    object& meta = metadata_of(n);
    set_propagation(s, meta, q);
    const bool deleting = attributes_of(*live).deleting;
    const int64_t pending = base::get_int(before, "metadata.deletionGracePeriodSeconds");
    int64_t grace = s.strategy->grace(b, q).value_or(0);
    if (grace < 0) grace = 1;
    // Grace can only become shorter.
    if (deleting && pending > 0 && (!q.grace_seconds || grace > pending)) grace = pending;
    if (deleting && pending == 0) grace = 0;
    const bool go = grace == 0 && !has_finalizers(meta) && s.strategy->may_go(n);
    if (!go) {
      if (!deleting || grace != pending) {
        auto from = base::WallClock::now();
        if (deleting && pending > 0) {
          // The moment the deletion was asked for, plus the shorter grace.
          if (auto t0 = base::parse_rfc3339(text_of(meta, "deletionTimestamp"))) from = std::min(from, *t0 - std::chrono::seconds(pending));
        }
        meta["deletionTimestamp"] = base::rfc3339(from + std::chrono::seconds(grace));
        meta["deletionGracePeriodSeconds"] = grace;
        if (!deleting)
          if (const value* g = meta.if_contains("generation"); g && g->is_int64()) meta["generation"] = g->get_int64() + 1;
      }
      if (same_object(n, b)) co_return DeleteAnswer{live, false};
      WriteAttempt changed{s, store_, call, t.ns, t.name, {}, {}, number};
      CO_CHECK_OK(s.strategy->prepare_update(changed, n, b));
      attempt.also = std::move(changed.also);
    }
    if (call.dry_run) co_return DeleteAnswer{unsaved_record(s, key, now, live->revision), go};
    std::vector<datastore::Write> writes;
    if (go) {
      writes.push_back({.key = key, .value = nullptr, .expected = live->revision});
      s.strategy->on_gone(attempt, b);
    } else {
      writes.push_back(object_write(s, key, now, live->revision));
    }
    for (datastore::Write& w : attempt.also) writes.push_back(std::move(w));
    auto written = co_await store_.write(std::move(writes));
    if (written) co_return DeleteAnswer{go ? live : std::move(written->front()), go};
    if (!base::is_conflict(written.error()) && !base::is_not_found(written.error())) co_return std::unexpected(std::move(written).error());
  }
  co_return modified_meanwhile(r, t.name);
}

}  // namespace server
