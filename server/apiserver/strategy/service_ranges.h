// The ranges that addresses of Services come from: the one of the server's options, and those of ServiceCIDR objects (KEP-1880). They stand in one record
// of the store, which is written with the objects, so that taking an address sees all of them.
#pragma once

#include <string>
#include <vector>

#include "datastore/store.h"
#include "server/apiserver/registry/cidr.h"

namespace server {

struct ServiceRange {
  std::string object;  // name of the ServiceCIDR
  Cidr cidr;
};

// Of ServiceCIDR objects other than the default one.
std::vector<ServiceRange> service_ranges(const datastore::Store& store);
inline constexpr std::string_view default_service_cidr = "kubernetes", service_cidr_finalizer = "networking.k8s.io/service-cidr-finalizer";

}  // namespace server
