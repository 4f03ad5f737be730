// Authenticated encryption: AES-256-GCM (NIST SP 800-38D) with a random 96-bit nonce per message. Pure and thread-safe.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"

namespace base {

constexpr size_t kSealKeyBytes = 32;
constexpr size_t kSealOverhead = 12 + 16;  // nonce and tag

// nonce, ciphertext, tag. `key` has kSealKeyBytes; `context` is authenticated, not stored. One key is good for 2^32 messages.
std::string seal(std::string_view key, std::string_view context, std::string_view plain);
// 400 when the key or the context is another, or a bit has changed.
Result<std::string> unseal(std::string_view key, std::string_view context, std::string_view sealed);

}  // namespace base
