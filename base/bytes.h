// Encodings and digests over bytes. All functions are pure and thread-safe.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/error.h"

namespace base {

// An immutable buffer shared by store, caches and watchers.
using Bytes = std::shared_ptr<const std::string>;
inline Bytes make_bytes(std::string s) { return std::make_shared<const std::string>(std::move(s)); }

std::string base64_encode(std::string_view in);
Result<std::string> base64_decode(std::string_view in);      // standard alphabet, padding required
std::string base64url_encode(std::string_view in);           // no padding (RFC 7515)
Result<std::string> base64url_decode(std::string_view in);   // padding optional
std::string hex_encode(std::string_view in);
Result<std::string> hex_decode(std::string_view in);

std::string sha256(std::string_view in);      // 32 raw bytes
std::string sha256_hex(std::string_view in);
std::string sha1(std::string_view in);
std::string hmac_sha256(std::string_view key, std::string_view in);
bool equal_constant_time(std::string_view a, std::string_view b);
uint32_t crc32(std::string_view in, uint32_t seed = 0);

std::string random_bytes(size_t n);           // from the kernel's generator
std::string uuid4();
// n characters of the alphabet Kubernetes uses for generated names (no vowels, no 0/1/3).
std::string random_suffix(size_t n);

std::string percent_decode(std::string_view in, bool plus_is_space = false);
std::string percent_encode(std::string_view in);  // keeps unreserved characters (RFC 3986)

}  // namespace base
