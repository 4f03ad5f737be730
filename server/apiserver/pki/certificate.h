// X.509 for the cluster: keys (ECDSA P-256), certificates, requests and ES256 signatures. Pure functions over PEM text; thread-safe.
#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/http/tls.h"
#include "base/time.h"

namespace server::pki {

using base::Result;
using base::http::KeyPair;

struct Subject {
  std::string common_name;
  std::vector<std::string> organizations;
};

struct Profile {
  Subject subject;
  std::vector<std::string> dns_names, ip_addresses;
  bool server = false, client = false, authority = false;
  bool key_encipherment = false;
  std::chrono::seconds validity = std::chrono::hours(24 * 365);
  // Beginning in the past, for clocks that differ.
  std::chrono::seconds backdate = std::chrono::minutes(5);
};

struct CertificateFacts {
  Subject subject;
  std::vector<std::string> dns_names, ip_addresses;
  base::WallTime not_before, not_after;
  std::string public_key_pem;
};

struct RequestFacts {
  Subject subject;
  std::vector<std::string> dns_names, ip_addresses;
  bool other_names = false;    // e-mail addresses or URIs are asked for
  std::string public_key_pem;
};

// A new private key as PKCS#8 PEM.
Result<std::string> make_key();
Result<std::string> public_key_of(const std::string& private_key_pem);

Result<KeyPair> make_authority(const std::string& common_name, std::chrono::seconds validity);
// Certificate for a public key, signed by the authority.
Result<std::string> issue(const KeyPair& authority, const std::string& public_key_pem, const Profile& profile);
// A new key with a certificate.
Result<KeyPair> issue_pair(const KeyPair& authority, const Profile& profile);

// Facts of the first certificate of a PEM text, or of DER.
Result<CertificateFacts> read_certificate(std::string_view pem);
Result<CertificateFacts> read_certificate_der(std::string_view der);
// Checks the request's own signature.
Result<RequestFacts> read_request(std::string_view pem);
// A certificate request of a key, for tests and for renewal in process.
Result<std::string> make_request(const std::string& private_key_pem, const Subject& subject);

}  // namespace server::pki
