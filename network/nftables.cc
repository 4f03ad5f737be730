#include "network/nftables.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <netinet/in.h>

#include <cstring>


namespace network::nft {
namespace {

uint32_t reg_number(int r) { return static_cast<uint32_t>(NFT_REG32_00 + r); }
constexpr size_t kElementsLimit = 60'000;  // bytes of a list: an attribute's length has 16 bits

uint16_t nft_type(int message) { return static_cast<uint16_t>(NFNL_SUBSYS_NFTABLES << 8 | message); }

void data_value(netlink::Batch& b, uint16_t type, std::string_view bytes) {
  auto n = b.open(type);
  b.attr(NFTA_DATA_VALUE, bytes);
  b.close(n);
}

void data_verdict(netlink::Batch& b, uint16_t type, int32_t code, std::string_view chain) {
  auto n = b.open(type);
  auto v = b.open(NFTA_DATA_VERDICT);
  b.be32(NFTA_VERDICT_CODE, static_cast<uint32_t>(code));
  if (!chain.empty()) b.text(NFTA_VERDICT_CHAIN, chain);
  b.close(v);
  b.close(n);
}

}  // namespace

template <class F>
Rule& Rule::expression(std::string_view name, F body) {
  auto e = out_.open(NFTA_LIST_ELEM);
  out_.text(NFTA_EXPR_NAME, name);
  auto d = out_.open(NFTA_EXPR_DATA);
  body(out_);
  out_.close(d);
  out_.close(e);
  return *this;
}

Rule& Rule::meta(uint32_t key, int to) {
  return expression("meta", [&](auto& b) {
    b.be32(NFTA_META_DREG, reg_number(to));
    b.be32(NFTA_META_KEY, key);
  });
}

Rule& Rule::protocol(int to) { return meta(NFT_META_L4PROTO, to); }

Rule& Rule::network_field(uint32_t offset, uint32_t size, int to) {
  return expression("payload", [&](auto& b) {
    b.be32(NFTA_PAYLOAD_DREG, reg_number(to));
    b.be32(NFTA_PAYLOAD_BASE, NFT_PAYLOAD_NETWORK_HEADER);
    b.be32(NFTA_PAYLOAD_OFFSET, offset);
    b.be32(NFTA_PAYLOAD_LEN, size);
  });
}

Rule& Rule::transport_field(uint32_t offset, uint32_t size, int to) {
  return expression("payload", [&](auto& b) {
    b.be32(NFTA_PAYLOAD_DREG, reg_number(to));
    b.be32(NFTA_PAYLOAD_BASE, NFT_PAYLOAD_TRANSPORT_HEADER);
    b.be32(NFTA_PAYLOAD_OFFSET, offset);
    b.be32(NFTA_PAYLOAD_LEN, size);
  });
}

Rule& Rule::compare(int reg, uint32_t op, std::string_view bytes) {
  return expression("cmp", [&](auto& b) {
    b.be32(NFTA_CMP_SREG, reg_number(reg));
    b.be32(NFTA_CMP_OP, op);
    data_value(b, NFTA_CMP_DATA, bytes);
  });
}
Rule& Rule::equals(int reg, std::string_view bytes) { return compare(reg, NFT_CMP_EQ, bytes); }
Rule& Rule::differs(int reg, std::string_view bytes) { return compare(reg, NFT_CMP_NEQ, bytes); }
Rule& Rule::equals_be16(int reg, uint16_t v) {
  v = htons(v);
  return equals(reg, {reinterpret_cast<const char*>(&v), 2});
}
Rule& Rule::between_be16(int reg, uint16_t first, uint16_t last) {
  first = htons(first);
  last = htons(last);
  compare(reg, NFT_CMP_GTE, {reinterpret_cast<const char*>(&first), 2});
  return compare(reg, NFT_CMP_LTE, {reinterpret_cast<const char*>(&last), 2});
}

namespace {
uint32_t mask_of(const Cidr& c) { return c.bits == 0 ? 0 : htonl(0xffffffffu << (32 - c.bits)); }
std::string_view view(const uint32_t& v) { return {reinterpret_cast<const char*>(&v), 4}; }
}  // namespace

Rule& Rule::bits(int reg, uint32_t mask) {
  return expression("bitwise", [&](auto& b) {
    uint32_t zero = 0;
    b.be32(NFTA_BITWISE_SREG, reg_number(reg));
    b.be32(NFTA_BITWISE_DREG, reg_number(reg));
    b.be32(NFTA_BITWISE_LEN, 4);
    data_value(b, NFTA_BITWISE_MASK, view(mask));
    data_value(b, NFTA_BITWISE_XOR, view(zero));
  });
}
Rule& Rule::in(const Cidr& cidr, int reg) {
  if (cidr.bits < 32) bits(reg, mask_of(cidr));
  return equals(reg, {reinterpret_cast<const char*>(cidr.ip.data()), 4});
}
Rule& Rule::not_in(const Cidr& cidr, int reg) {
  if (cidr.bits < 32) bits(reg, mask_of(cidr));
  return differs(reg, {reinterpret_cast<const char*>(cidr.ip.data()), 4});
}

Rule& Rule::set_register(int reg, std::string_view bytes) {
  return expression("immediate", [&](auto& b) {
    b.be32(NFTA_IMMEDIATE_DREG, reg_number(reg));
    data_value(b, NFTA_IMMEDIATE_DATA, bytes);
  });
}

Rule& Rule::lookup(std::string_view set, int key, bool inverted) {
  return expression("lookup", [&](auto& b) {
    b.text(NFTA_LOOKUP_SET, set);
    b.be32(NFTA_LOOKUP_SREG, reg_number(key));
    if (inverted) b.be32(NFTA_LOOKUP_FLAGS, NFT_LOOKUP_F_INV);
  });
}
Rule& Rule::map(std::string_view set, int key, int to) {
  return expression("lookup", [&](auto& b) {
    b.text(NFTA_LOOKUP_SET, set);
    b.be32(NFTA_LOOKUP_SREG, reg_number(key));
    b.be32(NFTA_LOOKUP_DREG, reg_number(to));
  });
}
Rule& Rule::verdict_map(std::string_view set, int key) {
  return expression("lookup", [&](auto& b) {
    b.text(NFTA_LOOKUP_SET, set);
    b.be32(NFTA_LOOKUP_SREG, reg_number(key));
    b.be32(NFTA_LOOKUP_DREG, NFT_REG_VERDICT);
  });
}

Rule& Rule::random(uint32_t modulus, int to, uint32_t offset) {
  return expression("numgen", [&](auto& b) {
    b.be32(NFTA_NG_DREG, reg_number(to));
    b.be32(NFTA_NG_MODULUS, modulus);
    b.be32(NFTA_NG_TYPE, NFT_NG_RANDOM);
    b.be32(NFTA_NG_OFFSET, offset);
  });
}

Rule& Rule::fib(uint32_t flags, uint32_t result, int to) {
  return expression("fib", [&](auto& b) {
    b.be32(NFTA_FIB_DREG, reg_number(to));
    b.be32(NFTA_FIB_RESULT, result);
    b.be32(NFTA_FIB_FLAGS, flags);
  });
}

Rule& Rule::conntrack(uint32_t key, int to, std::optional<uint8_t> direction) {
  return expression("ct", [&](auto& b) {
    b.be32(NFTA_CT_DREG, reg_number(to));
    b.be32(NFTA_CT_KEY, key);
    if (direction) b.u8(NFTA_CT_DIRECTION, *direction);
  });
}

Rule& Rule::dnat(int address, int port) {
  return expression("nat", [&](auto& b) {
    b.be32(NFTA_NAT_TYPE, NFT_NAT_DNAT);
    b.be32(NFTA_NAT_FAMILY, NFPROTO_IPV4);
    b.be32(NFTA_NAT_REG_ADDR_MIN, reg_number(address));
    b.be32(NFTA_NAT_REG_PROTO_MIN, reg_number(port));
  });
}

Rule& Rule::snat(const Ip& to, int scratch) {
  set_register(scratch, {reinterpret_cast<const char*>(to.data()), to.size()});
  return expression("nat", [&](auto& b) {
    b.be32(NFTA_NAT_TYPE, NFT_NAT_SNAT);
    b.be32(NFTA_NAT_FAMILY, NFPROTO_IPV4);
    b.be32(NFTA_NAT_REG_ADDR_MIN, reg_number(scratch));
  });
}

Rule& Rule::masquerade() {
  return expression("masq", [&](auto& b) { b.be32(NFTA_MASQ_FLAGS, 1u << 4 /* NF_NAT_RANGE_PROTO_RANDOM_FULLY */); });
}

Rule& Rule::reject() {
  return expression("reject", [&](auto& b) {
    b.be32(NFTA_REJECT_TYPE, NFT_REJECT_ICMP_UNREACH);
    b.u8(NFTA_REJECT_ICMP_CODE, 3);
  });
}
Rule& Rule::reset() {
  return expression("reject", [&](auto& b) { b.be32(NFTA_REJECT_TYPE, NFT_REJECT_TCP_RST); });
}

Rule& Rule::notrack() {
  return expression("notrack", [](auto&) {});
}

Rule& Rule::remember(std::string_view set, uint32_t op, int key, int data, uint64_t timeout_ms) {
  return expression("dynset", [&](auto& b) {
    b.text(NFTA_DYNSET_SET_NAME, set);
    b.be32(NFTA_DYNSET_OP, op);
    b.be32(NFTA_DYNSET_SREG_KEY, reg_number(key));
    if (data >= 0) b.be32(NFTA_DYNSET_SREG_DATA, reg_number(data));
    if (timeout_ms) b.be64(NFTA_DYNSET_TIMEOUT, timeout_ms);
  });
}

Rule& Rule::verdict(int32_t code, std::string_view chain) {
  return expression("immediate", [&](auto& b) {
    b.be32(NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
    data_verdict(b, NFTA_IMMEDIATE_DATA, code, chain);
  });
}
Rule& Rule::accept() { return verdict(NF_ACCEPT); }
Rule& Rule::drop() { return verdict(NF_DROP); }
Rule& Rule::leave() { return verdict(NFT_RETURN); }
Rule& Rule::jump(std::string_view chain) { return verdict(NFT_JUMP, chain); }
Rule& Rule::go(std::string_view chain) { return verdict(NFT_GOTO, chain); }

Transaction::Transaction(uint8_t family, std::string table) : family_(family), table_(std::move(table)) {
  out_.begin_quiet(NFNL_MSG_BATCH_BEGIN, 0, Header{NFPROTO_UNSPEC, NFNETLINK_V0, htons(NFNL_SUBSYS_NFTABLES)});
}

void Transaction::begin(uint16_t type, uint16_t flags) {
  end_elements();
  out_.begin_quiet(nft_type(type), flags, Header{family_, NFNETLINK_V0, 0});
  ++requests_;
}

void Transaction::add_table() {
  begin(NFT_MSG_NEWTABLE, NLM_F_CREATE);
  out_.text(NFTA_TABLE_NAME, table_);
}
void Transaction::delete_table() {
  begin(NFT_MSG_DELTABLE, 0);
  out_.text(NFTA_TABLE_NAME, table_);
}

void Transaction::add_chain(std::string_view name) {
  begin(NFT_MSG_NEWCHAIN, NLM_F_CREATE);
  out_.text(NFTA_CHAIN_TABLE, table_);
  out_.text(NFTA_CHAIN_NAME, name);
}

void Transaction::add_base_chain(std::string_view name, std::string_view type, uint32_t hook, int32_t priority) {
  add_chain(name);
  auto n = out_.open(NFTA_CHAIN_HOOK);
  out_.be32(NFTA_HOOK_HOOKNUM, hook);
  out_.be32(NFTA_HOOK_PRIORITY, static_cast<uint32_t>(priority));
  out_.close(n);
  out_.be32(NFTA_CHAIN_POLICY, NF_ACCEPT);
  out_.text(NFTA_CHAIN_TYPE, type);
}

void Transaction::flush_chain(std::string_view name) {
  begin(NFT_MSG_DELRULE, 0);
  out_.text(NFTA_RULE_TABLE, table_);
  out_.text(NFTA_RULE_CHAIN, name);
}
void Transaction::delete_chain(std::string_view name) {
  begin(NFT_MSG_DELCHAIN, 0);
  out_.text(NFTA_CHAIN_TABLE, table_);
  out_.text(NFTA_CHAIN_NAME, name);
}

void Transaction::add_rule(std::string_view chain, const std::string& e) {
  begin(NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND);
  out_.text(NFTA_RULE_TABLE, table_);
  out_.text(NFTA_RULE_CHAIN, chain);
  auto n = out_.open(NFTA_RULE_EXPRESSIONS);
  out_.raw(e.data(), e.size());
  out_.close(n);
}

void Transaction::add_set(const SetSpec& s) {
  begin(NFT_MSG_NEWSET, NLM_F_CREATE);
  out_.text(NFTA_SET_TABLE, table_);
  out_.text(NFTA_SET_NAME, s.name);
  uint32_t flags = 0;
  bool map = s.verdicts || s.data_size;
  if (map) flags |= NFT_SET_MAP;
  if (s.intervals) flags |= NFT_SET_INTERVAL;
  if (s.dynamic) flags |= NFT_SET_TIMEOUT | NFT_SET_EVAL;
  if (!s.fields.empty()) flags |= NFT_SET_CONCAT;
  out_.be32(NFTA_SET_FLAGS, flags);
  out_.be32(NFTA_SET_KEY_TYPE, s.key_type);
  out_.be32(NFTA_SET_KEY_LEN, s.key_size);
  if (map) {
    out_.be32(NFTA_SET_DATA_TYPE, s.verdicts ? static_cast<uint32_t>(NFT_DATA_VERDICT) : s.data_type);
    out_.be32(NFTA_SET_DATA_LEN, s.verdicts ? 16 : s.data_size);
  }
  out_.be32(NFTA_SET_ID, s.id);
  if (s.size || !s.fields.empty()) {
    auto d = out_.open(NFTA_SET_DESC);
    if (s.size) out_.be32(NFTA_SET_DESC_SIZE, s.size);
    if (!s.fields.empty()) {
      auto c = out_.open(NFTA_SET_DESC_CONCAT);
      for (uint8_t size : s.fields) {
        auto e = out_.open(NFTA_LIST_ELEM);
        out_.be32(NFTA_SET_FIELD_LEN, size);
        out_.close(e);
      }
      out_.close(c);
    }
    out_.close(d);
  }
}
void Transaction::delete_set(std::string_view name) {
  begin(NFT_MSG_DELSET, 0);
  out_.text(NFTA_SET_TABLE, table_);
  out_.text(NFTA_SET_NAME, name);
}
void Transaction::flush_set(std::string_view name) {
  begin(NFT_MSG_DELSETELEM, 0);
  out_.text(NFTA_SET_ELEM_LIST_TABLE, table_);
  out_.text(NFTA_SET_ELEM_LIST_SET, name);
}

void Transaction::end_elements() {
  if (!elements_open_) return;
  out_.close(open_list_);
  elements_open_ = false;
}

void Transaction::element(std::string_view set, bool add, std::string_view key, const std::function<void(netlink::Batch&)>& rest,
                          uint32_t flags) {
  if (!elements_open_ || open_set_ != set || open_add_ != add || out_.nest_size(open_list_) > kElementsLimit) {
    begin(add ? NFT_MSG_NEWSETELEM : NFT_MSG_DELSETELEM, add ? NLM_F_CREATE : 0);
    out_.text(NFTA_SET_ELEM_LIST_TABLE, table_);
    out_.text(NFTA_SET_ELEM_LIST_SET, set);
    open_list_ = out_.open(NFTA_SET_ELEM_LIST_ELEMENTS);
    open_set_ = set;
    open_add_ = add;
    elements_open_ = true;
  }
  auto e = out_.open(NFTA_LIST_ELEM);
  if (flags) out_.be32(NFTA_SET_ELEM_FLAGS, flags);
  data_value(out_, NFTA_SET_ELEM_KEY, key);
  if (rest) rest(out_);
  out_.close(e);
}

void Transaction::add_element(std::string_view set, std::string_view key, std::string_view data) {
  element(set, true, key, [&](auto& b) {
    if (!data.empty()) data_value(b, NFTA_SET_ELEM_DATA, data);
  });
}
void Transaction::delete_element(std::string_view set, std::string_view key) { element(set, false, key, {}); }

void Transaction::add_interval(std::string_view set, std::string_view low, std::string_view high) {
  element(set, true, low, {});
  if (!high.empty()) element(set, true, high, {}, NFT_SET_ELEM_INTERVAL_END);
}

void Transaction::add_range(std::string_view set, std::string_view key, std::string_view key_end) {
  element(set, true, key, [&](auto& b) { data_value(b, NFTA_SET_ELEM_KEY_END, key_end); });
}
void Transaction::delete_range(std::string_view set, std::string_view key, std::string_view key_end) {
  element(set, false, key, [&](auto& b) { data_value(b, NFTA_SET_ELEM_KEY_END, key_end); });
}

void Transaction::add_verdict_element(std::string_view set, std::string_view key, std::string_view chain) {
  element(set, true, key, [&](auto& b) { data_verdict(b, NFTA_SET_ELEM_DATA, chain.empty() ? NF_DROP : NFT_GOTO, chain); });
}
void Transaction::add_jump_element(std::string_view set, std::string_view key, std::string_view chain) {
  element(set, true, key, [&](auto& b) { data_verdict(b, NFTA_SET_ELEM_DATA, NFT_JUMP, chain); });
}

const netlink::Batch& Transaction::finish() {
  if (finished_) return out_;
  end_elements();
  if (requests_) out_.acknowledge();
  last_ = out_.messages();
  out_.begin_quiet(NFNL_MSG_BATCH_END, 0, Header{NFPROTO_UNSPEC, NFNETLINK_V0, htons(NFNL_SUBSYS_NFTABLES)});
  finished_ = true;
  return out_;
}

Key& Key::address(const Ip& ip) {
  std::memcpy(bytes_ + size_, ip.data(), 4);
  size_ += 4;
  return *this;
}
Key& Key::protocol(Protocol p) {
  bytes_[size_] = static_cast<char>(p);
  size_ += 4;
  return *this;
}
Key& Key::port(uint16_t p) {
  p = htons(p);
  std::memcpy(bytes_ + size_, &p, 2);
  size_ += 4;
  return *this;
}
Key& Key::number(uint32_t v) {
  std::memcpy(bytes_ + size_, &v, 4);
  size_ += 4;
  return *this;
}
}  // namespace network::nft
