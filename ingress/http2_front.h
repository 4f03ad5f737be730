// Clients that speak HTTP/2: each request goes through a Front of its own, as HTTP/1.1 over a pair of streams in memory, so that one set of
// rules holds for both. Trailers are dropped (no gRPC); WebSockets come over HTTP/1.1.
#pragma once

#include "ingress/proxy.h"

namespace ingress {

std::shared_ptr<base::http::Connection> make_http2_front(Proxy& proxy, Proxy::Lane& lane, std::unique_ptr<base::http::Stream> client,
                                                         bool tls, uint16_t port);

}  // namespace ingress
