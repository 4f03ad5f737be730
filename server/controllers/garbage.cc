#include <mutex>

#include <fmt/format.h>

#include "api/schema.h"
#include "base/log.h"
#include "server/controllers/controllers.h"
#include "server/controllers/kinds.h"
#include "server/controllers/objects.h"
#include "server/controllers/owner_graph.h"

namespace server::controllers {
namespace {

namespace json = base::json;
using Presence = OwnerGraph::Presence;
using Head = meta::PartialObjectMetadata;

bool has_finalizer(const meta::ObjectMeta& m, std::string_view f) {
  return std::find(m.finalizers.begin(), m.finalizers.end(), f) != m.finalizers.end();
}

// Converges: objects all of whose owners have gone to nothing; objects deleted in the foreground or orphaning to that.
//
// Follows every resource, but reads only the metadata of objects that name an owner or are being deleted with a finalizer of its own. Keys are
// "<resource number>/<namespace>/<name>". Before anything is deleted, the object and its owners are read live: what is remembered only says where to look.
class GarbageCollector final : public Controller {
 public:
  explicit GarbageCollector(Context& c) : Controller(c), kinds_(c) {
    kinds_.on_change([this] { follow_new(); });
  }
  std::string_view name() const override { return "garbagecollector"; }
  int workers() const override { return 8; }
  void started() override {
    {
      std::scoped_lock lock(mutex_);
      started_ = true;
    }
    follow_new();
  }

  Task<Result<Requeue>> reconcile(ObjectKey key) override {
    auto at = locate(key);
    if (!at) co_return Requeue{};
    CO_TRY(std::optional<Head> head, co_await read(at->kind.resource, at->key));
    if (!head) co_return Requeue{};
    const meta::ObjectMeta& m = head->metadata;
    if (deleting(m)) {
      if (has_finalizer(m, "orphan")) co_return co_await orphan(*at, m);
      if (has_finalizer(m, "foregroundDeletion")) co_return co_await in_foreground(*at, m, key.text());
      co_return Requeue{};
    }
    if (m.ownerReferences.empty()) co_return Requeue{};
    std::vector<meta::OwnerReference> solid, waiting;
    for (const auto& ref : m.ownerReferences) {
      CO_TRY(State s, co_await state_of(ref, at->kind, m.namespace_));
      if (s == State::there) solid.push_back(ref);
      else if (s == State::ending) waiting.push_back(ref);
    }
    if (solid.size() == m.ownerReferences.size()) co_return Requeue{};
    if (!solid.empty()) co_return co_await keep_owners(*at, m, solid);
    // Nobody owns it any more.
    api::DeleteOptions options;
    options.uid = m.uid;
    bool blocks = false, circle = false;
    for (const auto& d : graph_.dependents(m.uid)) {
      blocks = blocks || d.blocks;
      circle = circle || d.ending;
    }
    // Owners that wait for this one may in turn be what its dependents wait for: it holds nobody up then.
    if (!waiting.empty() && circle) CO_CHECK_OK(co_await unblock(*at, m));
    options.propagation_policy = has_finalizer(m, "orphan")                                               ? "Orphan"
                                 : (!waiting.empty() && blocks) || has_finalizer(m, "foregroundDeletion") ? "Foreground"
                                                                                                          : "Background";
    auto r = co_await client_.remove(at->kind.resource, at->key, std::move(options));
    if (!r && !base::is_not_found(r.error()) && !base::is_conflict(r.error())) co_return std::unexpected(std::move(r).error());
    co_return Requeue{};
  }

 private:
  struct Place {
    StoredKind kind;
    ObjectKey key;
  };
  enum class State { there, ending, gone };

  std::optional<Place> locate(const ObjectKey& key) const {
    size_t number = size_t(std::atoi(key.ns.c_str()));
    std::scoped_lock lock(mutex_);
    if (number >= followed_.size()) return std::nullopt;
    return Place{followed_[number], ObjectKey::parse(key.name)};
  }

  Task<Result<std::optional<Head>>> read(api::Resource resource, ObjectKey key) {
    auto r = co_await client_.get(std::move(resource), std::move(key));
    if (!r && base::is_not_found(r.error())) co_return std::optional<Head>{};
    if (!r) co_return std::unexpected(std::move(r).error());
    CO_TRY(Head head, api::decode<Head>(std::string_view(**r)));
    co_return std::optional<Head>(std::move(head));
  }

  Task<Result<State>> state_of(const meta::OwnerReference& ref, const StoredKind& dependent, const std::string& ns) {
    Presence known = graph_.presence(ref.uid);
    if (known == Presence::absent) co_return State::gone;
    auto kind = kinds_.find(ref.apiVersion, ref.kind);
    // Unknown kinds, and owners in a namespace for a dependent without one, cannot be resolved: never a reason to delete.
    if (!kind || (kind->namespaced && !dependent.namespaced)) co_return State::there;
    CO_TRY(std::optional<Head> owner, co_await read(kind->resource, {kind->namespaced ? ns : "", ref.name}));
    if (!owner || owner->metadata.uid != ref.uid) {
      graph_.set_presence(ref.uid, Presence::absent);
      co_return State::gone;
    }
    graph_.set_presence(ref.uid, Presence::present);
    co_return deleting(owner->metadata) && has_finalizer(owner->metadata, "foregroundDeletion") ? State::ending : State::there;
  }

  Task<Result<Requeue>> patch_metadata(const Place& at, const meta::ObjectMeta& m, json::object change) {
    change["uid"] = m.uid;
    change["resourceVersion"] = m.resourceVersion;
    json::object body{{"metadata", std::move(change)}};
    auto r = co_await client_.patch(at.kind.resource, at.key, api::PatchType::merge, base::to_text(body));
    if (!r && !base::is_not_found(r.error())) co_return std::unexpected(std::move(r).error());
    co_return Requeue{};
  }

  Task<Result<Requeue>> keep_owners(const Place& at, const meta::ObjectMeta& m, const std::vector<meta::OwnerReference>& owners) {
    json::array list;
    for (const auto& o : owners) list.push_back(api::encode_json(o));
    co_return co_await patch_metadata(at, m, {{"ownerReferences", std::move(list)}});
  }
  Task<Result<>> unblock(const Place& at, const meta::ObjectMeta& m) {
    json::array list;
    for (meta::OwnerReference o : m.ownerReferences) {
      o.blockOwnerDeletion = false;
      list.push_back(api::encode_json(o));
    }
    CO_CHECK_OK(co_await patch_metadata(at, m, {{"ownerReferences", std::move(list)}}));
    co_return Result<>{};
  }
  Task<Result<Requeue>> drop_finalizer(const Place& at, const meta::ObjectMeta& m, std::string finalizer) {
    json::array list;
    for (const auto& f : m.finalizers)
      if (f != finalizer) list.emplace_back(f);
    co_return co_await patch_metadata(at, m, {{"finalizers", std::move(list)}});
  }

  Task<Result<Requeue>> orphan(const Place& at, const meta::ObjectMeta& m) {
    for (const auto& d : graph_.dependents(m.uid)) {
      auto place = locate(ObjectKey::parse(d.key));
      if (!place) continue;
      CO_TRY(std::optional<Head> head, co_await read(place->kind.resource, place->key));
      if (!head) continue;
      std::vector<meta::OwnerReference> others = head->metadata.ownerReferences;
      std::erase_if(others, [&](const auto& o) { return o.uid == m.uid; });
      if (others.size() != head->metadata.ownerReferences.size()) CO_CHECK_OK(co_await keep_owners(*place, head->metadata, others));
    }
    co_return co_await drop_finalizer(at, m, "orphan");
  }

  Task<Result<Requeue>> in_foreground(const Place& at, const meta::ObjectMeta& m, std::string key) {
    graph_.waits(m.uid, key);
    bool blocked = false;
    for (const auto& d : graph_.dependents(m.uid)) {
      blocked = blocked || d.blocks;
      if (!d.ending) queue().add(d.key);  // in a circle of owners this would go round for ever
    }
    if (blocked) co_return Requeue{};  // the last dependent's end brings us back
    co_return co_await drop_finalizer(at, m, "foregroundDeletion");
  }

  // Begins to follow resources that are not followed yet.
  void follow_new() {
    std::scoped_lock lock(mutex_);
    if (!started_) return;
    for (StoredKind& k : kinds_.all()) {
      if (k.resource.resource == "events" || k.resource.resource == "leases") continue;
      if (std::any_of(followed_.begin(), followed_.end(), [&](const StoredKind& f) { return f.resource == k.resource; })) continue;
      followed_.push_back(k);
      context_.tasks.spawn("garbage collector", follow(k, followed_.size() - 1));
    }
  }

  Task<> follow(StoredKind kind, size_t number) {
    const std::string prefix = std::to_string(number) + "/";
    Duration delay = std::chrono::milliseconds(100);
    bool first = true;
    for (;;) {
      auto revision = co_await list(kind, prefix, std::exchange(first, false));
      if (revision) {
        delay = std::chrono::milliseconds(100);
        auto ended = co_await watch_from(kind, prefix, std::move(*revision));
        if (!ended && ended.error().code != 410)
          base::log::debug("garbagecollector", "{}: {}", kind.resource.resource, ended.error().message);
      } else {
        base::log::debug("garbagecollector", "{}: {}", kind.resource.resource, revision.error().message);
        if (base::is_not_found(revision.error()) &&
            !kinds_.find(kind.resource.group + (kind.resource.group.empty() ? "" : "/") + kind.resource.version, kind.kind)) {
          std::scoped_lock lock(mutex_);
          followed_[number] = {};  // the definition has gone
          co_return;
        }
        delay = std::min<Duration>(delay * 2, std::chrono::minutes(1));
      }
      co_await base::sleep_for(delay);
    }
  }

  // True when the object may matter: most have no owner and are not parsed.
  static bool interesting(std::string_view object) {
    return object.find("\"ownerReferences\"") != object.npos || object.find("\"foregroundDeletion\"") != object.npos ||
           object.find("\"orphan\"") != object.npos;
  }

  void seen(const std::string& key, const Head& head) {
    for (std::string& k : graph_.put(key, head.metadata)) queue().add(std::move(k));
    if (deleting(head.metadata) && (has_finalizer(head.metadata, "orphan") || has_finalizer(head.metadata, "foregroundDeletion")))
      queue().add(key);
  }

  Task<Result<std::string>> list(StoredKind kind, std::string prefix, bool first) {
    std::set<std::string> listed;
    api::ListOptions options;
    options.limit = 500;
    for (;;) {
      auto page = co_await client_.list(kind.resource, {}, options);
      if (!page) co_return std::unexpected(std::move(page).error());
      for (const api::Bytes& b : page->items) {
        if (!interesting(*b)) continue;
        CO_TRY(Head head, api::decode<Head>(std::string_view(*b)));
        std::string key = prefix + ObjectKey{head.metadata.namespace_, head.metadata.name}.text();
        seen(key, head);
        listed.insert(std::move(key));
      }
      if (page->continue_token.empty()) {
        if (!first)
          for (std::string& k : graph_.retain(prefix, listed)) queue().add(std::move(k));
        co_return page->resource_version;
      }
      options.continue_token = page->continue_token;
    }
  }

  Task<Result<>> watch_from(StoredKind kind, std::string prefix, std::string revision) {
    api::WatchOptions options;
    options.resource_version = std::move(revision);
    CO_TRY(std::unique_ptr<api::Watch> watch, co_await client_.watch(kind.resource, {}, std::move(options)));
    for (;;) {
      CO_TRY(std::optional<api::WatchEvent> event, co_await watch->next());
      if (!event) co_return Result<>{};
      using Type = api::WatchEvent::Type;
      if (event->type == Type::bookmark) continue;
      bool gone = event->type == Type::deleted;
      // A change may have taken the last owner away; additions without owner cannot matter.
      if (!gone && !interesting(*event->object) && (event->type == Type::added || !graph_.follows(prefix))) continue;
      CO_TRY(Head head, api::decode<Head>(std::string_view(*event->object)));
      std::string key = prefix + ObjectKey{head.metadata.namespace_, head.metadata.name}.text();
      if (!gone) {
        seen(key, head);
        continue;
      }
      for (std::string& k : graph_.removed(key, head.metadata.uid)) queue().add(std::move(k));
    }
  }

  Kinds kinds_;
  OwnerGraph graph_;
  mutable std::mutex mutex_;  // guards what follows
  bool started_ = false;
  std::vector<StoredKind> followed_;
};

}  // namespace

Made make_garbage_collector(Context& c) { return std::make_unique<GarbageCollector>(c); }

}  // namespace server::controllers
