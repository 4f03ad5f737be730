#include <catch2/catch.hpp>

#include "network/dns/zone_table.h"
#include "tests/unit/network/dns_packets.h"
#include "tests/unit/network/netns.h"

using namespace network;
using namespace network::dns;
using namespace network::test;

namespace {

ServiceRecord web() {
  return {
      .ns = "default", .name = "web", .cluster_ips = {ip("10.43.0.80"), ip("fd00::80")}, .ports = {{"http", "tcp", 80}, {"", "tcp", 81}}};
}
ServiceRecord db() {
  return {.ns = "default",
          .name = "db",
          .endpoints = {{ip("10.42.1.5"), "db-0", {{"sql", "tcp", 5432}}}, {ip("10.42.2.6"), "", {{"sql", "tcp", 5432}}}}};
}

struct Asked {
  bool ours = false;
  Message message;
  std::string chase;
};

Asked ask(const Zone& zone, const std::string& name, unsigned type, uint32_t turn = 0) {
  Asked out;
  auto packet = test::query(name, type);
  Query q;
  REQUIRE(parse_query(packet, q) == Gate::pass);
  std::vector<char> buffer(65535);
  Writer w(buffer.data(), buffer.size());
  Reply r(q, w);
  out.ours = zone.answer(q, r, out.chase, turn);
  out.message = decode(std::string(r.finish(false)));
  CHECK(out.message.valid);
  return out;
}

std::shared_ptr<const Zone> zone() {
  ZoneBuilder b;
  b.add(web());
  b.add(db());
  b.add({.ns = "default", .name = "out", .external_name = "www.example.org"});
  b.add({.ns = "default", .name = "in", .external_name = "web.default.svc.cluster.local"});
  b.add({.ns = "default", .name = "empty"});
  b.add_namespace("other");
  return b.build(42);
}

constexpr const char* kSuffix = ".svc.cluster.local";

}  // namespace

TEST_CASE("services, their ports and their addresses") {
  auto z = zone();
  CHECK(ask(*z, std::string("web.default") + kSuffix, 1).message.text() == "10.43.0.80");
  CHECK(ask(*z, "WEB.Default.SVC.Cluster.LOCAL", 28).message.text() == "fd00::80");
  auto srv = ask(*z, "_http._tcp.web.default.svc.cluster.local", 33).message;
  CHECK(srv.text() == "0:100:80:web.default.svc.cluster.local");
  REQUIRE(srv.additional.size() == 2);
  CHECK(srv.additional[0].data == "10.43.0.80");
  CHECK(srv.authoritative());
  CHECK(ask(*z, "80.0.43.10.in-addr.arpa", 12).message.text() == "web.default.svc.cluster.local");
  CHECK(ask(*z, "0.8.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa", 12).message.text() ==
        "web.default.svc.cluster.local");
  for (auto& r : srv.answers) CHECK(r.ttl == 5);
}

TEST_CASE("headless services name their endpoints") {
  auto z = zone();
  CHECK(ask(*z, "db.default.svc.cluster.local", 1).message.text() == "10.42.1.5 10.42.2.6");
  CHECK(ask(*z, "db.default.svc.cluster.local", 1, 1).message.text() == "10.42.2.6 10.42.1.5");
  CHECK(ask(*z, "db-0.db.default.svc.cluster.local", 1).message.text() == "10.42.1.5");
  CHECK(ask(*z, "10-42-2-6.db.default.svc.cluster.local", 1).message.text() == "10.42.2.6");
  auto srv = ask(*z, "_sql._tcp.db.default.svc.cluster.local", 33).message;
  CHECK(srv.text() == "0:100:5432:db-0.db.default.svc.cluster.local 0:100:5432:10-42-2-6.db.default.svc.cluster.local");
  CHECK(srv.additional.size() == 2);
  CHECK(ask(*z, "db.default.svc.cluster.local", 33).message.answers.size() == 2);
  CHECK(ask(*z, "5.1.42.10.in-addr.arpa", 12).message.text() == "db-0.db.default.svc.cluster.local");
}

TEST_CASE("no such name and no such record are different, and both carry the SOA") {
  auto z = zone();
  auto check = [&](const char* name, unsigned type, unsigned rcode) {
    INFO(name);
    auto a = ask(*z, name, type);
    CHECK(a.ours);
    CHECK(a.message.rcode() == rcode);
    CHECK(a.message.answers.empty());
    REQUIRE(a.message.authority.size() == 1);
    CHECK(a.message.authority[0].type == 6);
    CHECK(a.message.authority[0].name == "cluster.local");
    CHECK(a.message.authority[0].ttl == 5);
  };
  check("nope.default.svc.cluster.local", 1, 3);
  check("web.nope.svc.cluster.local", 1, 3);
  check("www.example.org.default.svc.cluster.local", 1, 3);
  check("nope.db.default.svc.cluster.local", 1, 3);
  check("_nope._tcp.web.default.svc.cluster.local", 33, 3);
  check("_http._udp.web.default.svc.cluster.local", 33, 3);
  check("nope.cluster.local", 1, 3);
  check("db.default.svc.cluster.local", 28, 0);
  check("web.default.svc.cluster.local", 15, 0);
  check("_http._tcp.web.default.svc.cluster.local", 1, 0);
  check("_tcp.web.default.svc.cluster.local", 1, 0);
  check("empty.default.svc.cluster.local", 1, 0);
  check("default.svc.cluster.local", 1, 0);
  check("other.svc.cluster.local", 1, 0);
  check("svc.cluster.local", 1, 0);
  check("cluster.local", 1, 0);
  CHECK_FALSE(ask(*z, "example.org", 1).ours);
  CHECK_FALSE(ask(*z, "xcluster.local", 1).ours);
  CHECK_FALSE(ask(*z, "9.9.42.10.in-addr.arpa", 12).ours);
  CHECK(ask(*z, "cluster.local", 6).message.answers.size() == 1);
  CHECK(ask(*z, "dns-version.cluster.local", 16).message.text() == "\5" "1.1.0");
}

TEST_CASE("pods are named by their address") {
  auto z = zone();
  CHECK(ask(*z, "10-42-1-5.other.pod.cluster.local", 1).message.text() == "10.42.1.5");
  CHECK(ask(*z, "fd00--5.default.pod.cluster.local", 28).message.text() == "fd00::5");
  CHECK(ask(*z, "10-42-1-5.nope.pod.cluster.local", 1).message.rcode() == 3);
  CHECK(ask(*z, "10-42-1.other.pod.cluster.local", 1).message.rcode() == 3);
}

TEST_CASE("external names are aliases") {
  auto z = zone();
  auto out = ask(*z, "out.default.svc.cluster.local", 1);
  CHECK(dotted_name(out.chase) == "www.example.org");
  CHECK(out.message.text() == "www.example.org");
  CHECK(ask(*z, "out.default.svc.cluster.local", 5).chase.empty());
  auto in = ask(*z, "in.default.svc.cluster.local", 1);
  CHECK(in.chase.empty());
  CHECK(in.message.text() == "web.default.svc.cluster.local 10.43.0.80");
}

TEST_CASE("a builder lives on and is told the changes") {
  ZoneBuilder b("corp.example");
  b.add(web());
  auto first = b.build();
  b.remove("default", "web");
  b.add({.ns = "default", .name = "web2", .cluster_ips = {ip("10.43.0.81")}});
  auto second = b.build();
  CHECK(ask(*first, "web.default.svc.corp.example", 1).message.text() == "10.43.0.80");
  CHECK(ask(*second, "web.default.svc.corp.example", 1).message.rcode() == 3);
  CHECK(ask(*second, "web2.default.svc.corp.example", 1).message.text() == "10.43.0.81");
  b.remove("default", "web2");
  CHECK(ask(*b.build(), "default.svc.corp.example", 1).message.rcode() == 3);
}
