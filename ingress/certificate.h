// A self-signed certificate, for names that no Ingress has one for.
#pragma once

#include "base/http/tls.h"

namespace ingress {

base::Result<base::http::KeyPair> self_signed_certificate(const std::string& common_name);

}  // namespace ingress
