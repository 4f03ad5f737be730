// Secrets: stringData is written into data and not kept.
#include "base/bytes.h"
#include "server/apiserver/strategy/all.h"

namespace server {
namespace {

using base::json::object;
using base::json::value;

void fold_string_data(object& o) {
  const value* plain = o.if_contains("stringData");
  if (!plain) return;
  if (plain->is_object() && !plain->get_object().empty()) {
    object copied = plain->get_object();
    value& data = o["data"];
    if (!data.is_object()) data.emplace_object();
    for (const auto& [name, v] : copied)
      if (v.is_string()) data.get_object()[name] = base::base64_encode(v.get_string());
  }
  o.erase("stringData");
}

class Secret final : public Strategy {
 public:
  Result<> prepare_create(WriteAttempt&, object& o) const override {
    fold_string_data(o);
    if (text_of(o, "type").empty()) o["type"] = "Opaque";
    return {};
  }
  Result<> prepare_update(WriteAttempt&, object& now, const object& before) const override {
    fold_string_data(now);
    if (text_of(now, "type").empty()) now["type"] = text_of(before, "type");
    return {};
  }
  void validate_create(const WriteAttempt&, const object& o, std::vector<base::Cause>& causes) const override {
    const value* data = o.if_contains("data");
    auto has = [&](std::string_view key) { return data && data->is_object() && data->get_object().contains(key); };
    auto need = [&](std::initializer_list<std::string_view> keys) {
      for (std::string_view key : keys)
        if (!has(key)) causes.push_back(required("data[" + std::string(key) + "]"));
    };
    std::string_view type = text_of(o, "type");
    if (type == "kubernetes.io/tls") need({"tls.crt", "tls.key"});
    else if (type == "kubernetes.io/dockerconfigjson") need({".dockerconfigjson"});
    else if (type == "kubernetes.io/dockercfg") need({".dockercfg"});
    else if (type == "kubernetes.io/ssh-auth") need({"ssh-privatekey"});
    constexpr std::string_view account = "kubernetes.io/service-account.name";
    const value* notes = type == "kubernetes.io/service-account-token" ? metadata_of(o).if_contains("annotations") : nullptr;
    if (type == "kubernetes.io/service-account-token" && (!notes || !notes->is_object() || text_of(notes->get_object(), account).empty()))
      causes.push_back(required("metadata.annotations[" + std::string(account) + "]"));
  }
};

}  // namespace

std::unique_ptr<const Strategy> make_secret_strategy() { return std::make_unique<Secret>(); }

}  // namespace server
