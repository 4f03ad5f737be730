// What the kernel shall hold for a set of policies: the pure part of policy handling. Two models differ by what has to be changed.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "network/policy.h"

namespace network {

struct AddressRange {  // host order, both ends included
  uint32_t first = 0, last = 0;
  auto operator<=>(const AddressRange&) const = default;
};

struct PolicyModel {
  std::map<std::string, std::set<uint32_t>> addresses;       // sets of single addresses
  std::map<std::string, std::vector<AddressRange>> ranges;   // sets of intervals
  std::map<std::string, std::vector<std::string>> chains;    // rules as encoded expressions
  std::map<uint32_t, std::string> pods[2];                   // ingress, egress: address of a pod -> its chain
};

PolicyModel model_of(const std::map<std::string, Policy>& policies);

// The addresses of `cidrs` less those of `except`: sorted, not overlapping.
std::vector<AddressRange> without(const std::vector<Cidr>& cidrs, const std::vector<Cidr>& except);

}  // namespace network
