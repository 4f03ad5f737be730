// ClusterTrustBundles: certificates in PEM, under a name that says whose they are.
#include <algorithm>

#include <fmt/format.h>

#include "server/apiserver/pki/certificate.h"
#include "server/apiserver/strategy/all.h"

namespace server {
namespace {

using base::json::object;
using base::json::value;

std::string_view spec_text(const object& o, std::string_view field) {
  const value* spec = o.if_contains("spec");
  return spec ? base::get_string(*spec, field) : std::string_view();
}

class TrustBundle final : public Strategy {
 public:
  void validate_create(const WriteAttempt& attempt, const object& o, std::vector<base::Cause>& causes) const override {
    check_bundle(o, causes);
    std::string_view name = attempt.name, signer = spec_text(o, "signerName");
    if (signer.empty()) {
      if (name.find(':') != name.npos)
        causes.push_back(
            invalid_value("metadata.name", value(name), "ClusterTrustBundle without signer name must not have \":\" in its name"));
      return;
    }
    if (!is_signer_name(signer))
      causes.push_back(invalid_value("spec.signerName", value(signer),
                                     "must be a fully qualified domain and path of the form 'example.com/signer-name'"));
    std::string prefix = std::string(signer) + ":";
    std::replace(prefix.begin(), prefix.end(), '/', ':');
    if (!name.starts_with(prefix) || !is_dns_subdomain(name.substr(prefix.size())))
      causes.push_back(invalid_value("metadata.name", value(name),
                                     fmt::format("ClusterTrustBundle for signerName {} must be named with prefix {}", signer, prefix)));
  }

  void validate_update(const WriteAttempt&, const object& now, const object& before, std::vector<base::Cause>& causes) const override {
    check_bundle(now, causes);
    if (spec_text(now, "signerName") != spec_text(before, "signerName"))
      causes.push_back(invalid_value("spec.signerName", value(spec_text(now, "signerName")), "field is immutable"));
  }

 private:
  // Certificates and nothing else, each once.
  static void check_bundle(const object& o, std::vector<base::Cause>& causes) {
    constexpr std::string_view begin = "-----BEGIN CERTIFICATE-----", end = "-----END CERTIFICATE-----";
    std::string_view rest = spec_text(o, "trustBundle");
    std::vector<std::string_view> seen;
    auto refuse = [&](std::string_view why) { causes.push_back(invalid_value("spec.trustBundle", value("<value omitted>"), why)); };
    while (rest.find("-----BEGIN ") != rest.npos) {
      rest.remove_prefix(rest.find("-----BEGIN "));
      size_t stop = rest.find(end);
      if (!rest.starts_with(begin) || stop == rest.npos) return refuse("entry is not a CERTIFICATE PEM block");
      std::string_view one = rest.substr(0, stop + end.size());
      rest.remove_prefix(one.size());
      if (!pki::read_certificate(one)) return refuse("entry does not parse as X.509");
      if (std::find(seen.begin(), seen.end(), one) != seen.end()) return refuse("entry is there twice");
      seen.push_back(one);
    }
    if (seen.empty()) refuse("at least one trust anchor must be provided");
  }
};

}  // namespace

// "example.com/name"
bool is_signer_name(std::string_view name) {
  constexpr size_t longest = 571;
  size_t slash = name.find('/');
  if (slash == name.npos || name.size() > longest) return false;
  std::string_view domain = name.substr(0, slash);
  return domain.find('.') != domain.npos && is_dns_subdomain(domain) && is_dns_subdomain(name.substr(slash + 1));
}

std::unique_ptr<const Strategy> make_trust_bundle_strategy() { return std::make_unique<TrustBundle>(); }

}  // namespace server
