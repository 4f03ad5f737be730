#include "network/dns/message.h"

#include <algorithm>
#include <cstring>

namespace network::dns {
namespace {

uint16_t get16(std::string_view p, size_t at) {
  return static_cast<uint16_t>(static_cast<uint8_t>(p[at]) << 8 | static_cast<uint8_t>(p[at + 1]));
}
uint32_t get32(std::string_view p, size_t at) { return uint32_t{get16(p, at)} << 16 | get16(p, at + 2); }

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

constexpr uint16_t kQr = 0x8000, kOpcode = 0x7800, kAa = 0x0400, kTc = 0x0200, kRd = 0x0100, kRa = 0x0080, kAd = 0x0020, kCd = 0x0010;

constexpr std::string_view kQuestionPointer("\xc0\x0c", 2);

// Skips the name at `at` without following pointers; npos when it leaves the packet.
size_t skip_name(std::string_view p, size_t at) {
  for (;;) {
    if (at >= p.size()) return std::string_view::npos;
    uint8_t n = static_cast<uint8_t>(p[at]);
    if (n == 0) return at + 1;
    if ((n & 0xc0) == 0xc0) return at + 2 <= p.size() ? at + 2 : std::string_view::npos;
    if (n & 0xc0) return std::string_view::npos;
    at += 1u + n;
  }
}

// Appends the name at `at`, decompressed, and moves `at` behind it. Pointers must lead to before where they were followed from.
bool read_name(std::string_view p, size_t& at, std::string& out, bool fold) {
  size_t start = out.size(), here = at, before = at;
  bool jumped = false;
  for (;;) {
    if (here >= p.size()) return false;
    uint8_t n = static_cast<uint8_t>(p[here]);
    if ((n & 0xc0) == 0xc0) {
      if (here + 2 > p.size()) return false;
      size_t target = get16(p, here) & 0x3fff;
      if (target >= before || target < kHeader) return false;
      if (!jumped) at = here + 2;
      jumped = true;
      here = before = target;
      continue;
    }
    if (n & 0xc0) return false;
    if (here + 1 + n > p.size() || out.size() - start + 1 + n > kMaxName) return false;
    for (size_t i = 0; i <= n; ++i) out.push_back(fold && i ? lower(p[here + i]) : p[here + i]);
    here += 1u + n;
    if (n == 0) break;
  }
  if (!jumped) at = here;
  return true;
}

}  // namespace

Gate parse_query(std::string_view p, Query& q) {
  if (p.size() < kHeader || p.size() > kMaxMessage) return Gate::drop;
  uint16_t flags = get16(p, 2);
  if (flags & kQr) return Gate::drop;
  q.id = get16(p, 0);
  q.recursion_desired = flags & kRd;
  q.checking_disabled = flags & kCd;
  q.edns = q.dnssec_ok = false;
  q.udp_size = 512;
  q.question = {};
  q.name_size = q.label_count = 0;
  if (flags & kOpcode) return Gate::not_implemented;
  if (get16(p, 4) != 1 || get16(p, 6) != 0 || get16(p, 8) != 0 || get16(p, 10) > 2) return Gate::format_error;

  size_t at = kHeader;
  for (;;) {
    if (at >= p.size()) return Gate::format_error;
    uint8_t n = static_cast<uint8_t>(p[at]);
    if (n > 63 || at + 1 + n > p.size() || q.name_size + 1u + n > kMaxName) return Gate::format_error;
    if (n) q.labels[q.label_count++] = q.name_size;
    q.name[q.name_size++] = static_cast<char>(n);
    for (size_t i = 1; i <= n; ++i) q.name[q.name_size++] = lower(p[at + i]);
    at += 1u + n;
    if (n == 0) break;
  }
  if (at + 4 > p.size()) return Gate::format_error;
  q.type = get16(p, at);
  q.cls = get16(p, at + 2);
  at += 4;
  q.question = p.substr(kHeader, at - kHeader);

  for (int i = get16(p, 10); i > 0; --i) {
    size_t name = at;
    at = skip_name(p, at);
    if (at == std::string_view::npos || at + 10 > p.size()) return Gate::format_error;
    uint16_t type = get16(p, at), length = get16(p, at + 8);
    if (at + 10 + length > p.size()) return Gate::format_error;
    if (type == kOpt) {
      if (q.edns || p[name] != 0) return Gate::format_error;
      q.edns = true;
      q.udp_size = std::max<uint16_t>(512, get16(p, at + 2));
      q.dnssec_ok = get32(p, at + 4) & 0x8000;
    }
    at += 10u + length;
  }
  return at == p.size() ? Gate::pass : Gate::format_error;
}

std::string wire_name(std::string_view dotted) {
  std::string out;
  if (dotted.ends_with('.')) dotted.remove_suffix(1);
  while (!dotted.empty()) {
    auto dot = dotted.find('.');
    auto label = dotted.substr(0, dot);
    if (label.empty() || label.size() > 63) return {};
    out.push_back(static_cast<char>(label.size()));
    for (char c : label) out.push_back(lower(c));
    if (dot == std::string_view::npos) break;
    dotted.remove_prefix(dot + 1);
    if (dotted.empty()) return {};
  }
  out.push_back('\0');
  return out.size() <= kMaxName ? out : std::string();
}

std::string dotted_name(std::string_view wire) {
  std::string out;
  for (size_t at = 0; at < wire.size() && wire[at];) {
    uint8_t n = static_cast<uint8_t>(wire[at]);
    if (!out.empty()) out += '.';
    out += wire.substr(at + 1, n);
    at += 1u + n;
  }
  return out;
}

void Writer::put(const void* data, size_t n) {
  if (size_ + n > limit_) {
    overflow_ = true;
    return;
  }
  if (n) std::memcpy(buffer_ + size_, data, n);
  size_ += n;
}
void Writer::u16(uint16_t v) {
  uint8_t b[2] = {static_cast<uint8_t>(v >> 8), static_cast<uint8_t>(v)};
  put(b, 2);
}
void Writer::u32(uint32_t v) {
  u16(static_cast<uint16_t>(v >> 16));
  u16(static_cast<uint16_t>(v));
}
void Writer::patch16(size_t at, uint16_t v) {
  buffer_[at] = static_cast<char>(v >> 8);
  buffer_[at + 1] = static_cast<char>(v);
}

Reply::Reply(const Query& query, Writer& out) : query_(query), out_(out) {
  out_.rewind(0);
  out_.bytes(std::string_view("\0\0\0\0\0\0\0\0\0\0\0\0", kHeader));
  out_.bytes(query.question);
}

void Reply::record(std::string_view owner, uint16_t type, uint32_t ttl, uint16_t length) {
  if (owner.empty())
    out_.u16(0xc000 | kHeader);
  else
    out_.bytes(owner);
  out_.u16(type);
  out_.u16(kIn);
  out_.u32(ttl);
  out_.u16(length);
  ++counts_[static_cast<int>(section_)];
}

void Reply::address(const Ip& ip, uint32_t ttl, std::string_view owner) {
  record(owner, ip.is_v6() ? kAaaa : kA, ttl, static_cast<uint16_t>(ip.size()));
  out_.bytes({reinterpret_cast<const char*>(ip.data()), ip.size()});
}
void Reply::name_record(uint16_t type, std::string_view target, uint32_t ttl, std::string_view owner) {
  record(owner, type, ttl, static_cast<uint16_t>(target.size()));
  out_.bytes(target);
}
void Reply::text(std::string_view text, uint32_t ttl) {
  text = text.substr(0, 255);
  record({}, kTxt, ttl, static_cast<uint16_t>(text.size() + 1));
  out_.u8(static_cast<uint8_t>(text.size()));
  out_.bytes(text);
}
void Reply::service(uint16_t priority, uint16_t weight, uint16_t port, std::string_view target, uint32_t ttl) {
  record({}, kSrv, ttl, static_cast<uint16_t>(6 + target.size()));
  out_.u16(priority);
  out_.u16(weight);
  out_.u16(port);
  out_.bytes(target);
}
void Reply::start_of_authority(std::string_view zone, uint32_t serial, uint32_t ttl) {
  const std::string server = std::string("\2ns\3dns", 7) + std::string(zone), mail = std::string("\12hostmaster", 11) + std::string(zone);
  record(zone, kSoa, ttl, static_cast<uint16_t>(server.size() + mail.size() + 20));
  out_.bytes(server);
  out_.bytes(mail);
  out_.u32(serial);
  out_.u32(7200);
  out_.u32(1800);
  out_.u32(86400);
  out_.u32(ttl);
}
void Reply::raw(Section s, std::string_view records, uint16_t count) {
  out_.bytes(records);
  counts_[static_cast<int>(s)] = static_cast<uint16_t>(counts_[static_cast<int>(s)] + count);
}

std::string_view Reply::finish(bool udp) {
  bool truncated = false;
  size_t opt = query_.edns ? 11 : 0;
  size_t limit = udp ? std::min<size_t>(query_.udp_size, kMaxUdp) : kMaxMessage;
  if (out_.overflow() || out_.size() + opt > limit) {
    truncated = true;
    out_.rewind(kHeader + query_.question.size());
    counts_[0] = counts_[1] = counts_[2] = 0;
  }
  if (query_.edns) {
    out_.u8(0);
    out_.u16(kOpt);
    out_.u16(kMaxUdp);
    out_.u32(query_.dnssec_ok ? 0x8000 : 0);
    out_.u16(0);
    ++counts_[2];
  }
  uint16_t flags = kQr | kRa | static_cast<uint16_t>(rcode_);
  if (query_.recursion_desired) flags |= kRd;
  if (query_.checking_disabled) flags |= kCd;
  if (authoritative_) flags |= kAa;
  if (truncated) flags |= kTc;
  out_.patch16(0, query_.id);
  out_.patch16(2, flags);
  out_.patch16(4, query_.question.empty() ? 0 : 1);
  for (int i = 0; i < 3; ++i) out_.patch16(6 + 2 * static_cast<size_t>(i), counts_[i]);
  return out_.view();
}

namespace {

// Copies a record's data with the names in it decompressed (the types of RFC 1035 may be compressed; RFC 3597, 4).
bool read_data(std::string_view p, size_t at, size_t length, uint16_t type, std::string& out) {
  const size_t end = at + length;
  auto name = [&] { return read_name(p, at, out, false) && at <= end; };
  auto fixed = [&](size_t n) {
    if (at + n > end) return false;
    out.append(p.substr(at, n));
    at += n;
    return true;
  };
  bool ok = true;
  switch (type) {
    case kNs:
    case kCname:
    case kPtr: ok = name(); break;
    case kSoa: ok = name() && name() && fixed(20); break;
    case 15: ok = fixed(2) && name(); break;              // MX
    case kSrv: ok = fixed(6) && name(); break;
    case 14: ok = name() && name(); break;                // MINFO
    case kA: ok = length == 4 && fixed(4); break;
    case kAaaa: ok = length == 16 && fixed(16); break;
    default: ok = fixed(length);
  }
  return ok && at == end;
}

}  // namespace

bool parse_answer(std::string_view p, Answer& a) {
  a = {};
  if (p.size() < kHeader || p.size() > kMaxMessage) return false;
  uint16_t flags = get16(p, 2);
  if (!(flags & kQr) || (flags & kOpcode) || get16(p, 4) != 1) return false;
  a.id = get16(p, 0);
  a.truncated = flags & kTc;
  a.authenticated = flags & kAd;
  a.rcode = static_cast<Rcode>(flags & 15);
  size_t at = kHeader;
  if (!read_name(p, at, a.name, true) || at + 4 > p.size()) return false;
  a.type = get16(p, at);
  if (get16(p, at + 2) != kIn) return false;
  at += 4;
  if (a.truncated) return true;  // asked again by TCP: what is there does not matter

  uint32_t min_ttl = UINT32_MAX, soa_ttl = UINT32_MAX;
  bool wanted = false;
  for (int s = 0; s < 3; ++s) {
    for (int i = get16(p, 6 + 2 * static_cast<size_t>(s)); i > 0; --i) {
      std::string& out = a.records[s];
      const size_t start = out.size();
      if (!read_name(p, at, out, false) || at + 10 > p.size()) return false;
      uint16_t type = get16(p, at), length = get16(p, at + 8);
      if (at + 10 + length > p.size()) return false;
      if (out.size() - start == a.name.size() &&
          std::equal(a.name.begin(), a.name.end(), out.begin() + start, [](char x, char y) { return x == lower(y); }))
        out.replace(start, std::string::npos, kQuestionPointer);
      if (type == kOpt) {  // between two hops only
        if (s != 2) return false;
        out.resize(start);
        at += 10u + length;
        continue;
      }
      uint32_t ttl = get32(p, at + 4);
      if (ttl > 0x7fffffff) ttl = 0;
      out.append(p.substr(at, 4));
      a.ttls[s].push_back(static_cast<uint32_t>(out.size()));
      for (int shift = 24; shift >= 0; shift -= 8) out.push_back(static_cast<char>(ttl >> shift));
      out.append("\0\0", 2);
      const size_t data = out.size();
      if (!read_data(p, at + 10, length, type, out) || out.size() - data > 0xffff) return false;
      out[data - 2] = static_cast<char>((out.size() - data) >> 8);
      out[data - 1] = static_cast<char>(out.size() - data);
      if (out.size() > kMaxMessage) return false;
      if (s == 0) {
        min_ttl = std::min(min_ttl, ttl);
        wanted = wanted || type == a.type || a.type == kAny;
      }
      if (s == 1 && type == kSoa && out.size() - data >= 22) soa_ttl = std::min({soa_ttl, ttl, get32(out, out.size() - 4)});
      ++a.counts[s];
      at += 10u + length;
    }
  }
  a.negative = !wanted;
  if (!a.negative) {
    a.min_ttl = min_ttl;
  } else {
    a.min_ttl = soa_ttl == UINT32_MAX ? 0 : soa_ttl;
    if (a.counts[0]) a.min_ttl = std::min(a.min_ttl, min_ttl);
  }
  return true;
}

void put_records(Reply& reply, const Answer& a, uint32_t age, std::string_view owner) {
  for (int s = 0; s < 3; ++s) {
    std::string records = a.records[s];
    for (uint32_t at : a.ttls[s]) {
      uint32_t ttl = get32(records, at);
      ttl = ttl > age ? ttl - age : 0;
      for (uint32_t i = 0; i < 4; ++i) records[at + i] = static_cast<char>(ttl >> (24 - 8 * i));
    }
    if (!owner.empty()) {
      // The question is another one here: owners that were the question's name are written out.
      std::string full;
      size_t from = 0;
      for (uint32_t at : a.ttls[s]) {
        size_t name = from, end = at + 6 + get16(records, at + 4);
        if (std::string_view(records).substr(name, 2) == kQuestionPointer) {
          full += owner;
          name += 2;
        }
        full += records.substr(name, end - name);
        from = end;
      }
      records = std::move(full);
    }
    reply.raw(static_cast<Reply::Section>(s), records, a.counts[s]);
  }
}

std::string make_query(uint16_t id, std::string_view name, uint16_t type, bool dnssec_ok, bool checking_disabled) {
  std::string out(kHeader + name.size() + 4 + 11, '\0');
  Writer w(out.data(), out.size());
  w.u16(id);
  w.u16(static_cast<uint16_t>(kRd | (checking_disabled ? kCd : 0)));
  w.u16(1);
  w.u16(0);
  w.u16(0);
  w.u16(1);
  w.bytes(name);
  w.u16(type);
  w.u16(kIn);
  w.u8(0);
  w.u16(kOpt);
  w.u16(kMaxUdp);
  w.u32(dnssec_ok ? 0x8000 : 0);
  w.u16(0);
  return out;
}

}  // namespace network::dns
