#include <catch2/catch.hpp>

#include <chrono>
#include <cstdio>

#include <fmt/format.h>

#include "tests/unit/network/netns.h"

using namespace network;
using namespace network::test;

namespace {
using Clock = std::chrono::steady_clock;
double ms(Clock::time_point from) { return std::chrono::duration<double, std::milli>(Clock::now() - from).count(); }

Service numbered(uint32_t i, uint32_t endpoints) {
  Service s;
  s.key = fmt::format("ns/{}", i);
  s.cluster_ips = {Ip::v4(0x0a2b0100 + i)};
  ServicePort p{.name = "http", .port = 80};
  for (uint32_t e = 0; e < endpoints; ++e) p.endpoints.push_back({.ip = Ip::v4(0x0a2a0000 + (i * 7 + e) % 60000), .port = 8080});
  s.ports = {p};
  return s;
}
}  // namespace

TEST_CASE("ten thousand services with five endpoints load, change and go") {
  Lab lab;
  std::vector<Service> all;
  for (uint32_t i = 0; i < 10'000; ++i) all.push_back(numbered(i, 5));
  auto& services = lab.node_a->services();
  lab.a.run([&] {
    auto start = Clock::now();
    REQUIRE(services.replace(all));
    std::printf("10,000 services x 5 endpoints, load: %.0f ms\n", ms(start));
    for (int round = 0; round < 3; ++round) {
      start = Clock::now();
      for (uint32_t i = 0; i < 100; ++i) REQUIRE(services.update({numbered(i * 97, 5u - (round + 1) % 2)}));
      std::printf("one endpoint changes: %.3f ms\n", ms(start) / 100);
    }
    start = Clock::now();
    for (uint32_t i = 0; i < 100; ++i) REQUIRE(services.update({numbered(20'000 + i, 5)}));
    std::printf("one service comes: %.3f ms\n", ms(start) / 100);
    CHECK(services.stats().frontends == 10'100);
    start = Clock::now();
    REQUIRE(services.replace({}));
    std::printf("all go: %.0f ms\n", ms(start));
    CHECK(services.stats().elements == 0);
  });
}

TEST_CASE("a hundred pods attach and detach") {
  Lab lab;
  std::vector<std::unique_ptr<Netns>> pods;
  for (int i = 0; i < 100; ++i) pods.push_back(std::make_unique<Netns>());
  lab.a.run([&] {
    auto start = Clock::now();
    for (int i = 0; i < 100; ++i) REQUIRE(lab.node_a->pods().attach(pods[i]->fd(), {.id = fmt::format("p{}", i)}));
    std::printf("attach a pod: %.2f ms\n", ms(start) / 100);
    start = Clock::now();
    for (int i = 0; i < 100; ++i) REQUIRE(lab.node_a->pods().detach(fmt::format("p{}", i)));
    std::printf("detach a pod: %.2f ms\n", ms(start) / 100);
  });
}
