// Where requests go: hosts, paths, backends, certificates. A table is immutable and replaced as a whole; the endpoints of a backend are
// replaced in place, because they change far more often.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/http/tls.h"

namespace ingress {

struct Endpoint {
  std::string host;  // IP literal, or a name for ExternalName services
  uint16_t port = 0;
  bool operator==(const Endpoint&) const = default;
};

// The endpoints of one port of one service. Thread-safe.
class Backend {
 public:
  using Endpoints = std::shared_ptr<const std::vector<Endpoint>>;
  explicit Backend(std::string name) : name_(std::move(name)) {}
  const std::string& name() const { return name_; }  // namespace/service:port
  Endpoints endpoints() const {
    std::scoped_lock lock(mutex_);
    return endpoints_;
  }
  void set_endpoints(std::vector<Endpoint> e) {
    auto fresh = std::make_shared<const std::vector<Endpoint>>(std::move(e));
    std::scoped_lock lock(mutex_);
    endpoints_ = std::move(fresh);
  }
  // Round robin.
  size_t next() { return turn_.fetch_add(1, std::memory_order_relaxed); }

 private:
  const std::string name_;
  mutable std::mutex mutex_;
  Endpoints endpoints_ = std::make_shared<const std::vector<Endpoint>>();
  std::atomic<size_t> turn_{0};
};
using BackendPtr = std::shared_ptr<Backend>;

struct Path {
  bool exact = false;
  std::string path;  // canonical
  BackendPtr backend;
};

struct Host {
  std::vector<Path> paths;  // in the order they are tried: exact ones, then the longest prefix
  bool redirect_to_tls = false;
};

struct RouteTable {
  std::map<std::string, Host, std::less<>> hosts;      // "a.example.com"; "" is any host
  std::map<std::string, Host, std::less<>> wildcards;  // "example.com" for *.example.com
  BackendPtr default_backend;
  std::map<std::string, base::http::TlsContextPtr, std::less<>> certificates, wildcard_certificates;

  struct Match {
    const Host* host = nullptr;
    BackendPtr backend;  // null: no route
  };
  // host and path in canonical form.
  Match match(std::string_view host, std::string_view path) const;
  // Null when no certificate covers the name.
  base::http::TlsContextPtr certificate(std::string_view name) const;
  void sort();
};
using RouteTablePtr = std::shared_ptr<const RouteTable>;

}  // namespace ingress
