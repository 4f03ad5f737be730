// CertificateSigningRequests carry who asked, as authentication saw it; what has been decided about one stays decided.
#include <fmt/format.h>

#include "base/bytes.h"
#include "base/time.h"
#include "server/apiserver/pki/certificate.h"
#include "server/apiserver/strategy/all.h"

namespace server {
namespace {

using base::json::array;
using base::json::object;
using base::json::value;

const array& conditions_of(const object& o) {
  static const array none;
  const value* status = o.if_contains("status");
  const value* list = status && status->is_object() ? status->get_object().if_contains("conditions") : nullptr;
  return list && list->is_array() ? list->get_array() : none;
}

const value* condition(const array& list, std::string_view type) {
  for (const value& c : list)
    if (base::get_string(c, "type") == type) return &c;
  return nullptr;
}

std::string_view certificate_of(const object& o) {
  const value* status = o.if_contains("status");
  return status ? base::get_string(*status, "certificate") : std::string_view();
}

// What a condition says without its times.
bool same_condition(const value& a, const value& b) {
  for (std::string_view field : {"type", "status", "reason", "message"})
    if (base::get_string(a, field) != base::get_string(b, field)) return false;
  return true;
}

void check_conditions(const array& list, std::vector<base::Cause>& causes) {
  for (size_t i = 0; i < list.size(); ++i) {
    const std::string at = fmt::format("status.conditions[{}]", i);
    std::string_view type = base::get_string(list[i], "type"), status = base::get_string(list[i], "status");
    if (type.empty()) causes.push_back(required(at + ".type"));
    if ((type == "Approved" || type == "Denied" || type == "Failed") && status != "True")
      causes.push_back(not_supported(at + ".status", status, {"True"}));
  }
  if (condition(list, "Approved") && condition(list, "Denied"))
    causes.push_back(invalid_value("status.conditions", value("Denied"), "Approved and Denied conditions are mutually exclusive"));
}

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
    spec["groups"] = array(user.groups.begin(), user.groups.end());
    object extra;
    for (const auto& [key, values] : user.extra) extra[key] = array(values.begin(), values.end());
    if (extra.empty()) spec.erase("extra");
    else spec["extra"] = std::move(extra);
    return {};
  }

  Result<> prepare_update(WriteAttempt&, object& now, const object& before) const override {
    if (const value* spec = before.if_contains("spec")) now["spec"] = *spec;
    value* status = now.if_contains("status");
    value* list = status && status->is_object() ? status->get_object().if_contains("conditions") : nullptr;
    if (!list || !list->is_array()) return {};
    const std::string time = base::now_rfc3339();
    for (value& c : list->get_array()) {
      if (!c.is_object()) continue;
      object& one = c.get_object();
      const value* old = condition(conditions_of(before), text_of(one, "type"));
      if (text_of(one, "lastUpdateTime").empty()) one["lastUpdateTime"] = time;
      if (!text_of(one, "lastTransitionTime").empty()) continue;
      const bool kept =
          old && base::get_string(*old, "status") == text_of(one, "status") && !base::get_string(*old, "lastTransitionTime").empty();
      one["lastTransitionTime"] = kept ? std::string(base::get_string(*old, "lastTransitionTime")) : time;
    }
    return {};
  }

  void validate_create(const WriteAttempt&, const object& o, std::vector<base::Cause>& causes) const override {
    const value* spec = o.if_contains("spec");
    if (!spec) return;
    auto pem = base::base64_decode(base::get_string(*spec, "request"));
    auto facts = pem ? pki::read_request(*pem) : Result<pki::RequestFacts>(base::bad_request("not base64"));
    if (!facts) causes.push_back(invalid_value("spec.request", value("<certificate request>"), facts.error().message));
    std::string_view signer = base::get_string(*spec, "signerName");
    if (signer == "kubernetes.io/legacy-unknown")
      causes.push_back(invalid_value("spec.signerName", value(signer), "the legacy signerName is not allowed via this API version"));
  }

  void validate_update(const WriteAttempt& attempt, const object& now, const object& before,
                       std::vector<base::Cause>& causes) const override {
    const array &list = conditions_of(now), &old = conditions_of(before);
    check_conditions(list, causes);
    auto refuse = [&](std::string_view what, std::string_view type) {
      causes.push_back(forbidden_field("status.conditions", fmt::format("updates may not {} a condition of type \"{}\"", what, type)));
    };
    for (std::string_view type : {"Approved", "Denied", "Failed"})
      if (condition(old, type) && !condition(list, type)) refuse("remove", type);
    if (attempt.subresource != "approval")
      for (std::string_view type : {"Approved", "Denied"}) {
        const value *had = condition(old, type), *has = condition(list, type);
        if (has && !had) refuse("add", type);
        else if (has && !same_condition(*has, *had)) refuse("modify", type);
      }
    if (certificate_of(now) == certificate_of(before)) return;
    if (attempt.subresource != "status") causes.push_back(forbidden_field("status.certificate", "updates may not set certificate content"));
    else if (!certificate_of(before).empty())
      causes.push_back(forbidden_field("status.certificate", "updates may not modify existing certificate content"));
    else if (auto pem = base::base64_decode(certificate_of(now)); !pem || !pki::read_certificate(*pem))
      causes.push_back(invalid_value("status.certificate", value("<certificate data>"), "must contain at least one CERTIFICATE PEM block"));
  }
};

}  // namespace

std::unique_ptr<const Strategy> make_certificate_request_strategy() { return std::make_unique<CertificateRequest>(); }

}  // namespace server
