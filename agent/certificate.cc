// Keys, signing requests and certificates, by OpenSSL.
#include <openssl/ec.h>
#include <openssl/pem.h>

#include <ctime>

#include "agent/join.h"
#include "base/openssl.h"

namespace agent {

namespace {

namespace ssl = base::openssl;

int64_t unix_time(const ASN1_TIME* t) {
  std::tm tm{};
  if (!t || ASN1_TIME_to_tm(t, &tm) != 1) return 0;
  return ::timegm(&tm);
}

}  // namespace

Result<SigningRequest> make_signing_request(const std::string& node_name) {
  auto failed = [] { return base::internal("making a key and signing request failed"); };
  ssl::Key key(EVP_EC_gen("P-256"));
  ssl::Request request(X509_REQ_new());
  if (!key || !request) return failed();
  X509_NAME* name = X509_REQ_get_subject_name(request.get());
  auto add = [&](const char* field, const std::string& value) {
    return X509_NAME_add_entry_by_txt(name, field, MBSTRING_UTF8, reinterpret_cast<const unsigned char*>(value.c_str()), -1, -1, 0) == 1;
  };
  if (!add("O", "system:nodes") || !add("CN", "system:node:" + node_name)) return failed();
  if (X509_REQ_set_pubkey(request.get(), key.get()) != 1 || X509_REQ_sign(request.get(), key.get(), EVP_sha256()) <= 0) return failed();
  ssl::Bio key_out = ssl::writer(), request_out = ssl::writer();
  if (PEM_write_bio_PrivateKey(key_out.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr) != 1 ||
      PEM_write_bio_X509_REQ(request_out.get(), request.get()) != 1) {
    return failed();
  }
  return SigningRequest{ssl::text_of(key_out), ssl::text_of(request_out)};
}

Result<CertificateInfo> read_certificate(std::string_view pem) {
  ssl::Bio in = ssl::reader(pem);
  ssl::Certificate c(PEM_read_bio_X509(in.get(), nullptr, nullptr, nullptr));
  if (!c) return base::bad_request("not a PEM certificate");
  CertificateInfo info;
  char name[256] = {};
  if (X509_NAME_get_text_by_NID(X509_get_subject_name(c.get()), NID_commonName, name, sizeof name) > 0) info.common_name = name;
  info.not_before = unix_time(X509_get0_notBefore(c.get()));
  info.not_after = unix_time(X509_get0_notAfter(c.get()));
  return info;
}

}  // namespace agent
