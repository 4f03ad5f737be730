#include <catch2/catch.hpp>

#include "agent/node/guard.h"
#include "agent/pods/backoff.h"
#include "agent/pods/grpc_health.h"
#include "agent/pods/probe.h"

using namespace agent;
using namespace std::chrono_literals;

TEST_CASE("probe defaults are the documented ones") {
  auto t = probe_times({});
  CHECK(t.initial_delay == 0s);
  CHECK(t.timeout == 1s);
  CHECK(t.period == 10s);
  CHECK(t.success_threshold == 1);
  CHECK(t.failure_threshold == 3);
}

TEST_CASE("a verdict changes after as many equal results as its threshold says") {
  ProbeTimes t;
  t.success_threshold = 2;
  t.failure_threshold = 3;
  ProbeState s(t, Verdict::failure);
  CHECK(s.note(Verdict::success) == Verdict::failure);
  CHECK(s.note(Verdict::success) == Verdict::success);
  CHECK(s.note(Verdict::failure) == Verdict::success);
  CHECK(s.note(Verdict::failure) == Verdict::success);
  CHECK(s.note(Verdict::success) == Verdict::success);  // the run is broken
  CHECK(s.note(Verdict::failure) == Verdict::success);
  CHECK(s.note(Verdict::failure) == Verdict::success);
  CHECK(s.note(Verdict::failure) == Verdict::failure);
}

TEST_CASE("an attempt that could not be made changes nothing") {
  ProbeTimes t;
  t.failure_threshold = 2;
  ProbeState s(t, Verdict::success);
  CHECK(s.note(Verdict::failure) == Verdict::success);
  CHECK(s.note(Verdict::unknown) == Verdict::success);
  CHECK(s.note(Verdict::failure) == Verdict::failure);
}

TEST_CASE("ports by number and by name") {
  api::core::Container c;
  c.ports.resize(1);
  c.ports[0].name = "http";
  c.ports[0].containerPort = 8080;
  CHECK(resolve_port(api::IntOrString::of(80), c) == 80);
  CHECK(resolve_port(api::IntOrString::of(std::string("http")), c) == 8080);
  CHECK(resolve_port(api::IntOrString::of(std::string("none")), c) == 0);
  CHECK(resolve_port(api::IntOrString::of(70000), c) == 0);
}

TEST_CASE("a container's back-off: at once, 10 s, 20 s ... 5 min, and afresh after a good while") {
  BackOff b(1);
  base::TimePoint now{1h};
  CHECK(b.failed(now) == now);
  CHECK(b.failed(now) - now == 10s);
  CHECK(b.failed(now) - now == 20s);
  for (int i = 0; i < 10; ++i) b.failed(now);
  CHECK(b.delay() == 5min);
  CHECK(b.waiting(now + 4min));
  CHECK_FALSE(b.waiting(now + 5min));
  CHECK(b.failed(now, 10min) == now);
}

TEST_CASE("a pull's back-off begins with 10 s") {
  BackOff b(0);
  base::TimePoint now{1h};
  CHECK(b.failed(now) - now == 10s);
  CHECK(b.failed(now) - now == 20s);
  b.reset();
  CHECK(b.failed(now) - now == 10s);
}

TEST_CASE("gRPC health answers") {
  using namespace std::string_literals;
  CHECK(parse_health_response("\0\0\0\0\2\x08\x01"s) == 1);
  CHECK(parse_health_response("\0\0\0\0\2\x08\x02"s) == 2);
  CHECK(parse_health_response("\0\0\0\0\0"s) == 0);
  CHECK(parse_health_response("\0\0\0\0\2\x08"s) == -1);
  std::string request = grpc_health_request("10.0.0.1:50051", "svc");
  CHECK(request.starts_with("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
  CHECK(request.ends_with("\0\0\0\0\5\x0a\3svc"s));
}

TEST_CASE("who is evicted first: above its request, then low priority, then most above") {
  std::vector<EvictionCandidate> c = {{"modest", "", 0, 10, 100, false},
                                      {"greedy", "", 0, 300, 100, false},
                                      {"greedier", "", 0, 500, 100, false},
                                      {"important", "", 1000, 900, 0, false},
                                      {"critical", "", 0, 9000, 0, true}};
  CHECK(choose_victim(c) == "greedier");
  CHECK(choose_victim({c[0], c[3]}) == "important");
  CHECK(choose_victim({c[4]}).empty());
}
