// Netlink messages and sockets (RFC 3549; netlink(7)).
//
// A Batch holds one or more requests, sent with one system call. Attribute integers are in host order unless the name says be.
#pragma once

#include <linux/netlink.h>

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/error.h"
#include "base/files.h"

namespace network::netlink {

class Batch {
 public:
  // Starts a request; ends the one before. NLM_F_REQUEST | NLM_F_ACK are added unless `quiet`. `label` names the request in errors
  // ("add route 10.42.1.0/24"); an errno in `tolerated` is not an error.
  template <class Header>
  void begin(uint16_t type, uint16_t flags, const Header& header, std::string label, std::vector<int> tolerated = {}) {
    static_assert(std::is_trivially_copyable_v<Header>);
    start(type, flags | NLM_F_REQUEST | NLM_F_ACK, &header, sizeof header);
    notes_.push_back({std::move(label), std::move(tolerated), message_});
  }
  template <class Header>
  void begin_quiet(uint16_t type, uint16_t flags, const Header& header) {
    static_assert(std::is_trivially_copyable_v<Header>);
    start(type, flags | NLM_F_REQUEST, &header, sizeof header);
  }

  void attr(uint16_t type, const void* data, size_t size);
  void attr(uint16_t type, std::string_view bytes) { attr(type, bytes.data(), bytes.size()); }
  void text(uint16_t type, std::string_view s);  // with the ending NUL
  void u8(uint16_t type, uint8_t v) { attr(type, &v, sizeof v); }
  void u16(uint16_t type, uint16_t v) { attr(type, &v, sizeof v); }
  void u32(uint16_t type, uint32_t v) { attr(type, &v, sizeof v); }
  void be16(uint16_t type, uint16_t v);
  void be32(uint16_t type, uint32_t v);
  void be64(uint16_t type, uint64_t v);
  // Nested attributes: open() returns the position that close() takes.
  size_t open(uint16_t type);
  void close(size_t nest);
  size_t nest_size(size_t nest) const { return buffer_.size() - nest; }
  // Raw bytes inside the current nest or message (a struct that precedes nested attributes).
  void raw(const void* data, size_t size);
  // Asks for an acknowledgement of the current request.
  void acknowledge();

  bool empty() const { return messages_ == 0; }
  size_t messages() const { return messages_; }
  size_t size() const { return buffer_.size(); }
  const std::string& bytes() const { return buffer_; }

  struct Note {
    std::string label;
    std::vector<int> tolerated;
    size_t message;  // offset of the request
  };
  const std::vector<Note>& notes() const { return notes_; }

 private:
  void start(uint16_t type, int flags, const void* header, size_t size);
  std::string buffer_;
  size_t message_ = 0;
  size_t messages_ = 0;
  std::vector<Note> notes_;
};

// The attributes of a received message, without copying. Malformed input ends the iteration.
void each_attribute(const void* data, size_t size, const std::function<void(uint16_t type, std::string_view value)>& f);
template <class T>
T as(std::string_view value) {
  T v{};
  __builtin_memcpy(&v, value.data(), value.size() < sizeof v ? value.size() : sizeof v);
  return v;
}

class Socket {
 public:
  // NETLINK_ROUTE, NETLINK_NETFILTER. In the network namespace of the calling thread, for the socket's whole life.
  static base::Result<Socket> open(int protocol);
  // The same inside another network namespace (the calling thread visits it).
  static base::Result<Socket> open_in(int netns, int protocol);

  // Sends requests that all ask for an acknowledgement (in portions of 64) and collects the answers. The first error that is not
  // tolerated is returned; the requests after it have still been processed. `errors`, when given, gets an errno per request.
  base::Result<> run(const Batch& batch, std::vector<int>* errors = nullptr);
  // A dump request (NLM_F_DUMP is part of its flags): calls f per object. When the kernel says that the objects changed meanwhile, so that
  // some may be missing, calls `again` and starts over, a few times.
  base::Result<> dump(const Batch& request, const std::function<void(const nlmsghdr&, std::string_view payload)>& f,
                      const std::function<void()>& again);
  base::Result<> dump(const Batch& request, const std::function<void(const nlmsghdr&, std::string_view payload)>& f);
  // Sends everything as one datagram; returns when the request with sequence number `last` was answered, or at an error.
  base::Result<> transact(const Batch& batch, size_t messages_acknowledged);
  int fd() const { return fd_.get(); }

 private:
  base::Result<bool> dump_once(const Batch& request, const std::function<void(const nlmsghdr&, std::string_view)>& f);
  base::Result<> send(std::string_view bytes);
  base::Result<> receive();
  base::Fd fd_;
  std::vector<char> buffer_;
  size_t received_ = 0;
  size_t send_space_ = 0;
};

// What an acknowledgement says beyond its errno (NLMSGERR_ATTR_MSG), or empty.
std::string extended_text(const nlmsghdr& message);

}  // namespace network::netlink
