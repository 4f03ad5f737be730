// Two nodes with pods that answer: two on node a, one on node b.
#pragma once

#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/unit/network/netns.h"

namespace network::test {

// Every pod answers with its name on port 80.
struct Cluster : Lab {
  Netns p1, p2, p3;
  PodNetwork n1, n2, n3;
  std::vector<Responder> responders;

  Cluster() {
    auto attach = [](const Netns& host, Node& node, const Netns& pod, const char* id) {
      PodNetwork out;
      host.run([&] { out = node.pods().attach(pod.fd(), {.id = id}).value(); });
      return out;
    };
    n1 = attach(a, *node_a, p1, "pod-1");
    n2 = attach(a, *node_a, p2, "pod-2");
    n3 = attach(b, *node_b, p3, "pod-3");
    responders.emplace_back(p1, "one", 80);
    responders.emplace_back(p2, "two", 80);
    responders.emplace_back(p3, "three", 80);
  }

  Endpoint one() const { return {.ip = n1.ip, .port = 80, .local = true}; }
  Endpoint two() const { return {.ip = n2.ip, .port = 80, .local = true}; }
  Endpoint three() const { return {.ip = n3.ip, .port = 80}; }

  void must(const base::Result<>& r) {
    if (!r) throw std::runtime_error(r.error().message);
  }
  void apply(Service s) {
    a.run([&] { must(node_a->services().update({s})); });
  }
  void replace(std::vector<Service> s) {
    a.run([&] { must(node_a->services().replace(s)); });
  }
  std::map<std::string, int> spread(const Netns& from, const std::string& to, uint16_t port, int times = 60) {
    std::map<std::string, int> out;
    for (int i = 0; i < times; ++i) {
      auto answer = ask_tcp(from, to, port);
      ++out[answer.substr(0, answer.find(' '))];
    }
    return out;
  }
};

}  // namespace network::test
