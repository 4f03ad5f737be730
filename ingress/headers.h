// Which header fields pass through a proxy, and the heads it writes. Pure.
#pragma once

#include <string>
#include <string_view>

#include "base/http/wire.h"

namespace ingress {

// Fields of one connection: they end here (RFC 9110 part 7.6.1).
bool is_hop_by_hop(std::string_view name);
// What a client may not say for itself, because we say it: forwarding fields and framing.
bool is_set_by_proxy(std::string_view name);
// Whether `list` (a Connection field's value) names the field.
bool lists(std::string_view list, std::string_view name);
// "10.0.0.1" of "10.0.0.1:4711" and "[::1]:4711".
std::string_view address_of(std::string_view peer);

// The last fields of a request that goes to a backend.
struct Forwarding {
  std::string_view client, proto;
  uint16_t port = 0;
};
// Request line and fields without framing and the final empty line. `path` is canonical, `query` begins with "?" or is empty.
void write_request_head(const base::http::Head& head, std::string_view path, std::string_view query, const Forwarding& forwarding,
                        std::string& out);
// Status line and fields without Connection, framing and the final empty line; Content-Length passes when `length`.
void write_response_head(const base::http::Head& head, bool length, std::string& out);

}  // namespace ingress
