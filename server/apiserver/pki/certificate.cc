#include "server/apiserver/pki/certificate.h"

#include <arpa/inet.h>
#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <memory>

#include <fmt/format.h>

namespace server::pki {
namespace {

template <class T, void (*F)(T*)>
struct Free {
  void operator()(T* p) const { F(p); }
};
using Key = std::unique_ptr<EVP_PKEY, Free<EVP_PKEY, EVP_PKEY_free>>;
using Cert = std::unique_ptr<X509, Free<X509, X509_free>>;
using Req = std::unique_ptr<X509_REQ, Free<X509_REQ, X509_REQ_free>>;
using Name = std::unique_ptr<X509_NAME, Free<X509_NAME, X509_NAME_free>>;
struct FreeBio {
  void operator()(BIO* p) const { BIO_free(p); }
};
using Bio = std::unique_ptr<BIO, FreeBio>;

base::Failure failed(std::string_view what) {
  char text[160] = "unknown error";
  if (unsigned long e = ERR_get_error(); e != 0) ERR_error_string_n(e, text, sizeof text);
  ERR_clear_error();
  return base::internal(fmt::format("{}: {}", what, text));
}

Bio reader(std::string_view text) { return Bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size()))); }

std::string drain(BIO* bio) {
  char* data = nullptr;
  long n = BIO_get_mem_data(bio, &data);
  return {data, static_cast<size_t>(n)};
}

Result<Key> private_key(std::string_view pem) {
  Bio bio = reader(pem);
  Key key(PEM_read_bio_PrivateKey(bio.get(), nullptr, nullptr, nullptr));
  if (!key) return failed("private key");
  return key;
}

Result<Key> public_key(std::string_view pem) {
  Bio bio = reader(pem);
  Key key(PEM_read_bio_PUBKEY(bio.get(), nullptr, nullptr, nullptr));
  if (!key) return failed("public key");
  return key;
}

std::string public_pem(EVP_PKEY* key) {
  Bio out(BIO_new(BIO_s_mem()));
  PEM_write_bio_PUBKEY(out.get(), key);
  return drain(out.get());
}

void set_name(X509_NAME* name, const Subject& subject) {
  auto add = [&](int nid, const std::string& value) {
    X509_NAME_add_entry_by_NID(name, nid, MBSTRING_UTF8, reinterpret_cast<const unsigned char*>(value.data()), static_cast<int>(value.size()), -1, 0);
  };
  for (const std::string& o : subject.organizations) add(NID_organizationName, o);
  add(NID_commonName, subject.common_name);
}

Subject read_name(const X509_NAME* name) {
  Subject out;
  for (int i = 0; i < X509_NAME_entry_count(name); ++i) {
    const X509_NAME_ENTRY* entry = X509_NAME_get_entry(name, i);
    int nid = OBJ_obj2nid(X509_NAME_ENTRY_get_object(entry));
    if (nid != NID_commonName && nid != NID_organizationName) continue;
    unsigned char* utf8 = nullptr;
    int n = ASN1_STRING_to_UTF8(&utf8, X509_NAME_ENTRY_get_data(entry));
    if (n < 0) continue;
    std::string value(reinterpret_cast<char*>(utf8), static_cast<size_t>(n));
    OPENSSL_free(utf8);
    if (nid == NID_commonName) out.common_name = value;
    else out.organizations.push_back(value);
  }
  return out;
}

void read_names(const GENERAL_NAMES* names, std::vector<std::string>& dns, std::vector<std::string>& ips, bool& other) {
  for (int i = 0; i < sk_GENERAL_NAME_num(names); ++i) {
    const GENERAL_NAME* n = sk_GENERAL_NAME_value(names, i);
    if (n->type == GEN_DNS) {
      dns.emplace_back(reinterpret_cast<const char*>(ASN1_STRING_get0_data(n->d.dNSName)), static_cast<size_t>(ASN1_STRING_length(n->d.dNSName)));
    } else if (n->type == GEN_IPADD) {
      char text[INET6_ADDRSTRLEN];
      int family = ASN1_STRING_length(n->d.iPAddress) == 4 ? AF_INET : AF_INET6;
      if (inet_ntop(family, ASN1_STRING_get0_data(n->d.iPAddress), text, sizeof text)) ips.emplace_back(text);
    } else {
      other = true;
    }
  }
}

base::WallTime read_time(const ASN1_TIME* t) {
  struct tm tm {};
  ASN1_TIME_to_tm(t, &tm);
  return base::WallClock::from_time_t(timegm(&tm));
}

bool add_extension(X509* cert, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX ctx;
  X509V3_set_ctx_nodb(&ctx);
  X509V3_set_ctx(&ctx, issuer, cert, nullptr, nullptr, 0);
  X509_EXTENSION* ext = X509V3_EXT_conf_nid(nullptr, &ctx, nid, value.c_str());
  if (!ext) return false;
  bool ok = X509_add_ext(cert, ext, -1) == 1;
  X509_EXTENSION_free(ext);
  return ok;
}

// Built from structures, not from configuration text, so that a name cannot inject syntax.
bool add_alternative_names(X509* cert, const Profile& profile) {
  GENERAL_NAMES* names = sk_GENERAL_NAME_new_null();
  for (const std::string& dns : profile.dns_names) {
    GENERAL_NAME* n = GENERAL_NAME_new();
    ASN1_IA5STRING* s = ASN1_IA5STRING_new();
    ASN1_STRING_set(s, dns.data(), static_cast<int>(dns.size()));
    GENERAL_NAME_set0_value(n, GEN_DNS, s);
    sk_GENERAL_NAME_push(names, n);
  }
  for (const std::string& ip : profile.ip_addresses) {
    unsigned char raw[16];
    int length = inet_pton(AF_INET, ip.c_str(), raw) == 1 ? 4 : inet_pton(AF_INET6, ip.c_str(), raw) == 1 ? 16 : 0;
    if (length == 0) continue;
    GENERAL_NAME* n = GENERAL_NAME_new();
    ASN1_OCTET_STRING* s = ASN1_OCTET_STRING_new();
    ASN1_OCTET_STRING_set(s, raw, length);
    GENERAL_NAME_set0_value(n, GEN_IPADD, s);
    sk_GENERAL_NAME_push(names, n);
  }
  bool ok = sk_GENERAL_NAME_num(names) == 0 || X509_add1_ext_i2d(cert, NID_subject_alt_name, names, 0, 0) == 1;
  GENERAL_NAMES_free(names);
  return ok;
}

Result<std::string> sign(X509* issuer, EVP_PKEY* issuer_key, EVP_PKEY* subject_key, const Profile& profile) {
  Cert cert(X509_new());
  if (!cert) return failed("certificate");
  X509_set_version(cert.get(), 2);
  unsigned char serial[16];
  if (RAND_bytes(serial, sizeof serial) != 1) return failed("serial number");
  serial[0] &= 0x7f;
  BIGNUM* number = BN_bin2bn(serial, sizeof serial, nullptr);
  BN_to_ASN1_INTEGER(number, X509_get_serialNumber(cert.get()));
  BN_free(number);
  X509_gmtime_adj(X509_getm_notBefore(cert.get()), -static_cast<long>(profile.backdate.count()));
  X509_time_adj_ex(X509_getm_notAfter(cert.get()), static_cast<int>(profile.validity.count() / 86400), static_cast<long>(profile.validity.count() % 86400),
                   nullptr);
  X509_set_pubkey(cert.get(), subject_key);
  Name name(X509_NAME_new());
  set_name(name.get(), profile.subject);
  X509_set_subject_name(cert.get(), name.get());
  X509* parent = issuer ? issuer : cert.get();
  X509_set_issuer_name(cert.get(), X509_get_subject_name(parent));

  bool ok = add_extension(cert.get(), parent, NID_basic_constraints, profile.authority ? "critical,CA:TRUE" : "critical,CA:FALSE");
  ok = ok && add_extension(cert.get(), parent, NID_key_usage, profile.authority ? "critical,keyCertSign,cRLSign,digitalSignature" : "critical,digitalSignature");
  if (profile.server || profile.client)
    ok = ok && add_extension(cert.get(), parent, NID_ext_key_usage,
                             profile.server && profile.client ? "serverAuth,clientAuth" : profile.server ? "serverAuth" : "clientAuth");
  ok = ok && add_extension(cert.get(), parent, NID_subject_key_identifier, "hash");
  ok = ok && add_extension(cert.get(), parent, NID_authority_key_identifier, "keyid:always");
  ok = ok && add_alternative_names(cert.get(), profile);
  if (!ok || X509_sign(cert.get(), issuer_key, EVP_sha256()) == 0) return failed("signing a certificate");
  Bio out(BIO_new(BIO_s_mem()));
  PEM_write_bio_X509(out.get(), cert.get());
  return drain(out.get());
}

CertificateFacts facts_of(X509* cert) {
  CertificateFacts out;
  out.subject = read_name(X509_get_subject_name(cert));
  out.not_before = read_time(X509_get0_notBefore(cert));
  out.not_after = read_time(X509_get0_notAfter(cert));
  if (EVP_PKEY* key = X509_get0_pubkey(cert)) out.public_key_pem = public_pem(key);
  if (auto* names = static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(cert, NID_subject_alt_name, nullptr, nullptr))) {
    bool other = false;
    read_names(names, out.dns_names, out.ip_addresses, other);
    GENERAL_NAMES_free(names);
  }
  return out;
}

}  // namespace

Result<std::string> make_key() {
  Key key(EVP_EC_gen("P-256"));
  if (!key) return failed("new key");
  Bio out(BIO_new(BIO_s_mem()));
  if (PEM_write_bio_PKCS8PrivateKey(out.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr) != 1) return failed("new key");
  return drain(out.get());
}

Result<std::string> public_key_of(const std::string& private_key_pem) {
  TRY(Key key, private_key(private_key_pem));
  return public_pem(key.get());
}

Result<KeyPair> make_authority(const std::string& common_name, std::chrono::seconds validity) {
  TRY(std::string pem, make_key());
  TRY(Key key, private_key(pem));
  Profile profile;
  profile.subject.common_name = common_name;
  profile.authority = true;
  profile.validity = validity;
  TRY(std::string cert, sign(nullptr, key.get(), key.get(), profile));
  return KeyPair{cert, pem};
}

Result<std::string> issue(const KeyPair& authority, const std::string& public_key_pem, const Profile& profile) {
  TRY(Key ca_key, private_key(authority.key_pem));
  TRY(Key subject_key, public_key(public_key_pem));
  Bio bio = reader(authority.certificate_pem);
  Cert ca(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
  if (!ca) return failed("cluster CA");
  return sign(ca.get(), ca_key.get(), subject_key.get(), profile);
}

Result<KeyPair> issue_pair(const KeyPair& authority, const Profile& profile) {
  TRY(std::string key, make_key());
  TRY(std::string pub, public_key_of(key));
  TRY(std::string cert, issue(authority, pub, profile));
  return KeyPair{cert, key};
}

Result<CertificateFacts> read_certificate(std::string_view pem) {
  Bio bio = reader(pem);
  Cert cert(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
  if (!cert) return failed("certificate");
  return facts_of(cert.get());
}

Result<CertificateFacts> read_certificate_der(std::string_view der) {
  auto* p = reinterpret_cast<const unsigned char*>(der.data());
  Cert cert(d2i_X509(nullptr, &p, static_cast<long>(der.size())));
  if (!cert) return failed("certificate");
  return facts_of(cert.get());
}

Result<RequestFacts> read_request(std::string_view pem) {
  Bio bio = reader(pem);
  Req req(PEM_read_bio_X509_REQ(bio.get(), nullptr, nullptr, nullptr));
  ERR_clear_error();
  if (!req) return base::bad_request("not a PEM certificate request");
  EVP_PKEY* key = X509_REQ_get0_pubkey(req.get());
  if (!key || X509_REQ_verify(req.get(), key) != 1) {
    ERR_clear_error();
    return base::bad_request("the certificate request is not signed by its own key");
  }
  RequestFacts out;
  out.subject = read_name(X509_REQ_get_subject_name(req.get()));
  out.public_key_pem = public_pem(key);
  if (STACK_OF(X509_EXTENSION)* extensions = X509_REQ_get_extensions(req.get())) {
    if (auto* names = static_cast<GENERAL_NAMES*>(X509V3_get_d2i(extensions, NID_subject_alt_name, nullptr, nullptr))) {
      read_names(names, out.dns_names, out.ip_addresses, out.other_names);
      GENERAL_NAMES_free(names);
    }
    sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
  }
  return out;
}

Result<std::string> make_request(const std::string& private_key_pem, const Subject& subject) {
  TRY(Key key, private_key(private_key_pem));
  Req req(X509_REQ_new());
  X509_REQ_set_version(req.get(), 0);
  Name name(X509_NAME_new());
  set_name(name.get(), subject);
  X509_REQ_set_subject_name(req.get(), name.get());
  X509_REQ_set_pubkey(req.get(), key.get());
  if (X509_REQ_sign(req.get(), key.get(), EVP_sha256()) == 0) return failed("signing a request");
  Bio out(BIO_new(BIO_s_mem()));
  PEM_write_bio_X509_REQ(out.get(), req.get());
  return drain(out.get());
}

Result<std::string> sign_es256(const std::string& private_key_pem, std::string_view data) {
  TRY(Key key, private_key(private_key_pem));
  std::unique_ptr<EVP_MD_CTX, Free<EVP_MD_CTX, EVP_MD_CTX_free>> ctx(EVP_MD_CTX_new());
  unsigned char der[128];
  size_t n = sizeof der;
  if (EVP_DigestSignInit(ctx.get(), nullptr, EVP_sha256(), nullptr, key.get()) != 1 ||
      EVP_DigestSign(ctx.get(), der, &n, reinterpret_cast<const unsigned char*>(data.data()), data.size()) != 1)
    return failed("signing");
  const unsigned char* p = der;
  ECDSA_SIG* sig = d2i_ECDSA_SIG(nullptr, &p, static_cast<long>(n));
  if (!sig) return failed("signing");
  std::string out(64, '\0');
  BN_bn2binpad(ECDSA_SIG_get0_r(sig), reinterpret_cast<unsigned char*>(out.data()), 32);
  BN_bn2binpad(ECDSA_SIG_get0_s(sig), reinterpret_cast<unsigned char*>(out.data()) + 32, 32);
  ECDSA_SIG_free(sig);
  return out;
}

bool verify_es256(const std::string& public_key_pem, std::string_view data, std::string_view signature) {
  if (signature.size() != 64) return false;
  auto key = public_key(public_key_pem);
  if (!key) return false;
  ECDSA_SIG* sig = ECDSA_SIG_new();
  auto* raw = reinterpret_cast<const unsigned char*>(signature.data());
  ECDSA_SIG_set0(sig, BN_bin2bn(raw, 32, nullptr), BN_bin2bn(raw + 32, 32, nullptr));
  unsigned char* der = nullptr;
  int n = i2d_ECDSA_SIG(sig, &der);
  ECDSA_SIG_free(sig);
  if (n <= 0) return false;
  std::unique_ptr<EVP_MD_CTX, Free<EVP_MD_CTX, EVP_MD_CTX_free>> ctx(EVP_MD_CTX_new());
  bool ok = EVP_DigestVerifyInit(ctx.get(), nullptr, EVP_sha256(), nullptr, key->get()) == 1 &&
            EVP_DigestVerify(ctx.get(), der, static_cast<size_t>(n), reinterpret_cast<const unsigned char*>(data.data()), data.size()) == 1;
  OPENSSL_free(der);
  ERR_clear_error();
  return ok;
}

Result<PublicPoint> public_point(const std::string& public_key_pem) {
  TRY(Key key, public_key(public_key_pem));
  BIGNUM *x = nullptr, *y = nullptr;
  if (EVP_PKEY_get_bn_param(key.get(), OSSL_PKEY_PARAM_EC_PUB_X, &x) != 1 || EVP_PKEY_get_bn_param(key.get(), OSSL_PKEY_PARAM_EC_PUB_Y, &y) != 1) {
    BN_free(x);
    return failed("public key is not on P-256");
  }
  PublicPoint out{std::string(32, '\0'), std::string(32, '\0')};
  BN_bn2binpad(x, reinterpret_cast<unsigned char*>(out.x.data()), 32);
  BN_bn2binpad(y, reinterpret_cast<unsigned char*>(out.y.data()), 32);
  BN_free(x);
  BN_free(y);
  return out;
}

}  // namespace server::pki
