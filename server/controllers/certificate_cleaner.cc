#include "api/types/certificates_v1.h"
#include "server/controllers/controllers.h"
#include "server/controllers/objects.h"

namespace server::controllers {
namespace {

namespace certificates = api::certificates;
using namespace std::chrono_literals;

constexpr auto settled_life = 1h;
constexpr auto pending_life = 24h;

// When the request has served its purpose, or been forgotten; nothing while somebody may still act on it.
std::optional<WallTime> end_of(const certificates::CertificateSigningRequest& csr) {
  if (csr.status.conditions.empty()) return time_of(csr.metadata.creationTimestamp) + pending_life;
  for (const char* type : {"Approved", "Denied", "Failed"})
    if (const auto* c = find_condition(csr.status.conditions, type);
        c && (std::string_view(type) != "Approved" || !csr.status.certificate.empty()))
      return time_of(c->lastUpdateTime) + settled_life;
  return std::nullopt;
}

// Converges: CertificateSigningRequests go an hour after they were settled, or a day after nobody looked at them.
class CertificateCleaner final : public Controller {
 public:
  explicit CertificateCleaner(Context& c) : Controller(c), requests_(watch<certificates::CertificateSigningRequest>()) {}
  std::string_view name() const override { return "certificatesigningrequest-cleaner"; }

  Task<Result<Requeue>> reconcile(ObjectKey key) override {
    auto csr = requests_.get(key);
    auto end = csr && !deleting(csr->metadata) ? end_of(*csr) : std::nullopt;
    if (!end) co_return Requeue{};
    if (auto left = *end - base::WallClock::now(); left > left.zero()) co_return Requeue(std::chrono::duration_cast<Duration>(left) + 1s);
    api::DeleteOptions options;
    options.uid = csr->metadata.uid;
    auto r = co_await api::remove<certificates::CertificateSigningRequest>(client_, key, std::move(options));
    if (!r && !base::is_not_found(r.error())) co_return std::unexpected(std::move(r).error());
    co_return Requeue{};
  }

 private:
  api::Informer<certificates::CertificateSigningRequest>& requests_;
};

}  // namespace

Made make_certificate_cleaner(Context& c) { return std::make_unique<CertificateCleaner>(c); }

}  // namespace server::controllers
