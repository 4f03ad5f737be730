// DNS messages for tests, made and read independently of the code under test.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace network::test {

inline void put16(std::string& s, unsigned v) {
  s += static_cast<char>(v >> 8);
  s += static_cast<char>(v);
}

inline std::string encode(const std::string& dotted) {
  std::string out;
  size_t from = 0;
  while (from < dotted.size()) {
    size_t dot = std::min(dotted.find('.', from), dotted.size());
    out += static_cast<char>(dot - from);
    out += dotted.substr(from, dot - from);
    from = dot + 1;
  }
  out += '\0';
  return out;
}

inline std::string query(const std::string& name, unsigned type, unsigned id = 0x1234, unsigned edns = 0, bool recursion = true) {
  std::string s;
  put16(s, id);
  put16(s, recursion ? 0x0100 : 0);
  put16(s, 1);
  put16(s, 0);
  put16(s, 0);
  put16(s, edns ? 1 : 0);
  s += encode(name);
  put16(s, type);
  put16(s, 1);
  if (edns) {
    s += '\0';
    put16(s, 41);
    put16(s, edns);
    s += std::string("\0\0\0\0\0\0", 6);
  }
  return s;
}

struct Record {
  std::string name;
  unsigned type = 0;
  unsigned long ttl = 0;
  std::string data;  // address text, target name, "priority weight port target", or raw
};

struct Message {
  bool valid = false;
  unsigned id = 0, flags = 0;
  std::string question;
  std::vector<Record> answers, authority, additional;
  unsigned rcode() const { return flags & 15; }
  bool truncated() const { return flags & 0x200; }
  bool authoritative() const { return flags & 0x400; }
  std::string text() const {  // the answers' data, in order
    std::string out;
    for (auto& r : answers) out += (out.empty() ? "" : " ") + r.data;
    return out;
  }
};

Message decode(const std::string& packet);

}  // namespace network::test
