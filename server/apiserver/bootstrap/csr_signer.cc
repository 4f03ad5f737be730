#include "server/apiserver/bootstrap/csr_signer.h"

#include <algorithm>

#include "base/bytes.h"
#include "base/json.h"
#include "base/log.h"
#include "base/time.h"
#include "server/apiserver/registry/keys.h"

namespace server {
namespace {

using base::json::array;
using base::json::object;
using base::json::value;

bool condition(const value& csr, std::string_view type) {
  if (const array* list = base::find_array(csr, "status.conditions"))
    for (const value& c : *list)
      if (base::get_string(c, "type") == type && base::get_string(c, "status") == "True") return true;
  return false;
}

bool node_subject(const pki::Subject& s) {
  return s.common_name.starts_with("system:node:") && s.common_name.size() > 12 && s.organizations == std::vector<std::string>{"system:nodes"};
}

// The certificate, or why not.
base::Result<std::string> make_certificate(const value& csr, const pki::KeyPair& ca) {
  TRY(std::string pem, base::base64_decode(base::get_string(csr, "spec.request")));
  TRY(pki::RequestFacts facts, pki::read_request(pem));
  std::string_view signer = base::get_string(csr, "spec.signerName");
  pki::Profile profile;
  profile.subject = facts.subject;
  if (signer == "kubernetes.io/kubelet-serving") {
    if (!node_subject(facts.subject) || facts.other_names || (facts.dns_names.empty() && facts.ip_addresses.empty()))
      return base::bad_request("a kubelet-serving request must be of system:node:<name> in system:nodes, with DNS names or addresses only");
    if (base::get_string(csr, "spec.username") != facts.subject.common_name) return base::bad_request("a node may only ask for a certificate of its own");
    profile.server = true;
    profile.dns_names = facts.dns_names;
    profile.ip_addresses = facts.ip_addresses;
  } else {
    if (signer == "kubernetes.io/kube-apiserver-client-kubelet" && !node_subject(facts.subject)) return base::bad_request("the subject must be system:node:<name> in system:nodes");
    profile.client = true;
    const auto& groups = facts.subject.organizations;
    if (std::find(groups.begin(), groups.end(), "system:masters") != groups.end()) return base::bad_request("the group system:masters cannot be asked for");
  }
  int64_t seconds = base::get_int(csr, "spec.expirationSeconds", 365 * 24 * 3600);
  profile.validity = std::chrono::seconds(std::clamp<int64_t>(seconds, 600, 365 * 24 * 3600));
  return pki::issue(ca, facts.public_key_pem, profile);
}

bool ours(std::string_view signer) {
  return signer == "kubernetes.io/kube-apiserver-client" || signer == "kubernetes.io/kube-apiserver-client-kubelet" || signer == "kubernetes.io/kubelet-serving";
}

base::Task<> settle(std::shared_ptr<api::Client> client, pki::KeyPair ca, base::Bytes text) {
  auto csr = base::parse_json(*text, 256);
  if (!csr || !ours(base::get_string(*csr, "spec.signerName"))) co_return;
  if (!condition(*csr, "Approved") || condition(*csr, "Failed") || !base::get_string(*csr, "status.certificate").empty()) co_return;
  auto certificate = make_certificate(*csr, ca);
  object& status = base::make_object(*csr, "status");
  if (certificate) {
    status["certificate"] = base::base64_encode(*certificate);
  } else {
    std::string now = base::now_rfc3339();
    status["conditions"].as_array().push_back(object{{"type", "Failed"}, {"status", "True"}, {"reason", "SignerValidationFailure"}, {"message", certificate.error().message},
                                                     {"lastUpdateTime", now}, {"lastTransitionTime", now}});
  }
  api::WriteOptions options;
  options.subresource = "status";
  api::ObjectKey key{{}, std::string(base::get_string(*csr, "metadata.name"))};
  auto done = co_await client->update({"certificates.k8s.io", "v1", "certificatesigningrequests"}, key, base::to_text(*csr), options);
  if (!done && !base::is_conflict(done.error())) base::log::warn("apiserver", "certificate request {}: {}", key.name, done.error().message);
}

}  // namespace

base::Task<> sign_requests(datastore::Store& store, std::shared_ptr<api::Client> client, pki::KeyPair ca) {
  const std::string prefix = collection_prefix("certificates.k8s.io", "certificatesigningrequests");
  for (;;) {
    auto all = co_await store.list(prefix);
    if (!all) {
      co_await base::sleep_for(std::chrono::seconds(10));
      continue;
    }
    for (const datastore::RecordPtr& r : all->records) co_await settle(client, ca, r->value);
    auto watcher = store.watch(prefix, all->revision);
    if (!watcher) co_await base::sleep_for(std::chrono::milliseconds(100));
    while (watcher) {
      auto events = co_await (*watcher)->next();
      if (!events) break;
      for (const datastore::Event& e : *events)
        if (e.record->value) co_await settle(client, ca, e.record->value);
    }
  }
}

}  // namespace server
