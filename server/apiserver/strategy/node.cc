// Nodes: a network for their pods out of the cluster's, taken in the transaction that makes the Node and freed with it.
#include <algorithm>

#include <fmt/format.h>

#include "server/apiserver/registry/cidr.h"
#include "server/apiserver/registry/attributes.h"
#include "server/apiserver/registry/keys.h"
#include "server/apiserver/strategy/all.h"

namespace server {
namespace {

using base::json::array;
using base::json::object;
using base::json::value;

// Which node holds a network; not an API object.
std::string claim_key(const std::string& cidr) {
  std::string name = cidr;
  std::replace(name.begin(), name.end(), '/', '-');
  return "/registry/appliance/podcidrs/" + name;
}

class Node final : public Strategy {
 public:
  explicit Node(const ApiServerOptions& options) : mask_(options.node_cidr_mask) {
    if (auto c = parse_cidr(options.cluster_cidr)) cluster_ = *c;
  }

  Result<> prepare_create(WriteAttempt& attempt, object& o) const override {
    value& v = o["spec"];
    if (!v.is_object()) v.emplace_object();
    object& spec = v.get_object();
    std::string cidr(text_of(spec, "podCIDR"));
    if (cidr.empty()) {
      TRY(cidr, pick(attempt));
      spec["podCIDR"] = cidr;
      spec["podCIDRs"] = array{value(cidr)};
    }
    datastore::Write claim;
    claim.key = claim_key(cidr);
    claim.value = base::make_bytes(base::to_text(object{{"node", attempt.name}}));
    claim.expected = 0;
    claim.attributes = std::make_shared<Attributes>();
    attempt.also.push_back(std::move(claim));
    return {};
  }

  void on_gone(WriteAttempt& attempt, const object& o) const override {
    value whole(o);
    std::string cidr(base::get_string(whole, "spec.podCIDR"));
    for (const std::string& key : {claim_key(cidr), object_key("", "secrets", "kube-system", attempt.name + ".node-password")})
      if (datastore::RecordPtr r = attempt.store.get(key)) attempt.also.push_back({.key = key, .value = nullptr, .expected = r->revision});
  }

  bool keeps_status_on_create() const override { return true; }

 private:
  Result<std::string> pick(const WriteAttempt& attempt) const {
    if (mask_ < cluster_.bits || mask_ > 30) return base::internal("the cluster CIDR is smaller than the network of a node");
    uint64_t count = uint64_t{1} << (mask_ - cluster_.bits);
    for (uint64_t i = 0; i < count; ++i) {
      std::string cidr = fmt::format("{}/{}", ipv4_text(cluster_.base + static_cast<uint32_t>(i << (32 - mask_))), mask_);
      if (!attempt.store.get(claim_key(cidr))) return cidr;
    }
    return base::fail(507, "InsufficientStorage", "no network is left in the cluster CIDR for another node");
  }

  Cidr cluster_{};
  int mask_;
};

}  // namespace

std::unique_ptr<const Strategy> make_node_strategy(const ApiServerOptions& options) { return std::make_unique<Node>(options); }

}  // namespace server
