#include <arpa/inet.h>

#include <random>

#include <catch2/catch.hpp>

#include "network/dns/message.h"
#include "tests/unit/network/dns_packets.h"

using namespace network;
using namespace network::dns;

namespace network::test {

namespace {
struct Cursor {
  const std::string& p;
  size_t at = 0;
  bool ok = true;
  unsigned u8() {
    if (at >= p.size()) {
      ok = false;
      return 0;
    }
    return static_cast<uint8_t>(p[at++]);
  }
  unsigned u16() {
    unsigned a = u8();
    return a << 8 | u8();
  }
  std::string name() {
    std::string out;
    size_t back = 0;
    for (int hops = 0; ok && hops < 200; ++hops) {
      unsigned n = u8();
      if (n == 0) break;
      if (n >= 0xc0) {
        size_t to = (n & 0x3f) << 8 | u8();
        if (!back) back = at;
        at = to;
        continue;
      }
      if (!out.empty()) out += '.';
      for (; n && ok; --n) out += static_cast<char>(u8());
    }
    if (back) at = back;
    return out;
  }
};
}  // namespace

Message decode(const std::string& packet) {
  Message m;
  Cursor c{packet};
  m.id = c.u16();
  m.flags = c.u16();
  unsigned questions = c.u16(), counts[3] = {c.u16(), c.u16(), c.u16()};
  for (unsigned i = 0; i < questions; ++i) {
    m.question = c.name();
    c.u16();
    c.u16();
  }
  std::vector<Record>* sections[3] = {&m.answers, &m.authority, &m.additional};
  for (int s = 0; s < 3; ++s)
    for (unsigned i = 0; i < counts[s] && c.ok; ++i) {
      Record r;
      r.name = c.name();
      r.type = c.u16();
      c.u16();
      r.ttl = c.u16() << 16;
      r.ttl |= c.u16();
      unsigned length = c.u16();
      size_t end = c.at + length;
      if (end > packet.size()) return m;
      if (r.type == 1 || r.type == 28) {
        char buf[64];
        inet_ntop(r.type == 1 ? AF_INET : AF_INET6, packet.data() + c.at, buf, sizeof buf);
        r.data = buf;
      } else if (r.type == 5 || r.type == 12 || r.type == 2) {
        r.data = c.name();
      } else if (r.type == 33) {
        r.data = std::to_string(c.u16()) + ":" + std::to_string(c.u16()) + ":";
        r.data += std::to_string(c.u16());
        r.data += ":" + c.name();
      } else {
        r.data = packet.substr(c.at, length);
      }
      c.at = end;
      sections[s]->push_back(r);
    }
  m.valid = c.ok && c.at == packet.size();
  return m;
}

}  // namespace network::test

using namespace network::test;

TEST_CASE("the gate passes one plain question and nothing else") {
  Query q;
  auto good = query("Web.Default.svc", 1, 7, 4096);
  REQUIRE(parse_query(good, q) == Gate::pass);
  CHECK(q.id == 7);
  CHECK(q.edns);
  CHECK(q.udp_size == 4096);
  CHECK(q.label_count == 3);
  CHECK(q.label(0) == "web");
  CHECK(q.question == good.substr(12, 21));

  CHECK(parse_query("", q) == Gate::drop);
  CHECK(parse_query(good.substr(0, 11), q) == Gate::drop);
  auto changed = [&](size_t at, char v) {
    auto p = good;
    p[at] = v;
    return parse_query(p, q);
  };
  CHECK(changed(2, '\x81') == Gate::drop);             // a response
  CHECK(changed(2, '\x28') == Gate::not_implemented);  // UPDATE
  CHECK(changed(2, '\x20') == Gate::not_implemented);  // NOTIFY
  CHECK(changed(5, 2) == Gate::format_error);
  CHECK(changed(5, 0) == Gate::format_error);
  CHECK(changed(7, 1) == Gate::format_error);
  CHECK(changed(9, 1) == Gate::format_error);
  CHECK(changed(11, 3) == Gate::format_error);
  CHECK(changed(12, '\xc0') == Gate::format_error);  // a pointer in the first name
  CHECK(changed(12, 64) == Gate::format_error);
  for (size_t n = 12; n < good.size(); ++n) CHECK(parse_query(good.substr(0, n), q) == Gate::format_error);
  CHECK(parse_query(good + "x", q) == Gate::format_error);
  // 255 bytes are a name, 256 are not.
  std::string longest;
  for (int i = 0; i < 3; ++i) longest += std::string(63, 'a') + ".";
  CHECK(parse_query(query(longest + std::string(61, 'b'), 1), q) == Gate::pass);
  CHECK(parse_query(query(longest + std::string(62, 'b'), 1), q) == Gate::format_error);
  std::string many;
  for (int i = 0; i < 127; ++i) many += i ? ".a" : "a";
  CHECK(parse_query(query(many, 1), q) == Gate::pass);
  CHECK(q.label_count == 127);
}

TEST_CASE("names") {
  CHECK(wire_name("A.b.") == std::string("\1a\1b\0", 5));
  CHECK(wire_name("") == std::string("\0", 1));
  CHECK(wire_name("a..b").empty());
  CHECK(wire_name(std::string(64, 'a')).empty());
  CHECK(dotted_name(wire_name("web.default")) == "web.default");
}

TEST_CASE("an upstream's answer is taken apart") {
  // example.org CNAME www.example.org (compressed), A behind it.
  std::string p;
  put16(p, 9);
  put16(p, 0x8180);
  for (unsigned n : {1, 2, 0, 1}) put16(p, n);
  p += encode("Example.org");
  put16(p, 1);
  put16(p, 1);
  put16(p, 0xc00c);
  put16(p, 5);
  put16(p, 1);
  put16(p, 0);
  put16(p, 300);
  put16(p, 6);
  p += "\3www";
  put16(p, 0xc00c);
  put16(p, 0xc029);
  put16(p, 1);
  put16(p, 1);
  put16(p, 0);
  put16(p, 60);
  put16(p, 4);
  p += std::string("\xc0\0\2\1", 4);
  p += '\0';
  put16(p, 41);
  put16(p, 1232);
  p += std::string("\0\0\0\0\0\0", 6);
  Answer a;
  REQUIRE(parse_answer(p, a));
  CHECK(a.id == 9);
  CHECK(dotted_name(a.name) == "example.org");
  CHECK(a.counts[0] == 2);
  CHECK(a.counts[2] == 0);  // OPT is between hops
  CHECK(a.min_ttl == 60);
  CHECK_FALSE(a.negative);

  SECTION("and put into a message for a client, older and for its own question") {
    Query q;
    auto asked = query("eXample.org", 1, 77);
    REQUIRE(parse_query(asked, q) == Gate::pass);
    char buf[1500];
    Writer w(buf, sizeof buf);
    Reply r(q, w);
    put_records(r, a, 20);
    auto m = decode(std::string(r.finish(true)));
    REQUIRE(m.valid);
    CHECK(m.id == 77);
    CHECK(m.question == "eXample.org");
    REQUIRE(m.answers.size() == 2);
    CHECK(m.answers[0].data == "www.Example.org");
    CHECK(m.answers[0].ttl == 280);
    CHECK(m.answers[1].name == "www.Example.org");
    CHECK(m.answers[1].data == "192.0.2.1");
    CHECK(m.answers[1].ttl == 40);
  }
  SECTION("and behind an alias") {
    Query q;
    auto asked = query("db.default.svc.cluster.local", 1);
    REQUIRE(parse_query(asked, q) == Gate::pass);
    char buf[1500];
    Writer w(buf, sizeof buf);
    Reply r(q, w);
    r.name_record(kCname, a.name, 5);
    put_records(r, a, 0, a.name);
    auto m = decode(std::string(r.finish(true)));
    REQUIRE(m.valid);
    REQUIRE(m.answers.size() == 3);
    CHECK(m.answers[0].data == "example.org");
    CHECK(m.answers[1].name == "example.org");
    CHECK(m.answers[2].data == "192.0.2.1");
  }
  SECTION("no cut and no pointer forward passes") {
    for (size_t n = 0; n < p.size(); ++n) {
      Answer b;
      CHECK_FALSE(parse_answer(p.substr(0, n), b));
    }
    auto loop = p;
    loop[29 + 12] = '\xc0';
    loop[29 + 13] = 41;
    Answer b;
    CHECK_FALSE(parse_answer(loop, b));
  }
}

TEST_CASE("no mutation of a message makes the readers fail") {
  std::mt19937 random(7);
  std::string seeds[] = {query("web.default.svc.cluster.local", 33, 1, 1232), query("a.b", 1)};
  std::string answer = query("a.example", 1);
  answer[2] = '\x81';
  answer[7] = 2;
  for (int i = 0; i < 2; ++i) answer += std::string("\xc0\x0c\0\1\0\1\0\0\0\5\0\4\1\2\3\4", 16);
  size_t passed = 0;
  for (int i = 0; i < 200'000; ++i) {
    std::string p = i % 3 == 2 ? answer : seeds[i % 2];
    for (unsigned k = random() % 4 + 1; k > 0; --k) p[random() % p.size()] = static_cast<char>(random());
    if (random() % 8 == 0) p.resize(random() % (p.size() + 1));
    // A copy of exactly this size, so that a sanitizer sees any read past its end.
    std::vector<char> exact(p.begin(), p.end());
    Query q;
    passed += parse_query({exact.data(), exact.size()}, q) == Gate::pass;
    Answer a;
    passed += parse_answer({exact.data(), exact.size()}, a);
  }
  CHECK(passed > 0);
}

TEST_CASE("what does not fit is cut and says so") {
  Query q;
  auto asked = query("many.example", 1);
  REQUIRE(parse_query(asked, q) == Gate::pass);
  char buf[1300];
  for (bool edns : {false, true}) {
    q.edns = edns;
    q.udp_size = edns ? 1232 : 512;
    Writer w(buf, sizeof buf);
    Reply r(q, w);
    for (uint32_t i = 0; i < 200; ++i) r.address(Ip::v4(i), 5);
    auto m = decode(std::string(r.finish(true)));
    CHECK(m.valid);
    CHECK(m.truncated());
    CHECK(m.answers.empty());
  }
}
