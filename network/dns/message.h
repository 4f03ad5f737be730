// The DNS wire format: a strict gate for queries, a bounded reader for answers, a writer. (RFC 1035, 6891.)
//
// Input is hostile: nothing is read past its end, compression pointers lead only backwards, every count is bounded.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "network/address.h"

namespace network::dns {

constexpr uint16_t kA = 1, kNs = 2, kCname = 5, kSoa = 6, kPtr = 12, kTxt = 16, kAaaa = 28, kSrv = 33, kOpt = 41, kIxfr = 251, kAxfr = 252,
                   kAny = 255;
constexpr uint16_t kIn = 1;
enum class Rcode : uint8_t { ok = 0, format_error = 1, server_failure = 2, no_such_name = 3, not_implemented = 4, refused = 5 };
constexpr size_t kHeader = 12, kMaxName = 255, kMaxUdp = 1232, kMaxMessage = 65535;

// A query that passed the gate.
struct Query {
  uint16_t id = 0;
  bool recursion_desired = false, checking_disabled = false;
  bool edns = false, dnssec_ok = false;
  uint16_t udp_size = 512;
  uint16_t type = 0, cls = 0;
  std::string_view question;              // name, type and class as received; lives as long as the packet
  std::array<char, kMaxName + 1> name{};  // lower case wire form
  uint8_t name_size = 0;
  std::array<uint8_t, 128> labels{};      // offsets of the labels in `name`
  uint8_t label_count = 0;                // without the root

  std::string_view label(size_t i) const { return {name.data() + labels[i] + 1, static_cast<uint8_t>(name[labels[i]])}; }
  std::string_view wire_name() const { return {name.data(), name_size}; }
};

enum class Gate { pass, drop, format_error, not_implemented };
// What must not even be answered (too short, a response) is dropped; for the other refusals id and flags of `out` are filled in.
Gate parse_query(std::string_view packet, Query& out);

// "a.b" -> wire form in lower case, ended by the root label. Empty when a label is empty or too long, or the name is.
std::string wire_name(std::string_view dotted);
std::string dotted_name(std::string_view wire);

// Writes one message into a buffer of the caller. Nothing is written past the limit; overflow() tells that something did not fit.
class Writer {
 public:
  Writer(char* buffer, size_t limit) : buffer_(buffer), limit_(limit) {}
  void u8(uint8_t v) { put(&v, 1); }
  void u16(uint16_t v);
  void u32(uint32_t v);
  void bytes(std::string_view v) { put(v.data(), v.size()); }
  void patch16(size_t at, uint16_t v);
  size_t size() const { return size_; }
  bool overflow() const { return overflow_; }
  void rewind(size_t size) {
    size_ = size;
    overflow_ = false;
  }
  std::string_view view() const { return {buffer_, size_}; }
  void limit(size_t limit) { limit_ = limit; }

 private:
  void put(const void* data, size_t n);
  char* buffer_;
  size_t limit_;
  size_t size_ = 0;
  bool overflow_ = false;
};

// An answer under construction: header and question are written at once, records follow, finish() sets the counts.
class Reply {
 public:
  Reply(const Query& query, Writer& out);
  // Owner names: the question's, or a wire name given.
  void address(const Ip& ip, uint32_t ttl, std::string_view owner = {});
  void name_record(uint16_t type, std::string_view target, uint32_t ttl, std::string_view owner = {});  // CNAME, PTR, NS
  void text(std::string_view text, uint32_t ttl);
  void service(uint16_t priority, uint16_t weight, uint16_t port, std::string_view target, uint32_t ttl);
  void start_of_authority(std::string_view zone, uint32_t serial, uint32_t ttl);
  enum class Section { answer, authority, additional };
  void section(Section s) { section_ = s; }
  void rcode(Rcode r) { rcode_ = r; }
  void authoritative(bool a) { authoritative_ = a; }
  size_t answers() const { return counts_[0]; }
  // Raw records, already encoded without compression into what stands before.
  void raw(Section s, std::string_view records, uint16_t count);
  // With `udp`, a message that does not fit the client's size is cut down to the question with TC set.
  std::string_view finish(bool udp);

 private:
  void record(std::string_view owner, uint16_t type, uint32_t ttl, uint16_t length);
  const Query& query_;
  Writer& out_;
  Section section_ = Section::answer;
  Rcode rcode_ = Rcode::ok;
  bool authoritative_ = false;
  uint16_t counts_[3] = {0, 0, 0};
};

// An upstream's answer, checked and taken apart. Names inside are decompressed, except owners that are the
// question's name: those point to where a question stands in every message.
struct Answer {
  uint16_t id = 0;
  bool truncated = false, authenticated = false;
  Rcode rcode = Rcode::ok;
  std::string name;  // lower case wire form of the question
  uint16_t type = 0;
  std::string records[3];      // answer, authority, additional without OPT
  uint16_t counts[3] = {0, 0, 0};
  std::vector<uint32_t> ttls[3];       // offsets of the TTL fields in `records`
  uint32_t min_ttl = 0;        // of the answer section; for negative answers what the SOA allows; 0 when there is neither
  bool negative = false;       // no record of the type asked for
};
// False when it is malformed in any way, or no answer to one question.
bool parse_answer(std::string_view packet, Answer& out);

// Its records into a reply, with TTLs less by `age`. `owner`: set when the reply's question is not the answer's, to the answer's.
void put_records(Reply& reply, const Answer& answer, uint32_t age, std::string_view owner = {});

// A query for an upstream: recursion desired, EDNS0 with room for kMaxUdp.
std::string make_query(uint16_t id, std::string_view wire_name, uint16_t type, bool dnssec_ok, bool checking_disabled);

}  // namespace network::dns
