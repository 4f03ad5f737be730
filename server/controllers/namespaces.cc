#include <map>
#include <set>

#include <fmt/format.h>

#include "server/controllers/controllers.h"
#include "server/controllers/kinds.h"
#include "server/controllers/objects.h"
#include "server/controllers/parallel.h"

namespace server::controllers {
namespace {

struct Remains {
  std::map<std::string, int> instances;   // by resource
  std::map<std::string, int> finalizers;  // objects that wait for each
};

// Converges: a namespace that is being deleted to one without content; then takes the finalizer off. Pods go first, the rest when they have ended.
class Namespaces final : public Controller {
 public:
  explicit Namespaces(Context& c) : Controller(c), namespaces_(watch<core::Namespace>()), pods_(informer<core::Pod>()), kinds_(c) {
    pods_.on_change([this](const PodPtr& before, const PodPtr& after) {
      if (after) return;
      auto ns = namespaces_.get({}, before->metadata.namespace_);
      if (ns && deleting(ns->metadata)) enqueue(ns->metadata);
    });
  }
  std::string_view name() const override { return "namespace"; }
  int workers() const override { return 4; }

  Task<Result<Requeue>> reconcile(ObjectKey key) override {
    auto ns = namespaces_.get(key);
    if (!ns || !deleting(ns->metadata)) co_return Requeue{};
    if (std::find(ns->spec.finalizers.begin(), ns->spec.finalizers.end(), "kubernetes") == ns->spec.finalizers.end()) co_return Requeue{};
    Remains remains;
    auto kinds = kinds_.all();
    std::partition(kinds.begin(), kinds.end(),
                   [](const StoredKind& k) { return k.resource.group.empty() && k.resource.resource == "pods"; });
    bool removed_any = false;
    for (const StoredKind& k : kinds) {
      if (!k.namespaced) continue;
      CO_TRY(bool some, co_await remove_all(k, key.name));
      removed_any = removed_any || some;
      if (some) CO_CHECK_OK(co_await look(k, key.name, remains));
      if (&k == &kinds.front() && !remains.instances.empty()) break;  // pods that are ending
    }
    if (!remains.instances.empty()) {
      CO_CHECK_OK(co_await tell(*ns, remains));
      // Pods bring us back when they have gone; what waits for other finalizers is looked at again.
      co_return Requeue{remains.instances.contains("pods") ? std::chrono::seconds(15) : std::chrono::seconds(2)};
    }
    core::Namespace done = *ns;
    std::erase(done.spec.finalizers, "kubernetes");
    api::WriteOptions finalize;
    finalize.subresource = "finalize";
    auto r = co_await api::update(client_, std::move(done), std::move(finalize));
    if (!r && !base::is_not_found(r.error())) co_return std::unexpected(std::move(r).error());
    co_return Requeue{};
  }

 private:
  static bool absent(const base::Error& e) { return e.code == 404 || e.code == 405; }

  // Whether there was anything.
  Task<Result<bool>> remove_all(StoredKind kind, std::string ns) {
    bool some = false;
    api::ListOptions options;
    options.limit = 500;
    for (;;) {
      auto page = co_await client_.list(kind.resource, ns, options);
      if (!page && absent(page.error())) co_return false;
      if (!page) co_return std::unexpected(std::move(page).error());
      std::vector<Task<Result<>>> work;
      for (const api::Bytes& b : page->items) {
        CO_TRY(auto o, api::decode<meta::PartialObjectMetadata>(std::string_view(*b)));
        some = true;
        if (!deleting(o.metadata)) work.push_back(remove_one(kind.resource, {ns, o.metadata.name}));
      }
      if (!work.empty()) CO_CHECK_OK(co_await together(context_.tasks, std::move(work)));
      if (page->continue_token.empty()) co_return some;
      options.continue_token = page->continue_token;
    }
  }
  Task<Result<>> remove_one(api::Resource resource, ObjectKey key) {
    api::DeleteOptions options;
    options.propagation_policy = "Background";
    auto r = co_await client_.remove(std::move(resource), std::move(key), std::move(options));
    if (!r && !absent(r.error())) co_return std::unexpected(std::move(r).error());
    co_return Result<>{};
  }
  Task<Result<>> look(StoredKind kind, std::string ns, Remains& into) {
    auto page = co_await client_.list(kind.resource, ns, {});
    if (!page) co_return std::unexpected(std::move(page).error());
    std::string resource = kind.resource.group.empty() ? kind.resource.resource : kind.resource.resource + "." + kind.resource.group;
    for (const api::Bytes& b : page->items) {
      CO_TRY(auto o, api::decode<meta::PartialObjectMetadata>(std::string_view(*b)));
      ++into.instances[resource];
      for (const auto& f : o.metadata.finalizers) ++into.finalizers[f];
    }
    co_return Result<>{};
  }

  Task<Result<>> tell(const core::Namespace& ns, const Remains& remains) {
    core::Namespace changed = ns;
    auto& c = changed.status.conditions;
    auto now = base::WallClock::now();
    std::vector<std::string> resources, finalizers;
    for (const auto& [r, n] : remains.instances)
      resources.push_back(fmt::format("{} has {} resource instances", r.find('.') == std::string::npos ? r + "." : r, n));
    for (const auto& [f, n] : remains.finalizers) finalizers.push_back(fmt::format("{} in {} resource instances", f, n));
    bool any =
        set_condition(c, "NamespaceDeletionDiscoveryFailure", "False", "ResourcesDiscovered", "All resources successfully discovered", now);
    any |= set_condition(c, "NamespaceDeletionGroupVersionParsingFailure", "False", "ParsedGroupVersions",
                         "All legacy kube types successfully parsed", now);
    any |= set_condition(c, "NamespaceDeletionContentFailure", "False", "ContentDeleted",
                         "All content successfully deleted, may be waiting on finalization", now);
    any |= set_condition(c, "NamespaceContentRemaining", "True", "SomeResourcesRemain",
                         fmt::format("Some resources are remaining: {}", fmt::join(resources, ", ")), now);
    if (finalizers.empty())
      any |= set_condition(c, "NamespaceFinalizersRemaining", "False", "ContentHasNoFinalizers",
                           "All content-preserving finalizers finished", now);
    else
      any |= set_condition(c, "NamespaceFinalizersRemaining", "True", "SomeFinalizersRemain",
                           fmt::format("Some content in the namespace has finalizers remaining: {}", fmt::join(finalizers, ", ")), now);
    if (!any) co_return Result<>{};
    auto r = co_await api::update_status(client_, std::move(changed));
    if (!r && !base::is_not_found(r.error())) co_return std::unexpected(std::move(r).error());
    co_return Result<>{};
  }

  api::Informer<core::Namespace>& namespaces_;
  api::Informer<core::Pod>& pods_;
  Kinds kinds_;
};

}  // namespace

Made make_namespaces(Context& c) { return std::make_unique<Namespaces>(c); }

}  // namespace server::controllers
