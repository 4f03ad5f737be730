#include <mutex>

#include "api/quota.h"
#include "server/controllers/controllers.h"
#include "server/controllers/kinds.h"
#include "server/controllers/objects.h"

namespace server::controllers {
namespace {

namespace json = base::json;

// Converges: status of a ResourceQuota to what its namespace holds. Admission adds to it when objects are made; this gives back what has gone.
//
// Follows the resources that some quota counts, for their deletions. The write names the revision of the quota from before the count: what was charged
// meanwhile is never lost.
class ResourceQuotas final : public Controller {
 public:
  explicit ResourceQuotas(Context& c) : Controller(c), quotas_(informer<core::ResourceQuota>()), kinds_(c) {
    quotas_.on_change([this](const auto& before, const auto& after) {
      if (after && (!before || before->spec != after->spec || after->status.hard != after->spec.hard)) enqueue(after->metadata);
    });
  }
  std::string_view name() const override { return "resourcequota"; }

  Task<Result<Requeue>> reconcile(ObjectKey key) override {
    auto quota = quotas_.get(key);
    if (!quota || deleting(quota->metadata)) co_return Requeue{};
    const json::value spec = api::encode_json(*quota);
    std::set<std::string> resources;
    for (const auto& [name, hard] : quota->spec.hard) resources.insert(api::quota_resource(name));
    api::Amounts used;
    for (const StoredKind& k : kinds_.all()) {
      std::string qualified = k.resource.group.empty() ? k.resource.resource : k.resource.resource + "." + k.resource.group;
      if (!k.namespaced || !resources.contains(qualified)) continue;
      follow(k, qualified);
      CO_CHECK_OK(co_await count(k.resource, key.ns, qualified, spec, used));
    }
    core::ResourceQuota changed = *quota;
    changed.status.hard = quota->spec.hard;
    changed.status.used.clear();
    for (const auto& [name, hard] : quota->spec.hard) changed.status.used[name] = used[name].to_string();
    if (changed.status == quota->status) co_return Requeue{};
    auto r = co_await api::update_status(client_, std::move(changed));
    if (!r && !base::is_not_found(r.error())) co_return std::unexpected(std::move(r).error());
    co_return Requeue{};
  }

 private:
  Task<Result<>> count(api::Resource resource, std::string ns, std::string qualified, const json::value& quota, api::Amounts& used) {
    api::ListOptions options;
    options.limit = 500;
    for (;;) {
      CO_TRY(api::ListPage page, co_await client_.list(resource, ns, options));
      for (const api::Bytes& b : page.items) {
        CO_TRY(json::value o, base::parse_json(*b, 256));
        if (!api::quota_takes(quota, qualified, o)) continue;
        for (const auto& [name, q] : api::quota_charge(qualified, o)) used[name] += q;
      }
      if (page.continue_token.empty()) co_return Result<>{};
      options.continue_token = page.continue_token;
    }
  }

  void wake(const std::string& ns, const std::string& qualified) {
    for (const auto& q : quotas_.list(ns))
      for (const auto& [name, hard] : q->spec.hard)
        if (api::quota_resource(name) == qualified) {
          enqueue(q->metadata);
          break;
        }
  }

  void follow(StoredKind kind, std::string qualified) {
    {
      std::scoped_lock lock(mutex_);
      if (!followed_.insert(qualified).second) return;
    }
    context_.tasks.spawn("quotas on " + qualified, follow_until_gone(std::move(kind), std::move(qualified)));
  }

  Task<> follow_until_gone(StoredKind kind, std::string qualified) {
    Duration delay = std::chrono::milliseconds(100);
    for (;;) {
      auto ended = co_await watch_once(kind, qualified);
      if (!ended && base::is_not_found(ended.error())) break;
      delay = ended || base::is_expired(ended.error()) ? std::chrono::milliseconds(100)
                                                       : std::min<Duration>(delay * 2, std::chrono::minutes(1));
      co_await base::sleep_for(delay);
    }
    std::scoped_lock lock(mutex_);
    followed_.erase(qualified);
  }

  Task<Result<>> watch_once(StoredKind kind, std::string qualified) {
    api::ListOptions first;
    first.limit = 1;
    CO_TRY(api::ListPage page, co_await client_.list(kind.resource, {}, std::move(first)));
    api::WatchOptions options;
    options.resource_version = page.resource_version;
    CO_TRY(std::unique_ptr<api::Watch> watch, co_await client_.watch(kind.resource, {}, std::move(options)));
    wake({}, qualified);  // what happened before is counted now
    const bool pods = qualified == "pods", changes = qualified == "services" || qualified == "persistentvolumeclaims";
    for (;;) {
      CO_TRY(std::optional<api::WatchEvent> event, co_await watch->next());
      if (!event) co_return Result<>{};
      using Type = api::WatchEvent::Type;
      if (event->type == Type::bookmark || event->type == Type::added) continue;
      // A pod that has ended is charged no more; a service or claim may have become cheaper.
      bool ended = pods && (event->object->find("\"phase\":\"Succeeded\"") != std::string::npos ||
                            event->object->find("\"phase\":\"Failed\"") != std::string::npos);
      if (event->type == Type::modified && !changes && !ended) continue;
      CO_TRY(auto head, api::decode<meta::PartialObjectMetadata>(std::string_view(*event->object)));
      wake(head.metadata.namespace_, qualified);
    }
  }

  api::Informer<core::ResourceQuota>& quotas_;
  Kinds kinds_;
  std::mutex mutex_;
  std::set<std::string> followed_;  // guarded by mutex_
};

}  // namespace

Made make_resource_quota(Context& c) { return std::make_unique<ResourceQuotas>(c); }

}  // namespace server::controllers
