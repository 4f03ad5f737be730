// gzip for large answers, as kube-apiserver gives it: GET only, over 128 KiB, level 1. Never watches, logs or proxied answers: they do not come here.
#pragma once

#include <span>

#include "server/apiserver/http/exchange.h"

namespace server {

// Sends the body whole (the parts live until it returns): as it is, or compressed piece by piece where the client takes gzip.
Task<Result<>> send_body(Exchange& x, std::span<const std::string_view> parts);
Task<Result<>> send_body(Exchange& x, std::string_view body);

// Whether an Accept-Encoding field has gzip and does not refuse it (q=0).
bool takes_gzip(std::string_view accept_encoding);

}  // namespace server
