// CertificateSigningRequests carry who asked, as authentication saw it.
#include "server/apiserver/strategy/all.h"

namespace server {
namespace {

using base::json::array;
using base::json::object;
using base::json::value;

class CertificateRequest final : public Strategy {
 public:
  Result<> prepare_create(WriteAttempt& attempt, object& o) const override {
    value& v = o["spec"];
    if (!v.is_object()) v.emplace_object();
    object& spec = v.get_object();
    const UserInfo& user = *attempt.call.user;
    spec["username"] = user.name;
    if (user.uid.empty()) spec.erase("uid");
    else spec["uid"] = user.uid;
    array groups;
    for (const std::string& g : user.groups) groups.emplace_back(g);
    spec["groups"] = std::move(groups);
    object extra;
    for (const auto& [key, values] : user.extra) {
      array list;
      for (const std::string& s : values) list.emplace_back(s);
      extra[key] = std::move(list);
    }
    if (extra.empty()) spec.erase("extra");
    else spec["extra"] = std::move(extra);
    return {};
  }
  Result<> prepare_update(WriteAttempt&, object& now, const object& before) const override {
    if (const value* spec = before.if_contains("spec")) now["spec"] = *spec;
    return {};
  }
};

}  // namespace

std::unique_ptr<const Strategy> make_certificate_request_strategy() { return std::make_unique<CertificateRequest>(); }

}  // namespace server
