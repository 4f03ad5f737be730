// Certificates made on the spot for TLS tests.
#pragma once

#include <string>

#include "base/http/tls.h"

namespace test {

struct Authority {
  base::http::KeyPair ca;
  // A leaf for the name (DNS or IP), signed by the CA.
  base::http::KeyPair issue(const std::string& name, bool client = false) const;
};
Authority make_authority(const std::string& name);

}  // namespace test
