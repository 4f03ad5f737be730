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

constexpr std::string_view kubelet_client = "kubernetes.io/kube-apiserver-client-kubelet",
                           kubelet_serving = "kubernetes.io/kubelet-serving";

bool condition(const value& csr, std::string_view type) {
  if (const array* list = base::find_array(csr, "status.conditions"))
    for (const value& c : *list)
      if (base::get_string(c, "type") == type && base::get_string(c, "status") == "True") return true;
  return false;
}

bool node_subject(const pki::Subject& s) {
  return s.common_name.starts_with("system:node:") && s.common_name.size() > 12 &&
         s.organizations == std::vector<std::string>{"system:nodes"};
}

bool asks_for(const value& csr, std::string_view usage) {
  if (const array* list = base::find_array(csr, "spec.usages"))
    for (const value& u : *list)
      if (u.is_string() && std::string_view(u.get_string()) == usage) return true;
  return false;
}

// Exactly the usage, with what every key is for.
bool only_for(const value& csr, std::string_view usage) {
  const array* list = base::find_array(csr, "spec.usages");
  const size_t expected = asks_for(csr, "key encipherment") ? 3 : 2;
  return list && list->size() == expected && asks_for(csr, usage) && asks_for(csr, "digital signature");
}

base::Result<pki::RequestFacts> facts_of(const value& csr) {
  TRY(std::string pem, base::base64_decode(base::get_string(csr, "spec.request")));
  return pki::read_request(pem);
}

// A client certificate of a node, for this node.
bool is_node_client(const value& csr, const pki::RequestFacts& facts) {
  return node_subject(facts.subject) && !facts.other_names && facts.dns_names.empty() && facts.ip_addresses.empty() &&
         only_for(csr, "client auth");
}

// The certificate, or why not.
base::Result<std::string> make_certificate(const value& csr, const pki::KeyPair& ca) {
  TRY(pki::RequestFacts facts, facts_of(csr));
  std::string_view signer = base::get_string(csr, "spec.signerName");
  pki::Profile profile;
  profile.subject = facts.subject;
  profile.key_encipherment = asks_for(csr, "key encipherment");
  if (signer == kubelet_serving) {
    if (!node_subject(facts.subject) || facts.other_names || (facts.dns_names.empty() && facts.ip_addresses.empty()))
      return base::bad_request("a kubelet-serving request must be of system:node:<name> in system:nodes, with DNS names or addresses only");
    if (!only_for(csr, "server auth"))
      return base::bad_request("the usages must be \"digital signature\" and \"server auth\", with or without \"key encipherment\"");
    if (base::get_string(csr, "spec.username") != facts.subject.common_name)
      return base::bad_request("a node may only ask for a certificate of its own");
    profile.server = true;
    profile.dns_names = facts.dns_names;
    profile.ip_addresses = facts.ip_addresses;
  } else {
    if (signer == kubelet_client && !is_node_client(csr, facts))
      return base::bad_request(
          "the subject must be system:node:<name> in system:nodes without other names, the usages \"digital signature\" and \"client "
          "auth\", with or without \"key encipherment\"");
    if (!asks_for(csr, "client auth")) return base::bad_request("the usages must include \"client auth\"");
    for (const value& u : *base::find_array(csr, "spec.usages"))
      if (u.is_string() && u != "client auth" && u != "digital signature" && u != "key encipherment")
        return base::bad_request("the usages may only be \"client auth\", \"digital signature\" and \"key encipherment\"");
    profile.client = true;
    const auto& groups = facts.subject.organizations;
    if (std::find(groups.begin(), groups.end(), "system:masters") != groups.end())
      return base::bad_request("the group system:masters cannot be asked for");
  }
  int64_t seconds = base::get_int(csr, "spec.expirationSeconds", 365 * 24 * 3600);
  profile.validity = std::chrono::seconds(std::clamp<int64_t>(seconds, 600, 365 * 24 * 3600));
  return pki::issue(ca, facts.public_key_pem, profile);
}

bool ours(std::string_view signer) {
  return signer == "kubernetes.io/kube-apiserver-client" || signer == kubelet_client || signer == kubelet_serving;
}

UserInfo requester(const value& csr) {
  UserInfo out;
  out.name = base::get_string(csr, "spec.username");
  out.uid = base::get_string(csr, "spec.uid");
  if (const array* groups = base::find_array(csr, "spec.groups"))
    for (const value& g : *groups)
      if (g.is_string()) out.groups.emplace_back(g.get_string());
  return out;
}

object condition_object(std::string_view type, std::string_view reason, std::string_view message) {
  std::string now = base::now_rfc3339();
  return {{"type", type},       {"status", "True"},      {"reason", reason},
          {"message", message}, {"lastUpdateTime", now}, {"lastTransitionTime", now}};
}

void add_condition(value& csr, object condition) {
  value& list = base::make_object(csr, "status")["conditions"];
  if (!list.is_array()) list.emplace_array();
  list.get_array().push_back(std::move(condition));
}

}  // namespace

base::Task<> CertificateSigner::update(value csr, std::string subresource) const {
  api::WriteOptions options;
  options.subresource = std::move(subresource);
  api::ObjectKey key{{}, std::string(base::get_string(csr, "metadata.name"))};
  auto done = co_await client_->update({"certificates.k8s.io", "v1", "certificatesigningrequests"}, key, base::to_text(csr), options);
  if (!done && !base::is_conflict(done.error()) && !base::is_not_found(done.error()))
    base::log::warn("apiserver", "certificate request {}: {}", key.name, done.error().message);
}

// Nodes' client certificates are approved for those who may ask for their own, or for anybody's.
base::Task<> CertificateSigner::approve(value csr) const {
  auto facts = facts_of(csr);
  if (!facts || !is_node_client(csr, *facts)) co_return;
  const UserInfo user = requester(csr);
  for (const char* subresource : {"selfnodeclient", "nodeclient"}) {
    const bool self = std::string_view(subresource) == "selfnodeclient";
    if (self && user.name != facts->subject.common_name) continue;
    Access ask;
    ask.verb = "create";
    ask.group = "certificates.k8s.io";
    ask.version = "*";
    ask.resource = "certificatesigningrequests";
    ask.subresource = subresource;
    Decision d = co_await authorizer_.decide(user, ask);
    if (!d.allowed) continue;
    add_condition(csr, condition_object("Approved", "AutoApproved",
                                        self ? "Auto approving self kubelet client certificate after SubjectAccessReview."
                                             : "Auto approving kubelet client certificate after SubjectAccessReview."));
    co_return co_await update(std::move(csr), "approval");
  }
}

base::Task<> CertificateSigner::settle(base::Bytes text) const {
  auto csr = base::parse_json(*text, 256);
  if (!csr) co_return;
  std::string_view signer = base::get_string(*csr, "spec.signerName");
  if (!ours(signer) || condition(*csr, "Denied") || condition(*csr, "Failed") || !base::get_string(*csr, "status.certificate").empty())
    co_return;
  if (!condition(*csr, "Approved")) {
    if (signer == kubelet_client) co_await approve(std::move(*csr));
    co_return;
  }
  auto certificate = make_certificate(*csr, ca_);
  if (certificate) base::make_object(*csr, "status")["certificate"] = base::base64_encode(*certificate);
  else add_condition(*csr, condition_object("Failed", "SignerValidationFailure", certificate.error().message));
  co_await update(std::move(*csr), "status");
}

base::Task<> CertificateSigner::run() const {
  const std::string prefix = collection_prefix("certificates.k8s.io", "certificatesigningrequests");
  for (;;) {
    auto all = co_await store_.list(prefix);
    if (!all) {
      co_await base::sleep_for(std::chrono::seconds(10));
      continue;
    }
    for (const datastore::RecordPtr& r : all->records) co_await settle(r->value);
    auto watcher = store_.watch(prefix, all->revision);
    if (!watcher) co_await base::sleep_for(std::chrono::milliseconds(100));
    while (watcher) {
      auto events = co_await (*watcher)->next();
      if (!events) break;
      for (const datastore::Event& e : *events)
        if (e.record->value) co_await settle(e.record->value);
    }
  }
}

}  // namespace server
