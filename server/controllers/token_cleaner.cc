#include "server/controllers/controllers.h"
#include "server/controllers/objects.h"

namespace server::controllers {
namespace {

// Converges: Secrets of bootstrap tokens, and of join tokens of limited life, go when their time has come.
class TokenCleaner final : public Controller {
 public:
  explicit TokenCleaner(Context& c) : Controller(c) {
    for (const char* type : {"bootstrap.kubernetes.io/token", "appliance.dev/join-token"}) {
      auto& i = c.informers.get<core::Secret>("kube-system", of_type(type));
      i.on_change([this](const auto&, const auto& after) {
        if (after) enqueue(after->metadata);
      });
      secrets_.push_back(&i);
    }
  }
  std::string_view name() const override { return "token-cleaner"; }

  Task<Result<Requeue>> reconcile(ObjectKey key) override {
    for (api::Informer<core::Secret>* i : secrets_)
      if (auto secret = i->get(key)) co_return co_await check(secret);
    co_return Requeue{};
  }

 private:
  static api::ListOptions of_type(const char* type) {
    api::ListOptions out;
    out.field_selector = std::string("type=") + type;
    return out;
  }

  Task<Result<Requeue>> check(std::shared_ptr<const core::Secret> secret) {
    auto entry = secret->data.find("expiration");
    if (entry == secret->data.end() || deleting(secret->metadata)) co_return Requeue{};
    auto end = base::parse_rfc3339(entry->second);
    // An end that cannot be read has passed.
    if (auto left = (end ? *end : WallTime()) - base::WallClock::now(); left > left.zero())
      co_return Requeue(std::chrono::duration_cast<Duration>(left) + std::chrono::milliseconds(1));
    api::DeleteOptions options;
    options.uid = secret->metadata.uid;
    auto r = co_await api::remove<core::Secret>(client_, {secret->metadata.namespace_, secret->metadata.name}, std::move(options));
    if (!r && !base::is_not_found(r.error()) && !base::is_conflict(r.error())) co_return std::unexpected(std::move(r).error());
    co_return Requeue{};
  }

  std::vector<api::Informer<core::Secret>*> secrets_;
};

}  // namespace

Made make_token_cleaner(Context& c) { return std::make_unique<TokenCleaner>(c); }

}  // namespace server::controllers
