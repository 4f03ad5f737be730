// The built zone, as the server reads it. Immutable.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "network/dns/message.h"
#include "network/dns/zone.h"

namespace network::dns {

constexpr uint32_t kClusterTtl = 5;

struct NamespaceTable {
  std::unordered_map<std::string, std::shared_ptr<const ServiceRecord>> services;
  std::unordered_map<Ip, std::vector<std::string>> reverse;  // wire names
};

class Zone {
 public:
  // Puts what the zone knows about the query into the reply. False: the name is not the zone's, ask elsewhere.
  // `chase` is set to a wire name outside the zone that an alias leads to; the reply then holds the alias already.
  // `turn` rotates the order of addresses.
  bool answer(const Query& query, Reply& reply, std::string& chase, uint32_t turn) const;
  // The same for all names of the domain before there is a zone.
  static bool in_domain(const Query& query, std::string_view domain_wire);

 private:
  friend class ZoneBuilder;
  bool forward(const Query& query, Reply& reply, std::string& chase, uint32_t turn, size_t relative) const;
  bool reverse(const Query& query, Reply& reply) const;
  bool service(const Query& query, Reply& reply, std::string& chase, uint32_t turn, size_t relative) const;
  bool pod(const Query& query, Reply& reply, size_t relative) const;
  bool alias(const Query& query, Reply& reply, const std::string& target, std::string& chase, uint32_t turn) const;
  void negative(Reply& reply, Rcode rcode) const;
  std::string name_of(const ServiceRecord& service) const;
  const NamespaceTable* find_namespace(std::string_view ns) const;

  std::string domain_;  // wire form
  size_t domain_labels_ = 0;
  uint32_t serial_ = 1;
  bool any_namespace_ = true;
  std::unordered_map<std::string, std::shared_ptr<const NamespaceTable>> namespaces_;
};

// The address an in-addr.arpa or ip6.arpa name stands for; none when it is not a whole one.
Ip reverse_address(const Query& query);

// "10-42-0-5" of an address; IPv6 with dashes for colons.
std::string dashed(const Ip& ip);

}  // namespace network::dns
