#include "server/apiserver/join/join.h"

#include <fmt/format.h>

#include "base/bytes.h"
#include "server/apiserver/auth/node_access.h"
#include "server/apiserver/join/limited_token.h"
#include "server/apiserver/registry/keys.h"

namespace server {

using base::json::array;
using base::json::object;
using base::json::value;
using namespace std::chrono_literals;

namespace {

constexpr int most_failures = 10;
constexpr auto failure_window = 60s;

std::string host_of(const std::string& peer) { return peer.substr(0, peer.rfind(':')); }

}  // namespace

bool Join::throttled(const std::string& peer) {
  std::scoped_lock lock(mutex_);
  auto it = failures_.find(host_of(peer));
  if (it == failures_.end()) return false;
  if (base::Clock::now() - it->second.second > failure_window) {
    failures_.erase(it);
    return false;
  }
  return it->second.first >= most_failures;
}

void Join::failed(const std::string& peer) {
  std::scoped_lock lock(mutex_);
  constexpr size_t most = 10'000;
  if (failures_.size() >= most) failures_.clear();
  auto& [count, since] = failures_[host_of(peer)];
  if (count++ == 0) since = base::Clock::now();
}

Result<std::string> Join::authenticate(Exchange& x) const {
  if (!x.request.stream().peer_certificate().empty()) {
    auto user = authenticator_.identify(x.request);
    if (user)
      if (auto node = node_of(**user)) return *node;
  }
  std::string_view header = x.request.headers.get("Authorization");
  std::string token;
  if (header.starts_with("Bearer ")) {
    token = header.substr(7);
  } else if (header.starts_with("Basic ")) {
    auto decoded = base::base64_decode(header.substr(6));
    if (decoded) token = decoded->substr(decoded->find(':') == std::string::npos ? 0 : decoded->find(':') + 1);
  }
  std::string secret(secret_in_token(token));
  bool good = !secret.empty() && (base::equal_constant_time(secret, tokens_.server) || base::equal_constant_time(secret, tokens_.agent));
  if (!good) good = limited_token_holds(registry_.store(), secret);
  if (!good) return base::unauthorized("the join token is wrong or has expired");
  return std::string();
}

Task<Result<>> Join::claim_name(std::string node, std::string secret) {
  if (node == facts_.own_node)
    co_return base::forbidden("nodes", node, "this is the name of the server's own node; join with another --node-name");
  const ResourceInfo* secrets = registry_.resources().find("", "v1", "secrets");
  const std::string name = node + ".node-password", hash = base::sha256_hex(secret);
  for (int number = 0; number < 3; ++number) {
    if (RecordPtr record = registry_.store().get(object_key("", "secrets", "kube-system", name))) {
      CO_TRY(value stored, base::parse_json(*record->value));
      auto decoded = base::base64_decode(base::get_string(stored, "data.hash"));
      if (decoded && base::equal_constant_time(*decoded, hash)) co_return Result<>{};
      co_return base::forbidden("nodes", node,
                                "this name belongs to another host (its node secret differs). Delete the Node object if that host is gone, "
                                "or join with another --node-name");
    }
    Call call;
    call.user = std::make_shared<const UserInfo>(UserInfo::apiserver());
    call.field_manager = "join";
    value made = object{{"apiVersion", "v1"},
                        {"kind", "Secret"},
                        {"metadata", object{{"name", name}, {"namespace", "kube-system"}}},
                        {"type", "appliance.dev/node-password"},
                        {"data", object{{"hash", base::base64_encode(hash)}}}};
    auto created = co_await registry_.create(Target{secrets, "kube-system", {}, {}}, call, std::move(made));
    if (created) co_return Result<>{};
    if (!base::is_already_exists(created.error())) co_return std::unexpected(std::move(created).error());
  }
  co_return base::internal("the node's secret could not be stored");
}

Task<Result<std::string>> Join::answer(Exchange& x) {
  const std::string peer = x.request.stream().peer_address();
  if (throttled(peer)) co_return base::too_many_requests("too many wrong join tokens from this address", 60);
  auto who = authenticate(x);
  if (!who) {
    failed(peer);
    co_return std::unexpected(std::move(who).error());
  }
  CO_TRY(std::string text, co_await x.request.body(256 * 1024));
  CO_TRY(value request, base::parse_json(text, 8));
  std::string node(base::get_string(request, "nodeName")), secret(base::get_string(request, "nodeSecret"));
  if (!is_dns_subdomain(node)) co_return base::bad_request("nodeName must be a lower-case DNS name");
  CO_TRY(pki::RequestFacts csr, pki::read_request(base::get_string(request, "csr")));
  if (who->empty()) {
    if (secret.size() < 32) co_return base::bad_request("nodeSecret must be at least 32 characters");
    CO_CHECK_OK(co_await claim_name(node, secret));
  } else if (*who != node) {
    co_return base::forbidden("nodes", node, fmt::format("the certificate is of node {}", *who));
  }
  pki::Profile profile;
  profile.subject = {"system:node:" + node, {"system:nodes"}};
  profile.client = true;
  CO_TRY(std::string certificate, pki::issue(ca_, csr.public_key_pem, profile));
  array servers{value("https://" + facts_.address.host_and_port())};
  co_return base::to_text(object{{"nodeName", node},
                                 {"certificate", certificate},
                                 {"ca", ca_.certificate_pem},
                                 {"servers", std::move(servers)},
                                 {"clusterCIDR", facts_.cluster_cidr},
                                 {"serviceCIDR", facts_.service_cidr},
                                 {"clusterDNS", facts_.cluster_dns},
                                 {"clusterDomain", facts_.cluster_domain},
                                 {"version", facts_.version}});
}

Task<> Join::handle(Exchange& x) {
  if (x.request.method != "POST") co_return co_await send_error(x, base::fail(405, "MethodNotAllowed", "join takes POST").error());
  auto text = co_await answer(x);
  if (text) co_await send_json(x, 200, *text);
  else co_await send_error(x, text.error());
}

}  // namespace server
