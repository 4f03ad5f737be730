#include "server/controllers/controllers.h"
#include "server/controllers/objects.h"

namespace server::controllers {
namespace {

bool alive(const core::Namespace& ns) { return !deleting(ns.metadata) && ns.status.phase != "Terminating"; }

// Converges: every namespace has the ServiceAccount `default`.
class ServiceAccounts final : public Controller {
 public:
  explicit ServiceAccounts(Context& c) : Controller(c), namespaces_(watch<core::Namespace>()), accounts_(informer<core::ServiceAccount>()) {
    accounts_.on_change([this](const auto& before, const auto& after) {
      if (!after && before->metadata.name == "default") queue().add(before->metadata.namespace_);
    });
  }
  std::string_view name() const override { return "serviceaccount"; }

  Task<Result<Requeue>> reconcile(ObjectKey key) override {
    auto ns = namespaces_.get(key);
    if (!ns || !alive(*ns) || accounts_.get(key.name, "default")) co_return Requeue{};
    core::ServiceAccount account;
    account.metadata.name = "default";
    account.metadata.namespace_ = key.name;
    auto r = co_await api::create(client_, std::move(account));
    if (!r && !base::is_already_exists(r.error()) && !base::is_not_found(r.error())) co_return std::unexpected(std::move(r).error());
    co_return Requeue{};
  }

 private:
  api::Informer<core::Namespace>& namespaces_;
  api::Informer<core::ServiceAccount>& accounts_;
};

// Converges: every namespace has the ConfigMap kube-root-ca.crt with the certificate that pods verify the API server with.
class RootCa final : public Controller {
 public:
  explicit RootCa(Context& c)
      : Controller(c), namespaces_(watch<core::Namespace>()), maps_(c.informers.get<core::ConfigMap>({}, only_ours())) {
    maps_.on_change([this](const auto& before, const auto& after) { queue().add((after ? after : before)->metadata.namespace_); });
  }
  std::string_view name() const override { return "root-ca-cert-publisher"; }

  Task<Result<Requeue>> reconcile(ObjectKey key) override {
    auto ns = namespaces_.get(key);
    if (!ns || !alive(*ns) || context_.options.root_ca_pem.empty()) co_return Requeue{};
    auto existing = maps_.get(key.name, map_name);
    const std::map<std::string, std::string> data{{"ca.crt", context_.options.root_ca_pem}};
    if (existing && existing->data == data) co_return Requeue{};
    core::ConfigMap map;
    if (existing) map = *existing;
    map.metadata.name = map_name;
    map.metadata.namespace_ = key.name;
    map.metadata.annotations["kubernetes.io/description"] =
        "The certificate authority of the API server, for verifying its address inside the cluster.";
    map.data = data;
    Result<core::ConfigMap> r;
    if (existing) r = co_await api::update(client_, std::move(map));
    else r = co_await api::create(client_, std::move(map));
    if (!r && !base::is_already_exists(r.error()) && !base::is_not_found(r.error())) co_return std::unexpected(std::move(r).error());
    co_return Requeue{};
  }

 private:
  static constexpr const char* map_name = "kube-root-ca.crt";
  static api::ListOptions only_ours() {
    api::ListOptions out;
    out.field_selector = std::string("metadata.name=") + map_name;
    return out;
  }
  api::Informer<core::Namespace>& namespaces_;
  api::Informer<core::ConfigMap>& maps_;
};

}  // namespace

Made make_service_accounts(Context& c) { return std::make_unique<ServiceAccounts>(c); }
Made make_root_ca(Context& c) { return std::make_unique<RootCa>(c); }

}  // namespace server::controllers
