#include "ingress/certificate.h"

#include <openssl/pem.h>

#include "base/bytes.h"
#include "base/openssl.h"

namespace ingress {
namespace ssl = base::openssl;

base::Result<base::http::KeyPair> self_signed_certificate(const std::string& common_name) {
  ssl::Key key(EVP_EC_gen("P-256"));
  ssl::Certificate certificate(X509_new());
  std::string random = base::random_bytes(8);
  uint64_t serial = 0;
  for (unsigned char c : random) serial = serial << 8 | c;
  bool good = key && certificate && X509_set_version(certificate.get(), 2) == 1 &&
              ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate.get()), serial >> 1) == 1 &&
              X509_gmtime_adj(X509_getm_notBefore(certificate.get()), -3600) &&
              X509_gmtime_adj(X509_getm_notAfter(certificate.get()), 10L * 365 * 86400) &&
              X509_set_pubkey(certificate.get(), key.get()) == 1;
  if (good) {
    X509_NAME* name = X509_get_subject_name(certificate.get());
    good = X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, reinterpret_cast<const unsigned char*>(common_name.data()),
                                      static_cast<int>(common_name.size()), -1, 0) == 1 &&
           X509_set_issuer_name(certificate.get(), name) == 1 && X509_sign(certificate.get(), key.get(), EVP_sha256()) > 0;
  }
  ssl::Bio a = ssl::writer(), b = ssl::writer();
  if (!good || PEM_write_bio_X509(a.get(), certificate.get()) != 1 ||
      PEM_write_bio_PrivateKey(b.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr) != 1)
    return base::internal("cannot make a certificate");
  return base::http::KeyPair{ssl::text_of(a), ssl::text_of(b)};
}

}  // namespace ingress
