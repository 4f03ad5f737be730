// Where nodes and clients are told to reach this server; follows the host's address. Thread-safe.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>

namespace server {

class AdvertisedAddress {
 public:
  explicit AdvertisedAddress(std::string host) : host_(std::move(host)) {}
  std::string host() const {
    std::scoped_lock lock(mutex_);
    return host_;
  }
  // "192.0.2.1:6443"
  std::string host_and_port() const {
    std::scoped_lock lock(mutex_);
    return host_ + ":" + std::to_string(port_);
  }
  // False: it is this one already.
  bool move_to(std::string host) {
    std::scoped_lock lock(mutex_);
    if (host_ == host) return false;
    host_ = std::move(host);
    return true;
  }
  void set_port(uint16_t port) {
    std::scoped_lock lock(mutex_);
    port_ = port;
  }

 private:
  mutable std::mutex mutex_;
  std::string host_;
  uint16_t port_ = 0;
};

}  // namespace server
