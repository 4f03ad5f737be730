#include <algorithm>

#include "api/types/networking_v1.h"
#include "api/validation/addresses.h"
#include "server/controllers/controllers.h"
#include "server/controllers/objects.h"

namespace server::controllers {
namespace {

namespace networking = api::networking;
using CidrPtr = std::shared_ptr<const networking::ServiceCIDR>;
using namespace std::chrono_literals;

constexpr std::string_view finalizer = "networking.k8s.io/service-cidr-finalizer";

bool covers(const networking::ServiceCIDR& cidr, const std::string& ip) {
  auto address = api::validation::parse_range(ip + (ip.find(':') == ip.npos ? "/32" : "/128"));
  return address && std::any_of(cidr.spec.cidrs.begin(), cidr.spec.cidrs.end(), [&](const std::string& text) {
    auto range = api::validation::parse_range(text);
    return range && range->v6 == address->v6 && range->contains(*address);
  });
}

// Converges: a ServiceCIDR that is being deleted goes when every address in use of it lies in another one too (KEP-1880).
class ServiceCidrs final : public Controller {
 public:
  explicit ServiceCidrs(Context& c) : Controller(c), cidrs_(watch<networking::ServiceCIDR>()) {
    // A Service gives back its addresses as it goes.
    informer<core::Service>().on_change([this](const auto&, const auto& after) {
      if (after) return;
      for (const CidrPtr& cidr : cidrs_.list())
        if (deleting(cidr->metadata)) enqueue(cidr->metadata);
    });
  }
  std::string_view name() const override { return "service-cidr"; }

  Task<Result<Requeue>> reconcile(ObjectKey key) override {
    CidrPtr cidr = cidrs_.get(key);
    if (!cidr || !deleting(cidr->metadata)) co_return Requeue{};
    networking::ServiceCIDR changed = *cidr;
    if (std::erase(changed.metadata.finalizers, finalizer) == 0) co_return Requeue{};
    CO_TRY(bool used, co_await in_use(cidr));
    if (used) co_return Requeue{10s};  // what takes addresses by other means than Services brings nobody back
    auto r = co_await api::update(client_, std::move(changed));
    if (!r && !base::is_not_found(r.error())) co_return std::unexpected(std::move(r).error());
    co_return Requeue{};
  }

 private:
  Task<Result<bool>> in_use(CidrPtr cidr) {
    api::ListOptions options;
    options.limit = 500;
    const std::vector<CidrPtr> all = cidrs_.list();
    do {
      CO_TRY(auto page, co_await client_.list(api::resource_of<networking::IPAddress>(), {}, options));
      for (const api::Bytes& b : page.items) {
        CO_TRY(auto ip, api::decode<meta::PartialObjectMetadata>(std::string_view(*b)));
        auto serves = [&](const CidrPtr& other) {
          return other->metadata.uid != cidr->metadata.uid && !deleting(other->metadata) && covers(*other, ip.metadata.name);
        };
        if (covers(*cidr, ip.metadata.name) && std::none_of(all.begin(), all.end(), serves)) co_return true;
      }
      options.continue_token = page.continue_token;
    } while (!options.continue_token.empty());
    co_return false;
  }

  api::Informer<networking::ServiceCIDR>& cidrs_;
};

}  // namespace

Made make_service_cidrs(Context& c) { return std::make_unique<ServiceCidrs>(c); }

}  // namespace server::controllers
