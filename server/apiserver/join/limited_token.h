// Join tokens of limited life: "<id>.<secret>" of six and sixteen characters, made by `appliance token create`. Kept as Secrets
// kube-system/join-token-<id> of type appliance.dev/join-token, which hold only the secret's hash; they join agents, nothing else.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/json.h"
#include "base/time.h"
#include "datastore/store.h"

namespace server {

inline constexpr std::string_view join_token_type = "appliance.dev/join-token";
inline constexpr std::string_view join_token_prefix = "join-token-";

// A new one: "<id>.<secret>", of the kernel's random bytes.
std::string make_limited_token();
// The Secret to create for it. No expiry: until it is deleted.
base::json::object limited_token_secret(std::string_view token, std::optional<base::WallTime> expiry, std::string_view description);
// Whether the token is one that exists and has not expired.
bool limited_token_holds(const datastore::Store& store, std::string_view token);

}  // namespace server
