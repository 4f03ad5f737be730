// nf_tables requests: tables, chains, rules of expressions, sets and maps with their elements, in one transaction.
//
// Attribute and register numbers are those of linux/netfilter/nf_tables.h. Registers here are numbered 0..15, four bytes each.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "network/address.h"
#include "network/netlink.h"

namespace network::nft {

// The expressions of one rule. Each call appends one; data goes through registers as the caller numbers them.
class Rule {
 public:
  Rule& meta(uint32_t key, int to);                 // NFT_META_*
  Rule& network_field(uint32_t offset, uint32_t size, int to);
  Rule& transport_field(uint32_t offset, uint32_t size, int to);
  Rule& source(int to) { return network_field(12, 4, to); }
  Rule& destination(int to) { return network_field(16, 4, to); }
  Rule& protocol(int to);
  Rule& source_port(int to) { return transport_field(0, 2, to); }
  Rule& destination_port(int to) { return transport_field(2, 2, to); }
  Rule& equals(int reg, std::string_view bytes);
  Rule& differs(int reg, std::string_view bytes);
  Rule& equals8(int reg, uint8_t v) { return equals(reg, {reinterpret_cast<const char*>(&v), 1}); }
  Rule& equals_be16(int reg, uint16_t v);
  Rule& between_be16(int reg, uint16_t first, uint16_t last);
  Rule& equals32(int reg, uint32_t v) { return equals(reg, {reinterpret_cast<const char*>(&v), 4}); }
  Rule& differs32(int reg, uint32_t v) { return differs(reg, {reinterpret_cast<const char*>(&v), 4}); }
  Rule& in(const Cidr& cidr, int reg);              // the IPv4 address in reg is (not) inside cidr; reg is overwritten
  Rule& not_in(const Cidr& cidr, int reg);
  Rule& bits(int reg, uint32_t mask);               // reg &= mask (host order)
  Rule& set_register(int reg, std::string_view bytes);
  Rule& lookup(std::string_view set, int key, bool inverted = false);
  Rule& map(std::string_view set, int key, int to);
  Rule& verdict_map(std::string_view set, int key);
  Rule& random(uint32_t modulus, int to, uint32_t offset = 0);
  Rule& fib(uint32_t flags, uint32_t result, int to);  // NFTA_FIB_F_*, NFT_FIB_RESULT_*
  Rule& conntrack(uint32_t key, int to, std::optional<uint8_t> direction = {});
  Rule& dnat(int address, int port);
  Rule& snat(const Ip& to, int scratch);
  Rule& masquerade();
  Rule& reject();                                   // ICMP port unreachable
  Rule& reset();                                    // TCP reset
  Rule& notrack();
  Rule& remember(std::string_view map, uint32_t op, int key, int data, uint64_t timeout_ms);  // NFT_DYNSET_OP_*; data < 0: none
  Rule& accept();
  Rule& drop();
  Rule& leave();                                    // return
  Rule& jump(std::string_view chain);
  Rule& go(std::string_view chain);                 // goto

  const netlink::Batch& expressions() const { return out_; }

 private:
  template <class F>
  Rule& expression(std::string_view name, F body);
  Rule& compare(int reg, uint32_t op, std::string_view bytes);
  Rule& verdict(int32_t code, std::string_view chain = {});
  netlink::Batch out_;
};

struct SetSpec {
  std::string name;
  uint32_t id = 0;              // unique in the table
  uint32_t key_type = 0;        // as the nft command numbers data types, six bits per field
  uint32_t key_size = 0;
  uint32_t data_type = 0;       // maps
  uint32_t data_size = 0;
  bool verdicts = false;        // the data are verdicts
  bool intervals = false;
  bool dynamic = false;         // filled by packets, elements time out
  uint32_t size = 0;            // bound; 0: none
  std::vector<uint8_t> fields;  // sizes of the parts of a concatenation of intervals
};

// Data types of the nft command, so that `nft list table` prints what we made.
constexpr uint32_t kTypeAddress = 7, kTypeProtocol = 12, kTypeService = 13, kTypeMark = 19, kTypeVerdict = 1, kTypeIfname = 41;
constexpr uint32_t concat_type(std::initializer_list<uint32_t> types) {
  uint32_t t = 0;
  for (uint32_t x : types) t = t << 6 | x;
  return t;
}

// One transaction on one table.
class Transaction {
 public:
  Transaction(uint8_t family, std::string table);

  void add_table();
  void delete_table();                       // the table must exist: add_table() before makes sure
  void add_chain(std::string_view name);
  void add_base_chain(std::string_view name, std::string_view type, uint32_t hook, int32_t priority);
  void flush_chain(std::string_view name);
  void delete_chain(std::string_view name);  // must be empty of rules and references
  void add_rule(std::string_view chain, const Rule& rule) { add_rule(chain, rule.expressions().bytes()); }
  void add_rule(std::string_view chain, const std::string& expressions);
  void add_set(const SetSpec& set);
  void delete_set(std::string_view name);
  void flush_set(std::string_view name);
  // Elements are collected per set and direction and leave in messages as large as netlink attributes allow. Order between different calls
  // is kept.
  void add_element(std::string_view set, std::string_view key, std::string_view data = {});
  void delete_element(std::string_view set, std::string_view key);
  void add_interval(std::string_view set, std::string_view low, std::string_view high_exclusive);  // empty high: to the end
  void add_range(std::string_view set, std::string_view key, std::string_view key_end);            // of a concatenation
  void delete_range(std::string_view set, std::string_view key, std::string_view key_end);
  void add_verdict_element(std::string_view set, std::string_view key, std::string_view chain);  // goto chain; empty: drop
  void add_jump_element(std::string_view set, std::string_view key, std::string_view chain);

  bool empty() const { return requests_ == 0; }
  size_t size() const { return out_.size(); }
  // Closes the batch; the bytes are ready for Socket::transact().
  const netlink::Batch& finish();
  size_t last() const { return last_; }

 private:
  struct Header {
    uint8_t family, version;
    uint16_t resource;
  };
  void begin(uint16_t type, uint16_t flags);
  void element(std::string_view set, bool add, std::string_view key, const std::function<void(netlink::Batch&)>& rest, uint32_t flags = 0);
  void end_elements();

  uint8_t family_;
  std::string table_;
  netlink::Batch out_;
  size_t requests_ = 0;
  size_t last_ = 0;
  bool finished_ = false;
  std::string open_set_;
  bool open_add_ = false;
  size_t open_list_ = 0;
  bool elements_open_ = false;
};

// Key and data bytes: every part padded to four bytes.
class Key {
 public:
  Key& address(const Ip& ip);
  Key& protocol(Protocol p);
  Key& port(uint16_t p);   // network order
  Key& number(uint32_t v); // host order
  operator std::string_view() const { return {bytes_, size_}; }

 private:
  char bytes_[48] = {};
  size_t size_ = 0;
};

}  // namespace network::nft
