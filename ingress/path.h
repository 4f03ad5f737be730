// The one canonical form of a request path: routing and forwarding use the same text, so that no check can be evaded by spelling (RFC 3986 section 6).
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"

namespace ingress {

// Percent-encodings of unreserved characters are decoded, other ones get upper-case digits. 400 for what backends are known to read
// differently: encoded slashes, backslashes, NUL and control characters, dot segments, broken encodings.
base::Result<std::string> canonical_path(std::string_view raw);

// Whether the path is plainly canonical already: a quick test that may say no to some that are.
bool is_canonical_path(std::string_view path);

// Whether `path` is `prefix` or lies below it, element by element: /a covers /a and /a/b, not /ab (Ingress pathType Prefix).
bool path_has_prefix(std::string_view path, std::string_view prefix);

// Lower-case host without port and final dot; 400 when it is no host.
base::Result<std::string> canonical_host(std::string_view host);

}  // namespace ingress
