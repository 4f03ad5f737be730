// Network namespaces for tests: nameless, so they vanish with their last descriptor whatever happens.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/files.h"
#include "network/address.h"
#include "network/node.h"

namespace network::test {

// A namespace; run() executes in it on a thread of its own. Exceptions come back to the caller.
class Netns {
 public:
  Netns();
  int fd() const { return fd_.get(); }
  void run(const std::function<void()>& f) const;

 private:
  base::Fd fd_;
};

// Joins two namespaces by a veth with an address each ("192.168.7.1/24").
void join(const Netns& a, const std::string& name_a, const std::string& address_a, const Netns& b, const std::string& name_b,
          const std::string& address_b);
void default_route(const Netns& n, const std::string& via);
void add_host_route(const Netns& n, const std::string& to, const std::string& via);

// Serves "name peer-address" to every TCP connection and UDP datagram on a port, until destroyed.
class Responder {
 public:
  Responder(const Netns& n, std::string name, uint16_t port);
  ~Responder();
  Responder(Responder&&) noexcept;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// The responder's answer, or "refused", "timeout", "unreachable".
std::string ask_tcp(const Netns& n, const std::string& ip, uint16_t port, int timeout_ms = 1000, const std::string& source = {});
std::string ask_udp(const Netns& n, const std::string& ip, uint16_t port, int timeout_ms = 1000, uint16_t source_port = 0);

Ip ip(const std::string& text);
Cidr cidr(const std::string& text);
// `nft list table ip appliance` of a namespace, empty when there is none.
std::string table(const Netns& n);
std::string shell(const Netns& n, const std::string& command);

// A directory that goes with its owner.
struct TemporaryDirectory {
  std::string path;
  TemporaryDirectory();
  ~TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
};

// Two nodes on one link, and a client outside the cluster beside node a.
struct Lab {
  Netns a, b, client;
  TemporaryDirectory directory;
  const std::string& dir = directory.path;
  std::unique_ptr<Node> node_a, node_b;
  Lab();
  ~Lab();
  std::unique_ptr<Node> start(const Netns& where, int number);
};

}  // namespace network::test
