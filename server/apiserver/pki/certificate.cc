#include "server/apiserver/pki/certificate.h"

#include <arpa/inet.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>

#include <fmt/format.h>

#include "base/openssl.h"

namespace server::pki {
namespace {

using namespace base::openssl;

base::Failure failed(std::string_view what) {
  char text[160] = "unknown error";
  if (unsigned long e = ERR_get_error(); e != 0) ERR_error_string_n(e, text, sizeof text);
  ERR_clear_error();
  return base::internal(fmt::format("{}: {}", what, text));
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
  Bio out = writer();
  PEM_write_bio_PUBKEY(out.get(), key);
  return text_of(out);
}

void set_name(X509_NAME* name, const Subject& subject) {
  auto add = [&](int nid, const std::string& value) {
    X509_NAME_add_entry_by_NID(name, nid, MBSTRING_UTF8, reinterpret_cast<const unsigned char*>(value.data()),
                               static_cast<int>(value.size()), -1, 0);
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
      dns.emplace_back(reinterpret_cast<const char*>(ASN1_STRING_get0_data(n->d.dNSName)),
                       static_cast<size_t>(ASN1_STRING_length(n->d.dNSName)));
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
  Extension extension(X509V3_EXT_conf_nid(nullptr, &ctx, nid, value.c_str()));
  return extension && X509_add_ext(cert, extension.get(), -1) == 1;
}

// Built from structures, not from configuration text, so that a name cannot inject syntax.
bool add_alternative_names(X509* cert, const Profile& profile) {
  GeneralNames names(sk_GENERAL_NAME_new_null());
  for (const std::string& dns : profile.dns_names) {
    GENERAL_NAME* n = GENERAL_NAME_new();
    ASN1_IA5STRING* s = ASN1_IA5STRING_new();
    ASN1_STRING_set(s, dns.data(), static_cast<int>(dns.size()));
    GENERAL_NAME_set0_value(n, GEN_DNS, s);
    sk_GENERAL_NAME_push(names.get(), n);
  }
  for (const std::string& ip : profile.ip_addresses) {
    unsigned char raw[16];
    int length = inet_pton(AF_INET, ip.c_str(), raw) == 1 ? 4 : inet_pton(AF_INET6, ip.c_str(), raw) == 1 ? 16 : 0;
    if (length == 0) continue;
    GENERAL_NAME* n = GENERAL_NAME_new();
    ASN1_OCTET_STRING* s = ASN1_OCTET_STRING_new();
    ASN1_OCTET_STRING_set(s, raw, length);
    GENERAL_NAME_set0_value(n, GEN_IPADD, s);
    sk_GENERAL_NAME_push(names.get(), n);
  }
  return sk_GENERAL_NAME_num(names.get()) == 0 || X509_add1_ext_i2d(cert, NID_subject_alt_name, names.get(), 0, 0) == 1;
}

Result<std::string> sign(X509* issuer, EVP_PKEY* issuer_key, EVP_PKEY* subject_key, const Profile& profile) {
  Certificate cert(X509_new());
  if (!cert) return failed("certificate");
  X509_set_version(cert.get(), 2);
  unsigned char serial[16];
  if (RAND_bytes(serial, sizeof serial) != 1) return failed("serial number");
  serial[0] &= 0x7f;
  Bignum number(BN_bin2bn(serial, sizeof serial, nullptr));
  BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(cert.get()));
  X509_gmtime_adj(X509_getm_notBefore(cert.get()), -static_cast<long>(profile.backdate.count()));
  X509_time_adj_ex(X509_getm_notAfter(cert.get()), static_cast<int>(profile.validity.count() / 86400),
                   static_cast<long>(profile.validity.count() % 86400), nullptr);
  X509_set_pubkey(cert.get(), subject_key);
  Name name(X509_NAME_new());
  set_name(name.get(), profile.subject);
  X509_set_subject_name(cert.get(), name.get());
  X509* parent = issuer ? issuer : cert.get();
  X509_set_issuer_name(cert.get(), X509_get_subject_name(parent));

  bool ok = add_extension(cert.get(), parent, NID_basic_constraints, profile.authority ? "critical,CA:TRUE" : "critical,CA:FALSE");
  ok = ok && add_extension(cert.get(), parent, NID_key_usage, profile.authority          ? "critical,keyCertSign,cRLSign,digitalSignature"
                                                              : profile.key_encipherment ? "critical,digitalSignature,keyEncipherment"
                                                                                         : "critical,digitalSignature");
  if (profile.server || profile.client)
    ok = ok && add_extension(cert.get(), parent, NID_ext_key_usage,
                             profile.server && profile.client ? "serverAuth,clientAuth" : profile.server ? "serverAuth" : "clientAuth");
  ok = ok && add_extension(cert.get(), parent, NID_subject_key_identifier, "hash");
  ok = ok && add_extension(cert.get(), parent, NID_authority_key_identifier, "keyid:always");
  ok = ok && add_alternative_names(cert.get(), profile);
  if (!ok || X509_sign(cert.get(), issuer_key, EVP_sha256()) == 0) return failed("signing a certificate");
  Bio out = writer();
  PEM_write_bio_X509(out.get(), cert.get());
  return text_of(out);
}

CertificateFacts facts_of(X509* cert) {
  CertificateFacts out;
  out.subject = read_name(X509_get_subject_name(cert));
  out.not_before = read_time(X509_get0_notBefore(cert));
  out.not_after = read_time(X509_get0_notAfter(cert));
  if (EVP_PKEY* key = X509_get0_pubkey(cert)) out.public_key_pem = public_pem(key);
  if (GeneralNames names(static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(cert, NID_subject_alt_name, nullptr, nullptr))); names) {
    bool other = false;
    read_names(names.get(), out.dns_names, out.ip_addresses, other);
  }
  return out;
}

}  // namespace

Result<std::string> make_key() {
  Key key(EVP_EC_gen("P-256"));
  if (!key) return failed("new key");
  Bio out = writer();
  if (PEM_write_bio_PKCS8PrivateKey(out.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr) != 1) return failed("new key");
  return text_of(out);
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
  Certificate ca(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
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
  Certificate cert(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
  if (!cert) return failed("certificate");
  return facts_of(cert.get());
}

Result<CertificateFacts> read_certificate_der(std::string_view der) {
  auto* p = reinterpret_cast<const unsigned char*>(der.data());
  Certificate cert(d2i_X509(nullptr, &p, static_cast<long>(der.size())));
  if (!cert) return failed("certificate");
  return facts_of(cert.get());
}

Result<RequestFacts> read_request(std::string_view pem) {
  Bio bio = reader(pem);
  Request req(PEM_read_bio_X509_REQ(bio.get(), nullptr, nullptr, nullptr));
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
    if (GeneralNames names(static_cast<GENERAL_NAMES*>(X509V3_get_d2i(extensions, NID_subject_alt_name, nullptr, nullptr))); names)
      read_names(names.get(), out.dns_names, out.ip_addresses, out.other_names);
    sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
  }
  return out;
}

Result<std::string> make_request(const std::string& private_key_pem, const Subject& subject) {
  TRY(Key key, private_key(private_key_pem));
  Request req(X509_REQ_new());
  X509_REQ_set_version(req.get(), 0);
  Name name(X509_NAME_new());
  set_name(name.get(), subject);
  X509_REQ_set_subject_name(req.get(), name.get());
  X509_REQ_set_pubkey(req.get(), key.get());
  if (X509_REQ_sign(req.get(), key.get(), EVP_sha256()) == 0) return failed("signing a request");
  Bio out = writer();
  PEM_write_bio_X509_REQ(out.get(), req.get());
  return text_of(out);
}

}  // namespace server::pki
