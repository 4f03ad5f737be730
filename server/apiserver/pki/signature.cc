#include "server/apiserver/pki/signature.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include "base/bytes.h"
#include "base/openssl.h"

namespace server::pki {
namespace {

using namespace base::openssl;

struct Algorithm {
  std::string_view name;
  const EVP_MD* (*digest)();
  const char* curve;    // of ES*: what JWK calls it
  const char* group;    // and OpenSSL
  int half;             // bytes of r, and of s
  bool pss;
};

constexpr Algorithm algorithms[] = {
    {"RS256", EVP_sha256, nullptr, nullptr, 0, false},       {"RS384", EVP_sha384, nullptr, nullptr, 0, false},
    {"RS512", EVP_sha512, nullptr, nullptr, 0, false},       {"PS256", EVP_sha256, nullptr, nullptr, 0, true},
    {"PS384", EVP_sha384, nullptr, nullptr, 0, true},        {"PS512", EVP_sha512, nullptr, nullptr, 0, true},
    {"ES256", EVP_sha256, "P-256", "prime256v1", 32, false}, {"ES384", EVP_sha384, "P-384", "secp384r1", 48, false},
    {"ES512", EVP_sha512, "P-521", "secp521r1", 66, false},
};

const Algorithm* find_algorithm(std::string_view name) {
  for (const Algorithm& a : algorithms)
    if (a.name == name) return &a;
  return nullptr;
}

std::string group_of(EVP_PKEY* key) {
  char name[64] = {};
  size_t n = 0;
  return EVP_PKEY_get_group_name(key, name, sizeof name, &n) == 1 ? std::string(name, n) : std::string();
}

bool fits(const Algorithm& a, EVP_PKEY* key) {
  if (a.curve == nullptr) return EVP_PKEY_is_a(key, "RSA") == 1 && EVP_PKEY_get_bits(key) >= 2048;
  return EVP_PKEY_is_a(key, "EC") == 1 && group_of(key) == a.group;
}

base::Failure unusable(std::string_view why) {
  ERR_clear_error();
  return base::bad_request("a key that cannot sign tokens: " + std::string(why));
}

// `key` with the id and algorithm that follow from it.
Result<JwsKey> described(Key key) {
  if (!key) return unusable("no key in the text");
  for (const Algorithm& a : algorithms) {
    if (!fits(a, key.get())) continue;
    unsigned char* der = nullptr;
    int n = i2d_PUBKEY(key.get(), &der);
    if (n <= 0) return unusable("it has no public part");
    std::string id = base::base64url_encode(base::sha256(std::string_view(reinterpret_cast<char*>(der), static_cast<size_t>(n))));
    OPENSSL_free(der);
    return JwsKey{std::move(id), std::string(a.name), std::shared_ptr<EVP_PKEY>(key.release(), EVP_PKEY_free)};
  }
  return unusable("neither RSA of 2048 bits or more nor a NIST curve");
}

// A number of a JWK.
Bignum number(const base::json::value& jwk, std::string_view name) {
  auto raw = base::base64url_decode(base::get_string(jwk, name));
  if (!raw || raw->empty() || raw->size() > 1024) return nullptr;
  return Bignum(BN_bin2bn(reinterpret_cast<const unsigned char*>(raw->data()), static_cast<int>(raw->size()), nullptr));
}

Key from_parameters(const char* type, OSSL_PARAM_BLD* build) {
  Owned<OSSL_PARAM, OSSL_PARAM_free> parameters(OSSL_PARAM_BLD_to_param(build));
  Owned<EVP_PKEY_CTX, EVP_PKEY_CTX_free> context(EVP_PKEY_CTX_new_from_name(nullptr, type, nullptr));
  EVP_PKEY* key = nullptr;
  if (!parameters || !context || EVP_PKEY_fromdata_init(context.get()) != 1 ||
      EVP_PKEY_fromdata(context.get(), &key, EVP_PKEY_PUBLIC_KEY, parameters.get()) != 1)
    return nullptr;
  return Key(key);
}

Key curve_key(const base::json::value& jwk) {
  const Algorithm* curve = nullptr;
  for (const Algorithm& a : algorithms)
    if (a.curve != nullptr && base::get_string(jwk, "crv") == a.curve) curve = &a;
  auto x = base::base64url_decode(base::get_string(jwk, "x")), y = base::base64url_decode(base::get_string(jwk, "y"));
  if (curve == nullptr || !x || !y || x->size() != static_cast<size_t>(curve->half) || y->size() != x->size()) return nullptr;
  std::string point = "\x04" + *x + *y;  // uncompressed; OpenSSL checks that it is on the curve
  Owned<OSSL_PARAM_BLD, OSSL_PARAM_BLD_free> build(OSSL_PARAM_BLD_new());
  OSSL_PARAM_BLD_push_utf8_string(build.get(), OSSL_PKEY_PARAM_GROUP_NAME, curve->group, 0);
  OSSL_PARAM_BLD_push_octet_string(build.get(), OSSL_PKEY_PARAM_PUB_KEY, point.data(), point.size());
  return from_parameters("EC", build.get());
}

Key rsa_key(const base::json::value& jwk) {
  Bignum n = number(jwk, "n"), e = number(jwk, "e");
  if (!n || !e) return nullptr;
  Owned<OSSL_PARAM_BLD, OSSL_PARAM_BLD_free> build(OSSL_PARAM_BLD_new());
  OSSL_PARAM_BLD_push_BN(build.get(), OSSL_PKEY_PARAM_RSA_N, n.get());
  OSSL_PARAM_BLD_push_BN(build.get(), OSSL_PKEY_PARAM_RSA_E, e.get());
  return from_parameters("RSA", build.get());
}

bool use_padding(EVP_PKEY_CTX* context, const Algorithm& a) {
  if (a.curve != nullptr) return true;
  if (!a.pss) return EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PADDING) == 1;
  return EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PSS_PADDING) == 1 &&
         EVP_PKEY_CTX_set_rsa_pss_saltlen(context, RSA_PSS_SALTLEN_DIGEST) == 1;
}

const unsigned char* raw(std::string_view s) { return reinterpret_cast<const unsigned char*>(s.data()); }

// r || s, each of `half` bytes (RFC 7518, 3.4), from and to the DER that OpenSSL speaks.
Result<std::string> joined(std::string_view der, int half) {
  const unsigned char* p = raw(der);
  EcdsaSignature signature(d2i_ECDSA_SIG(nullptr, &p, static_cast<long>(der.size())));
  if (!signature) return base::internal("signing failed");
  std::string out(static_cast<size_t>(half) * 2, '\0');
  BN_bn2binpad(ECDSA_SIG_get0_r(signature.get()), reinterpret_cast<unsigned char*>(out.data()), half);
  BN_bn2binpad(ECDSA_SIG_get0_s(signature.get()), reinterpret_cast<unsigned char*>(out.data()) + half, half);
  return out;
}

std::string der_of(std::string_view joined, int half) {
  if (joined.size() != static_cast<size_t>(half) * 2) return {};
  EcdsaSignature signature(ECDSA_SIG_new());
  ECDSA_SIG_set0(signature.get(), BN_bin2bn(raw(joined), half, nullptr), BN_bin2bn(raw(joined) + half, half, nullptr));
  unsigned char* der = nullptr;
  int n = i2d_ECDSA_SIG(signature.get(), &der);
  std::string out = n > 0 ? std::string(reinterpret_cast<char*>(der), static_cast<size_t>(n)) : std::string();
  OPENSSL_free(der);
  return out;
}

std::string parameter(const JwsKey& key, const char* name, int size) {
  BIGNUM* number = nullptr;
  if (EVP_PKEY_get_bn_param(key.key.get(), name, &number) != 1) return {};
  Bignum owned(number);
  std::string out(static_cast<size_t>(size > 0 ? size : BN_num_bytes(number)), '\0');
  BN_bn2binpad(number, reinterpret_cast<unsigned char*>(out.data()), static_cast<int>(out.size()));
  return base::base64url_encode(out);
}

}  // namespace

Result<JwsKey> read_public_pem(std::string_view pem) {
  Bio bio = reader(pem);
  return described(Key(PEM_read_bio_PUBKEY(bio.get(), nullptr, nullptr, nullptr)));
}

Result<JwsKey> read_private_pem(std::string_view pem) {
  Bio bio = reader(pem);
  return described(Key(PEM_read_bio_PrivateKey(bio.get(), nullptr, nullptr, nullptr)));
}

Result<JwsKey> read_jwk(const base::json::value& jwk) {
  std::string_view type = base::get_string(jwk, "kty"), use = base::get_string(jwk, "use", "sig"), algorithm = base::get_string(jwk, "alg");
  if (use != "sig") return unusable("it is not one for signatures");
  TRY(JwsKey out, described(type == "EC" ? curve_key(jwk) : type == "RSA" ? rsa_key(jwk) : nullptr));
  if (std::string_view id = base::get_string(jwk, "kid"); !id.empty()) out.id = id;
  if (!algorithm.empty()) out.algorithm = algorithm;
  return out;
}

Result<base::json::object> jwk_of(const JwsKey& key) {
  const Algorithm* a = find_algorithm(key.algorithm);
  if (a == nullptr) return unusable("unknown algorithm");
  base::json::object out{{"use", "sig"}, {"kty", a->curve != nullptr ? "EC" : "RSA"}, {"kid", key.id}, {"alg", key.algorithm}};
  if (a->curve != nullptr) {
    out["crv"] = a->curve;
    out["x"] = parameter(key, OSSL_PKEY_PARAM_EC_PUB_X, a->half);
    out["y"] = parameter(key, OSSL_PKEY_PARAM_EC_PUB_Y, a->half);
  } else {
    out["n"] = parameter(key, OSSL_PKEY_PARAM_RSA_N, 0);
    out["e"] = parameter(key, OSSL_PKEY_PARAM_RSA_E, 0);
  }
  return out;
}

bool is_jws_algorithm(std::string_view name) { return find_algorithm(name) != nullptr; }

Result<std::string> sign_jws(const JwsKey& key, std::string_view data) {
  const Algorithm* a = find_algorithm(key.algorithm);
  DigestContext context(EVP_MD_CTX_new());
  EVP_PKEY_CTX* inner = nullptr;
  size_t n = 0;
  if (a == nullptr || !fits(*a, key.key.get()) || EVP_DigestSignInit(context.get(), &inner, a->digest(), nullptr, key.key.get()) != 1 ||
      !use_padding(inner, *a) || EVP_DigestSign(context.get(), nullptr, &n, raw(data), data.size()) != 1) {
    return unusable("it does not sign");
  }
  std::string out(n, '\0');
  if (EVP_DigestSign(context.get(), reinterpret_cast<unsigned char*>(out.data()), &n, raw(data), data.size()) != 1)
    return unusable("it does not sign");
  out.resize(n);
  if (a->curve == nullptr) return out;
  return joined(out, a->half);
}

bool verify_jws(const JwsKey& key, std::string_view algorithm, std::string_view data, std::string_view signature) {
  const Algorithm* a = find_algorithm(algorithm);
  if (a == nullptr || !fits(*a, key.key.get())) return false;
  std::string der;
  if (a->curve != nullptr) {
    der = der_of(signature, a->half);
    if (der.empty()) return false;
    signature = der;
  }
  DigestContext context(EVP_MD_CTX_new());
  EVP_PKEY_CTX* inner = nullptr;
  bool good = EVP_DigestVerifyInit(context.get(), &inner, a->digest(), nullptr, key.key.get()) == 1 && use_padding(inner, *a) &&
              EVP_DigestVerify(context.get(), raw(signature), signature.size(), raw(data), data.size()) == 1;
  ERR_clear_error();
  return good;
}

}  // namespace server::pki
