// Facts about this host that the command line falls back to.
#pragma once

#include <string>

#include "base/error.h"
#include "cmd/options.h"

namespace cmd {

// The source address the kernel would use for the default route; empty when there is none. Sends nothing.
std::string default_address();
// The host name, made valid as a node name (RFC 1123 subdomain).
std::string default_node_name();
// Fills node_name, node_ip and advertise_address where they are empty; 400 when there is no address to use.
base::Result<> complete(Options& options);
// What is missing to run a node at all (root, kernel features), one line; success when nothing is.
base::Result<> require_root();
std::string product_version();  // v1.36.0+appliance0.1.0, the API level first as kubectl expects

}  // namespace cmd
