#include "base/bytes.h"

#include <sys/random.h>

#include <array>
#include <cstdlib>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <zlib.h>

namespace base {
namespace {

constexpr char kStd[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr char kUrl[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

std::string encode64(std::string_view in, const char* alphabet, bool pad) {
  std::string out;
  out.reserve((in.size() + 2) / 3 * 4);
  size_t i = 0;
  auto at = [&](size_t k) { return static_cast<unsigned char>(in[k]); };
  for (; i + 2 < in.size(); i += 3) {
    unsigned v = static_cast<unsigned>(at(i) << 16 | at(i + 1) << 8 | at(i + 2));
    for (int s = 18; s >= 0; s -= 6) out += alphabet[(v >> s) & 63];
  }
  size_t rest = in.size() - i;
  if (rest == 0) return out;
  unsigned v = static_cast<unsigned>(at(i) << 16 | (rest == 2 ? at(i + 1) << 8 : 0));
  out += alphabet[v >> 18 & 63];
  out += alphabet[v >> 12 & 63];
  if (rest == 2) out += alphabet[v >> 6 & 63];
  if (pad) out.append(3 - rest, '=');
  return out;
}

Result<std::string> decode64(std::string_view in, const char* alphabet, bool pad) {
  if (pad && in.size() % 4 != 0) return bad_request("illegal base64 data");
  while (!in.empty() && in.back() == '=') in.remove_suffix(1);
  std::array<int8_t, 256> table;
  table.fill(-1);
  for (int i = 0; i < 64; ++i) table[static_cast<unsigned char>(alphabet[i])] = static_cast<int8_t>(i);
  std::string out;
  out.reserve(in.size() * 3 / 4);
  unsigned v = 0;
  int bits = 0;
  for (unsigned char c : in) {
    if (table[c] < 0) return bad_request("illegal base64 data");
    v = v << 6 | static_cast<unsigned>(table[c]);
    bits += 6;
    if (bits >= 8) {
      bits -= 8;
      out += static_cast<char>(v >> bits & 255);
    }
  }
  if (in.size() % 4 == 1) return bad_request("illegal base64 data");
  return out;
}

std::string digest(const EVP_MD* md, std::string_view in) {
  unsigned char out[EVP_MAX_MD_SIZE];
  unsigned n = 0;
  EVP_Digest(in.data(), in.size(), out, &n, md, nullptr);
  return {reinterpret_cast<char*>(out), n};
}

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

std::string base64_encode(std::string_view in) { return encode64(in, kStd, true); }
std::string base64url_encode(std::string_view in) { return encode64(in, kUrl, false); }
Result<std::string> base64_decode(std::string_view in) { return decode64(in, kStd, true); }
Result<std::string> base64url_decode(std::string_view in) { return decode64(in, kUrl, false); }

std::string hex_encode(std::string_view in) {
  constexpr char digits[] = "0123456789abcdef";
  std::string out;
  out.reserve(in.size() * 2);
  for (unsigned char c : in) {
    out += digits[c >> 4];
    out += digits[c & 15];
  }
  return out;
}

Result<std::string> hex_decode(std::string_view in) {
  if (in.size() % 2) return bad_request("odd length hex string");
  std::string out;
  for (size_t i = 0; i < in.size(); i += 2) {
    int a = hex_value(in[i]), b = hex_value(in[i + 1]);
    if (a < 0 || b < 0) return bad_request("invalid hex digit");
    out += static_cast<char>(a << 4 | b);
  }
  return out;
}

std::string sha256(std::string_view in) { return digest(EVP_sha256(), in); }
std::string sha256_hex(std::string_view in) { return hex_encode(sha256(in)); }
std::string sha1(std::string_view in) { return digest(EVP_sha1(), in); }

std::string hmac_sha256(std::string_view key, std::string_view in) {
  unsigned char out[EVP_MAX_MD_SIZE];
  unsigned n = 0;
  HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), reinterpret_cast<const unsigned char*>(in.data()), in.size(), out, &n);
  return {reinterpret_cast<char*>(out), n};
}

bool equal_constant_time(std::string_view a, std::string_view b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

uint32_t crc32(std::string_view in, uint32_t seed) {
  return static_cast<uint32_t>(::crc32_z(seed, reinterpret_cast<const unsigned char*>(in.data()), in.size()));
}

std::string random_bytes(size_t n) {
  std::string out(n, '\0');
  size_t done = 0;
  while (done < n) {
    ssize_t r = getrandom(out.data() + done, n - done, 0);
    if (r > 0) done += static_cast<size_t>(r);
    else if (errno != EINTR) std::abort();  // no entropy source: nothing secret may be made
  }
  return out;
}

std::string uuid4() {
  std::string r = random_bytes(16);
  r[6] = static_cast<char>((r[6] & 0x0f) | 0x40);
  r[8] = static_cast<char>((r[8] & 0x3f) | 0x80);
  std::string h = hex_encode(r);
  for (size_t at : {8u, 13u, 18u, 23u}) h.insert(at, 1, '-');
  return h;
}

std::string random_suffix(size_t n) {
  constexpr std::string_view alphabet = "bcdfghjklmnpqrstvwxz2456789";
  std::string out;
  while (out.size() < n) {
    for (unsigned char c : random_bytes(n + 8)) {
      if (c < 256 / alphabet.size() * alphabet.size() && out.size() < n) out += alphabet[c % alphabet.size()];
    }
  }
  return out;
}

std::string percent_decode(std::string_view in, bool plus_is_space) {
  std::string out;
  for (size_t i = 0; i < in.size(); ++i) {
    if (in[i] == '%' && i + 2 < in.size() && hex_value(in[i + 1]) >= 0 && hex_value(in[i + 2]) >= 0) {
      out += static_cast<char>(hex_value(in[i + 1]) << 4 | hex_value(in[i + 2]));
      i += 2;
    } else {
      out += plus_is_space && in[i] == '+' ? ' ' : in[i];
    }
  }
  return out;
}

std::string percent_encode(std::string_view in) {
  constexpr char digits[] = "0123456789ABCDEF";
  std::string out;
  for (unsigned char c : in) {
    bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '.' || c == '_' || c == '~';
    if (plain) {
      out += static_cast<char>(c);
    } else {
      out += '%';
      out += digits[c >> 4];
      out += digits[c & 15];
    }
  }
  return out;
}

}  // namespace base
