// What a service answers on and with: the pure part of service handling.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "network/services.h"

namespace network {

struct FrontendId {
  uint32_t address = 0;  // host order
  uint16_t port = 0;
  Protocol protocol = Protocol::tcp;
  bool any_address = false;  // a node port: every address of the node
  bool inside = false;       // for clients inside the cluster, where others are held to this node's endpoints
  bool operator==(const FrontendId&) const = default;
  std::string str() const;
};

struct FrontendIdHash {
  size_t operator()(const FrontendId& f) const {
    uint64_t v = uint64_t{f.address} << 32 | uint64_t{f.port} << 16 | uint64_t{static_cast<uint8_t>(f.protocol)} << 2 |
                 uint64_t{f.any_address} << 1 | f.inside;
    v *= 0x9e3779b97f4a7c15;
    return static_cast<size_t>(v ^ v >> 29);
  }
};

struct Target {
  uint32_t address = 0;  // host order
  uint16_t port = 0;
  bool local = false;
  bool same(const Target& o) const { return address == o.address && port == o.port; }
};

struct SourceRange {
  uint32_t first = 0, last = 0;
  bool operator==(const SourceRange&) const = default;
};

struct Frontend {
  FrontendId id;
  std::vector<Target> targets;
  bool drop = false;                 // without targets: drop silently instead of refusing
  uint32_t affinity_seconds = 0;
  std::vector<SourceRange> ranges;   // empty: every source; sorted, not overlapping
};

// The endpoints that take traffic under a policy: the ready ones; when there is none, those that terminate but still serve (KEP-1669).
std::vector<Target> usable(const std::vector<Endpoint>& endpoints, TrafficPolicy policy);
std::vector<Frontend> frontends_of(const Service& service);

}  // namespace network
