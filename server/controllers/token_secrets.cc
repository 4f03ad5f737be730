#include "server/controllers/controllers.h"
#include "server/controllers/objects.h"

namespace server::controllers {
namespace {

constexpr const char* secret_type = "kubernetes.io/service-account-token";
constexpr const char* account_name = "kubernetes.io/service-account.name";
constexpr const char* account_uid = "kubernetes.io/service-account.uid";

// Converges: every Secret of type kubernetes.io/service-account-token holds a token of the ServiceAccount it names, the CA and the namespace, and goes
// with its ServiceAccount.
class TokenSecrets final : public Controller {
 public:
  explicit TokenSecrets(Context& c)
      : Controller(c), secrets_(c.informers.get<core::Secret>({}, only_tokens())), accounts_(informer<core::ServiceAccount>()) {
    secrets_.on_change([this](const auto&, const auto& after) {
      if (after) enqueue(after->metadata);
    });
    accounts_.on_change([this](const auto& before, const auto& after) {
      const auto& account = (after ? after : before)->metadata;
      for (const auto& s : secrets_.list(account.namespace_))
        if (annotation(s->metadata, account_name) == account.name) enqueue(s->metadata);
    });
  }
  std::string_view name() const override { return "serviceaccount-token"; }

  Task<Result<Requeue>> reconcile(ObjectKey key) override {
    auto secret = secrets_.get(key);
    if (!secret || deleting(secret->metadata) || !context_.options.secret_token) co_return Requeue{};
    const std::string named = annotation(secret->metadata, account_name), uid = annotation(secret->metadata, account_uid);
    if (named.empty()) co_return Requeue{};
    // The live object decides: a Secret may be seen before its account.
    auto account = co_await api::get<core::ServiceAccount>(client_, {key.ns, named});
    if (!account && !base::is_not_found(account.error())) co_return std::unexpected(std::move(account).error());
    if (!account || (!uid.empty() && uid != account->metadata.uid)) co_return co_await drop(secret);
    core::Secret now = *secret;
    now.metadata.annotations[account_uid] = account->metadata.uid;
    now.data["namespace"] = key.ns;
    now.data["ca.crt"] = context_.options.root_ca_pem;
    if (std::string& token = now.data["token"]; token.empty()) {
      auto made = context_.options.secret_token(key.ns, named, account->metadata.uid, key.name);
      if (!made) co_return std::unexpected(std::move(made).error());
      token = std::move(*made);
    }
    if (now.data == secret->data && now.metadata.annotations == secret->metadata.annotations) co_return Requeue{};
    auto r = co_await api::update(client_, std::move(now));
    if (!r && !base::is_not_found(r.error())) co_return std::unexpected(std::move(r).error());
    co_return Requeue{};
  }

 private:
  static api::ListOptions only_tokens() {
    api::ListOptions out;
    out.field_selector = std::string("type=") + secret_type;
    return out;
  }

  Task<Result<Requeue>> drop(std::shared_ptr<const core::Secret> secret) {
    api::DeleteOptions options;
    options.uid = secret->metadata.uid;
    options.resource_version = secret->metadata.resourceVersion;
    auto r = co_await api::remove<core::Secret>(client_, {secret->metadata.namespace_, secret->metadata.name}, std::move(options));
    if (!r && !base::is_not_found(r.error())) co_return std::unexpected(std::move(r).error());
    co_return Requeue{};
  }

  api::Informer<core::Secret>& secrets_;
  api::Informer<core::ServiceAccount>& accounts_;
};

}  // namespace

Made make_token_secrets(Context& c) { return std::make_unique<TokenSecrets>(c); }

}  // namespace server::controllers
