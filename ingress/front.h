// One client's connection: reads requests, carries each to a backend and its answer back, on the raw streams (RFC 9110 part 7.6, RFC 9112).
#pragma once

#include "ingress/proxy.h"

namespace ingress {

std::shared_ptr<base::http::Connection> make_front(Proxy& proxy, Proxy::Lane& lane, std::unique_ptr<base::http::Stream> client, bool tls,
                                                   uint16_t port);

}  // namespace ingress
