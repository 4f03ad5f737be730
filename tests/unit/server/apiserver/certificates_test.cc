#include "http_client.h"

using namespace test;
using base::json::array;
using base::json::object;

namespace {

const api::Resource requests{"certificates.k8s.io", "v1", "certificatesigningrequests"};

std::string request(const std::string& name, const server::pki::Subject& subject, const std::string& signer,
                    array usages = {"client auth", "digital signature"}, object more = {}) {
  std::string csr = *server::pki::make_request(*server::pki::make_key(), subject);
  object spec{{"request", base::base64_encode(csr)}, {"signerName", signer}, {"usages", std::move(usages)}};
  for (auto& [key, v] : more) spec[key] = v;
  return base::to_text(object{{"apiVersion", "certificates.k8s.io/v1"},
                              {"kind", "CertificateSigningRequest"},
                              {"metadata", object{{"name", name}}},
                              {"spec", std::move(spec)}});
}

std::string decision(const std::string& type) {
  return R"({"status":{"conditions":[{"type":")" + type + R"(","status":"True","reason":"Test","message":"by hand"}]}})";
}

api::WriteOptions approval() {
  api::WriteOptions o;
  o.subresource = "approval";
  return o;
}

// The request once it holds a certificate or has failed.
Task<value> settled(Cluster c, std::string name) {
  value v;
  for (int i = 0; i < 500; ++i) {
    v = parse(*(co_await c.admin->get(requests, {"", name})));
    if (text(v, "status.certificate") != "" || base::to_text(v).find("Failed") != std::string::npos) break;
    co_await base::sleep_for(std::chrono::milliseconds(10));
  }
  co_return v;
}

server::pki::CertificateFacts facts(const value& csr) {
  return *server::pki::read_certificate(*base::base64_decode(text(csr, "status.certificate")));
}

const std::string client_signer = "kubernetes.io/kube-apiserver-client", kubelet_signer = "kubernetes.io/kube-apiserver-client-kubelet",
                  serving_signer = "kubernetes.io/kubelet-serving";

}  // namespace

TEST_CASE("an approved request for a client gets a certificate of the time asked for") {
  with_cluster([](Cluster c) -> Task<> {
    auto made = co_await c.admin->create(
        requests, {},
        request("jo", {"jo", {"devs"}}, client_signer, {"client auth"}, {{"expirationSeconds", 3600}, {"username", "somebody"}}));
    REQUIRE(made);
    CHECK(text(parse(*made), "spec.username") == "system:admin");
    auto approved = co_await c.admin->patch(requests, {"", "jo"}, api::PatchType::merge, decision("Approved"), approval());
    REQUIRE(approved);
    CHECK(base::find_array(parse(*approved), "status.conditions")->at(0).as_object().contains("lastUpdateTime"));
    value csr = co_await settled(c, "jo");
    auto f = facts(csr);
    CHECK(f.subject.common_name == "jo");
    CHECK(f.subject.organizations == std::vector<std::string>{"devs"});
    CHECK(f.not_after - base::WallClock::now() <= std::chrono::hours(1));
    // What is decided stays decided.
    for (const char* change : {R"({"status":{"conditions":null}})",
                               R"({"status":{"conditions":[{"type":"Approved","status":"True"},{"type":"Denied","status":"True"}]}})",
                               R"({"status":{"conditions":[{"type":"Approved","status":"False"}]}})"}) {
      auto r = co_await c.admin->patch(requests, {"", "jo"}, api::PatchType::merge, change, approval());
      CHECK((!r && r.error().code == 422));
    }
    api::WriteOptions status;
    status.subresource = "status";
    auto other = co_await c.admin->patch(requests, {"", "jo"}, api::PatchType::merge, R"({"status":{"certificate":"eA=="}})", status);
    CHECK((!other && other.error().code == 422));
  });
}

TEST_CASE("approval and status take annotations along, and conditions of their own") {
  with_cluster([](Cluster c) -> Task<> {
    CHECK((co_await c.admin->create(requests, {}, request("jo", {"jo", {}}, "example.com/signer"))));
    auto approved = co_await c.admin->patch(
        requests, {"", "jo"}, api::PatchType::merge,
        R"({"metadata":{"annotations":{"a":"1"}},"spec":{"signerName":"example.com/other"},"status":{"conditions":[{"type":"ApprovalPatch","status":"True","reason":"e2e"}]}})",
        approval());
    REQUIRE(approved);
    value csr = parse(*approved);
    CHECK(text(csr, "metadata.annotations.a") == "1");
    CHECK(text(csr, "spec.signerName") == "example.com/signer");
    api::WriteOptions status;
    status.subresource = "status";
    const std::string certificate = base::base64_encode(c.api.ca_pem());
    auto issued =
        co_await c.admin->patch(requests, {"", "jo"}, api::PatchType::merge,
                                R"({"metadata":{"annotations":{"b":"2"}},"status":{"certificate":")" + certificate + "\"}}", status);
    REQUIRE(issued);
    csr = parse(*issued);
    CHECK(text(csr, "status.certificate") == certificate);
    CHECK(text(csr, "metadata.annotations.b") == "2");
    CHECK(base::find_array(csr, "status.conditions")->size() == 1);
    auto plain = co_await c.admin->patch(requests, {"", "jo"}, api::PatchType::merge, R"({"status":{"conditions":null}})");
    REQUIRE(plain);
    CHECK(base::find_array(parse(*plain), "status.conditions")->size() == 1);
  });
}

TEST_CASE("a request that breaks the rules is refused, or fails") {
  with_cluster([](Cluster c) -> Task<> {
    auto code = [&](std::string body) -> Task<int> {
      auto r = co_await c.admin->create(requests, {}, body);
      co_return r ? 201 : r.error().code;
    };
    CHECK((co_await code(request("a", {"jo", {}}, "kubernetes.io/legacy-unknown"))) == 422);
    CHECK((co_await code(request("a", {"jo", {}}, "nodomain"))) == 422);
    CHECK((co_await code(request("a", {"jo", {}}, client_signer, {}))) == 422);
    CHECK((co_await code(request("a", {"jo", {}}, client_signer, {"flying"}))) == 422);
    CHECK((co_await code(request("a", {"jo", {}}, client_signer, {"client auth", "client auth"}))) == 422);
    CHECK((co_await code(request("a", {"jo", {}}, client_signer, {"client auth"}, {{"expirationSeconds", 599}}))) == 422);
    CHECK((co_await code(request("a", {"jo", {}}, client_signer, {"client auth"}, {{"request", "eA=="}}))) == 422);
    CHECK((co_await code(request("a", {"jo", {"system:masters"}}, client_signer))) == 403);
    CHECK((co_await code(request("server", {"jo", {}}, client_signer, {"server auth"}))) == 201);
    CHECK((co_await code(request("node", {"jo", {"system:nodes"}}, kubelet_signer))) == 201);
    CHECK((co_await code(request("serving", {"system:node:a", {"system:nodes"}}, serving_signer, {"server auth", "digital signature"}))) ==
          201);
    for (std::string name : {"server", "node", "serving"}) {
      CHECK((co_await c.admin->patch(requests, {"", name}, api::PatchType::merge, decision("Approved"), approval())));
      value csr = co_await settled(c, name);
      CHECK(text(csr, "status.certificate") == "");
      CHECK(base::to_text(csr).find("SignerValidationFailure") != std::string::npos);
    }
  });
}

TEST_CASE("approving needs the right over the signer") {
  with_cluster([](Cluster c) -> Task<> {
    const char* role =
        R"({"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRole","metadata":{"name":"clerk"},"rules":[{"apiGroups":["certificates.k8s.io"],"resources":["certificatesigningrequests","certificatesigningrequests/approval"],"verbs":["*"]},{"apiGroups":["certificates.k8s.io"],"resources":["signers"],"resourceNames":["example.com/*"],"verbs":["approve"]}]})";
    const char* binding =
        R"({"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRoleBinding","metadata":{"name":"clerk"},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"clerk"},"subjects":[{"kind":"User","apiGroup":"rbac.authorization.k8s.io","name":"clerk"}]})";
    CHECK((co_await c.admin->create({"rbac.authorization.k8s.io", "v1", "clusterroles"}, {}, role)));
    CHECK((co_await c.admin->create({"rbac.authorization.k8s.io", "v1", "clusterrolebindings"}, {}, binding)));
    auto clerk = c.api.client({"clerk", "", {"system:authenticated"}, {}});
    for (int i = 0; i < 200 && !(co_await clerk->list(requests, {}, {})); ++i) co_await base::sleep_for(std::chrono::milliseconds(5));
    CHECK((co_await clerk->create(requests, {}, request("ours", {"jo", {}}, client_signer))));
    CHECK((co_await clerk->create(requests, {}, request("theirs", {"jo", {}}, "example.com/some-signer"))));
    auto refused = co_await clerk->patch(requests, {"", "ours"}, api::PatchType::merge, decision("Approved"), approval());
    CHECK((!refused && refused.error().code == 403));
    CHECK((co_await clerk->patch(requests, {"", "theirs"}, api::PatchType::merge, decision("Denied"), approval())));
  });
}

TEST_CASE("bundles of trust hold certificates, under the name of their signer") {
  with_cluster([](Cluster c) -> Task<> {
    const api::Resource bundles{"certificates.k8s.io", "v1beta1", "clustertrustbundles"};
    auto make = [&](std::shared_ptr<api::Client> who, std::string name, std::string signer, std::string text) -> Task<int> {
      auto r = co_await who->create(bundles, {},
                                    base::to_text(object{{"apiVersion", "certificates.k8s.io/v1beta1"},
                                                         {"kind", "ClusterTrustBundle"},
                                                         {"metadata", object{{"name", name}}},
                                                         {"spec", object{{"signerName", signer}, {"trustBundle", text}}}}));
      co_return r ? 201 : r.error().code;
    };
    const std::string& ca = c.api.ca_pem();
    CHECK((co_await make(c.admin, "ours", "", ca)) == 201);
    CHECK((co_await make(c.admin, "example.com:signer:one", "example.com/signer", ca)) == 201);
    CHECK((co_await make(c.admin, "example.com:signer:two", "", ca)) == 422);
    CHECK((co_await make(c.admin, "other", "example.com/signer", ca)) == 422);
    CHECK((co_await make(c.admin, "empty", "", "")) == 422);
    CHECK((co_await make(c.admin, "twice", "", ca + ca)) == 422);
    CHECK((co_await make(c.admin, "key", "", *server::pki::make_key())) == 422);
    auto moved = co_await c.admin->patch(bundles, {"", "ours"}, api::PatchType::merge, R"({"spec":{"signerName":"example.com/signer"}})");
    CHECK((!moved && moved.error().code == 422));
    const char* role =
        R"({"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRole","metadata":{"name":"publisher"},"rules":[{"apiGroups":["certificates.k8s.io"],"resources":["clustertrustbundles"],"verbs":["*"]},{"apiGroups":["certificates.k8s.io"],"resources":["signers"],"resourceNames":["example.com/*"],"verbs":["attest"]}]})";
    const char* binding =
        R"({"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRoleBinding","metadata":{"name":"publisher"},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"publisher"},"subjects":[{"kind":"User","apiGroup":"rbac.authorization.k8s.io","name":"publisher"}]})";
    CHECK((co_await c.admin->create({"rbac.authorization.k8s.io", "v1", "clusterroles"}, {}, role)));
    CHECK((co_await c.admin->create({"rbac.authorization.k8s.io", "v1", "clusterrolebindings"}, {}, binding)));
    auto publisher = c.api.client({"publisher", "", {"system:authenticated"}, {}});
    for (int i = 0; i < 200 && !(co_await publisher->list(bundles, {}, {})); ++i) co_await base::sleep_for(std::chrono::milliseconds(5));
    CHECK((co_await make(publisher, "example.com:signer:mine", "example.com/signer", ca)) == 201);
    CHECK((co_await make(publisher, "other.org:signer:mine", "other.org/signer", ca)) == 403);
  });
}

TEST_CASE("a node's own client certificate is approved for those who may ask") {
  with_cluster([](Cluster c) -> Task<> {
    const char* binding =
        R"({"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRoleBinding","metadata":{"name":"renew"},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"system:certificates.k8s.io:certificatesigningrequests:selfnodeclient"},"subjects":[{"kind":"Group","apiGroup":"rbac.authorization.k8s.io","name":"system:nodes"}]})";
    CHECK((co_await c.admin->create({"rbac.authorization.k8s.io", "v1", "clusterrolebindings"}, {}, binding)));
    co_await base::sleep_for(std::chrono::milliseconds(50));
    auto a = c.api.client(server::UserInfo::node("a"));
    CHECK((co_await a->create(requests, {}, request("own", {"system:node:a", {"system:nodes"}}, kubelet_signer))));
    CHECK((co_await a->create(requests, {}, request("other", {"system:node:b", {"system:nodes"}}, kubelet_signer))));
    CHECK(facts(co_await settled(c, "own")).subject.common_name == "system:node:a");
    CHECK(base::find_array(parse(*(co_await c.admin->get(requests, {"", "other"}))), "status.conditions") == nullptr);
  });
}
