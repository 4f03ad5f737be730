#include "base/seal.h"

#include <memory>

#include <openssl/evp.h>

#include "base/bytes.h"

namespace base {
namespace {

constexpr size_t kNonce = 12, kTag = 16;

const unsigned char* bytes(std::string_view s) { return reinterpret_cast<const unsigned char*>(s.data()); }
unsigned char* bytes(std::string& s, size_t at) { return reinterpret_cast<unsigned char*>(s.data() + at); }

struct Context {
  EVP_CIPHER_CTX* c = EVP_CIPHER_CTX_new();
  ~Context() { EVP_CIPHER_CTX_free(c); }
};

}  // namespace

std::string seal(std::string_view key, std::string_view context, std::string_view plain) {
  std::string out = random_bytes(kNonce);
  out.resize(kNonce + plain.size() + kTag);
  Context x;
  int n = 0;
  bool ok = x.c && key.size() == kSealKeyBytes && EVP_EncryptInit_ex(x.c, EVP_aes_256_gcm(), nullptr, bytes(key), bytes(out, 0)) == 1 &&
            EVP_EncryptUpdate(x.c, nullptr, &n, bytes(context), static_cast<int>(context.size())) == 1 &&
            EVP_EncryptUpdate(x.c, bytes(out, kNonce), &n, bytes(plain), static_cast<int>(plain.size())) == 1 &&
            EVP_EncryptFinal_ex(x.c, bytes(out, kNonce + plain.size()), &n) == 1 &&
            EVP_CIPHER_CTX_ctrl(x.c, EVP_CTRL_GCM_GET_TAG, kTag, bytes(out, kNonce + plain.size())) == 1;
  if (!ok) std::abort();  // never a plain text in place of a sealed one
  return out;
}

Result<std::string> unseal(std::string_view key, std::string_view context, std::string_view sealed) {
  if (sealed.size() < kSealOverhead || key.size() != kSealKeyBytes) return bad_request("not a sealed message");
  std::string_view nonce = sealed.substr(0, kNonce), tag = sealed.substr(sealed.size() - kTag);
  sealed = sealed.substr(kNonce, sealed.size() - kSealOverhead);
  std::string out(sealed.size() + kTag, '\0');
  Context x;
  int n = 0;
  bool ok = x.c && EVP_DecryptInit_ex(x.c, EVP_aes_256_gcm(), nullptr, bytes(key), bytes(nonce)) == 1 &&
            EVP_DecryptUpdate(x.c, nullptr, &n, bytes(context), static_cast<int>(context.size())) == 1 &&
            EVP_DecryptUpdate(x.c, bytes(out, 0), &n, bytes(sealed), static_cast<int>(sealed.size())) == 1 &&
            EVP_CIPHER_CTX_ctrl(x.c, EVP_CTRL_GCM_SET_TAG, kTag, const_cast<char*>(tag.data())) == 1 &&
            EVP_DecryptFinal_ex(x.c, bytes(out, sealed.size()), &n) == 1;
  if (!ok) return bad_request("the sealed message does not belong to this key and place, or has been changed");
  out.resize(sealed.size());
  return out;
}

}  // namespace base
