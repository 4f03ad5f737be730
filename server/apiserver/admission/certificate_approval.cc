// CertificateApproval and CertificateSigning: approving a request, and putting a certificate into it, needs the right over its signer.
// CertificateSubjectRestriction: nobody asks for system:masters.
#include <fmt/format.h>

#include <algorithm>

#include "base/bytes.h"
#include "server/apiserver/admission/all.h"
#include "server/apiserver/pki/certificate.h"

namespace server {
namespace {

class CertificateApproval final : public AdmissionPlugin {
 public:
  explicit CertificateApproval(const Authorizer& authorizer) : authorizer_(authorizer) {}
  std::string_view name() const override { return "CertificateApproval"; }
  bool handles(const Admit& a) const override {
    return a.object && (is_resource(a, "certificates.k8s.io", "certificatesigningrequests") || is_trust_bundle(a));
  }

  base::Task<Result<>> validate(Admit a) override {
    const std::string signer(base::get_string(*a.object, "spec.signerName"));
    if (is_trust_bundle(a)) {
      const bool changed = !a.before || base::get_string(*a.before, "spec.trustBundle") != base::get_string(*a.object, "spec.trustBundle");
      if (signer.empty() || !changed || (co_await may(a, "attest", signer))) co_return Result<>{};
      co_return base::forbidden(a.attempt.resource.qualified, a.attempt.name,
                                fmt::format("user not permitted to attest for signerName \"{}\"", signer));
    }
    if (a.operation == Operation::create) {
      if (signer != "kubernetes.io/kube-apiserver-client") co_return Result<>{};
      auto pem = base::base64_decode(base::get_string(*a.object, "spec.request"));
      auto facts = pem ? pki::read_request(*pem) : base::Result<pki::RequestFacts>(base::bad_request(""));
      if (facts && std::find(facts->subject.organizations.begin(), facts->subject.organizations.end(), "system:masters") !=
                       facts->subject.organizations.end())
        co_return base::forbidden(a.attempt.resource.qualified, a.attempt.name,
                                  "use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed");
      co_return Result<>{};
    }
    const bool approval = a.attempt.subresource == "approval";
    const bool signing = a.attempt.subresource == "status" &&
                         base::get_string(*a.object, "status.certificate") != base::get_string(*a.before, "status.certificate");
    if (!approval && !signing) co_return Result<>{};
    const std::string verb = approval ? "approve" : "sign";
    if (co_await may(a, verb, signer)) co_return Result<>{};
    co_return base::forbidden(a.attempt.resource.qualified, a.attempt.name,
                              fmt::format("user not permitted to {} requests with signerName \"{}\"", verb, signer));
  }

 private:
  static bool is_trust_bundle(const Admit& a) { return is_resource(a, "certificates.k8s.io", "clustertrustbundles"); }

  // The verb over the signer itself, or over all of its domain.
  base::Task<bool> may(Admit a, std::string verb, std::string signer) const {
    Access ask;
    ask.verb = std::move(verb);
    ask.group = "certificates.k8s.io";
    ask.version = "*";
    ask.resource = "signers";
    ask.name = signer;
    Decision exact = co_await authorizer_.decide(*a.attempt.call.user, ask);
    if (exact.allowed) co_return true;
    ask.name = signer.substr(0, signer.find('/')) + "/*";
    Decision domain = co_await authorizer_.decide(*a.attempt.call.user, ask);
    co_return domain.allowed;
  }
  const Authorizer& authorizer_;
};

}  // namespace

Plugin make_certificate_approval_admission(const Authorizer& authorizer) { return std::make_unique<CertificateApproval>(authorizer); }

}  // namespace server
