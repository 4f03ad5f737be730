#include <catch2/catch.hpp>

#include "network/address.h"

using namespace network;

TEST_CASE("addresses parse strictly and print canonically") {
  CHECK(Ip::parse("10.0.0.1")->str() == "10.0.0.1");
  CHECK(Ip::parse("2001:DB8:0:0::1")->str() == "2001:db8::1");
  for (const char* bad : {"", "10.0.0", "10.0.0.256", "10.0.0.01", "10.0.0.1 ", "fe80::1%eth0", ":::", "1.2.3.4.5"})
    CHECK_FALSE(Ip::parse(bad));
  CHECK(Ip::v4(0x0a000001).host_order() == 0x0a000001);
  CHECK(Ip::parse("127.9.9.9")->is_loopback());
  CHECK(Ip::parse("::1")->is_loopback());
  CHECK_FALSE(Ip::parse("::2")->is_loopback());
}

TEST_CASE("prefixes clear host bits and know what they contain") {
  auto c = *Cidr::parse("10.42.7.9/22");
  CHECK(c.str() == "10.42.4.0/22");
  CHECK(c.contains(*Ip::parse("10.42.7.255")));
  CHECK_FALSE(c.contains(*Ip::parse("10.42.8.0")));
  CHECK_FALSE(c.contains(*Ip::parse("::ffff:10.42.7.1")));
  CHECK(c.at(1).str() == "10.42.4.1");
  CHECK(Cidr::parse("0.0.0.0/0")->contains(*Ip::parse("1.2.3.4")));
  CHECK(Cidr::parse("fd00::/8")->contains(*Ip::parse("fdff::1")));
  for (const char* bad : {"10.0.0.0", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/", "10.0.0.0/8x", "::/129"}) CHECK_FALSE(Cidr::parse(bad));
}

TEST_CASE("link addresses") {
  CHECK(mac_str(*parse_mac("0a:58:0a:2a:00:05")) == "0a:58:0a:2a:00:05");
  for (const char* bad : {"", "0a:58:0a:2a:00", "0a-58-0a-2a-00-05", "0g:58:0a:2a:00:05"}) CHECK_FALSE(parse_mac(bad));
}
