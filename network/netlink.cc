#include "network/netlink.h"

#include <arpa/inet.h>
#include <endian.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include <fmt/format.h>

namespace network::netlink {
namespace {

constexpr size_t kPortion = 64;  // acknowledgements that surely fit a default receive buffer

size_t aligned(size_t n) { return (n + 3) & ~size_t{3}; }

}  // namespace

void Batch::start(uint16_t type, int flags, const void* header, size_t size) {
  message_ = buffer_.size();
  nlmsghdr h{};
  h.nlmsg_len = static_cast<uint32_t>(sizeof h);
  h.nlmsg_type = type;
  h.nlmsg_flags = static_cast<uint16_t>(flags);
  h.nlmsg_seq = static_cast<uint32_t>(++messages_);
  buffer_.append(reinterpret_cast<const char*>(&h), sizeof h);
  raw(header, size);
}

void Batch::raw(const void* data, size_t size) {
  if (size) buffer_.append(static_cast<const char*>(data), size);
  buffer_.resize(aligned(buffer_.size()), '\0');
  if (messages_ == 0) return;  // attributes alone, to be put into a request later
  uint32_t length = static_cast<uint32_t>(buffer_.size() - message_);
  std::memcpy(buffer_.data() + message_, &length, sizeof length);
}

void Batch::attr(uint16_t type, const void* data, size_t size) {
  uint16_t head[2] = {static_cast<uint16_t>(size + 4), type};
  buffer_.append(reinterpret_cast<const char*>(head), 4);
  raw(data, size);
}

void Batch::text(uint16_t type, std::string_view s) {
  std::string z(s);
  attr(type, z.c_str(), z.size() + 1);
}

void Batch::be16(uint16_t type, uint16_t v) { u16(type, htons(v)); }
void Batch::be32(uint16_t type, uint32_t v) { u32(type, htonl(v)); }
void Batch::be64(uint16_t type, uint64_t v) {
  v = htobe64(v);
  attr(type, &v, sizeof v);
}

size_t Batch::open(uint16_t type) {
  size_t at = buffer_.size();
  attr(static_cast<uint16_t>(type | NLA_F_NESTED), nullptr, 0);
  return at;
}

void Batch::close(size_t nest) {
  uint16_t length = static_cast<uint16_t>(buffer_.size() - nest);
  std::memcpy(buffer_.data() + nest, &length, sizeof length);
}

void Batch::acknowledge() {
  nlmsghdr h;
  std::memcpy(&h, buffer_.data() + message_, sizeof h);
  h.nlmsg_flags |= NLM_F_ACK;
  std::memcpy(buffer_.data() + message_, &h, sizeof h);
}

void each_attribute(const void* data, size_t size, const std::function<void(uint16_t, std::string_view)>& f) {
  auto* p = static_cast<const char*>(data);
  while (size >= 4) {
    uint16_t head[2];
    std::memcpy(head, p, 4);
    if (head[0] < 4 || head[0] > size) return;
    f(static_cast<uint16_t>(head[1] & NLA_TYPE_MASK), std::string_view(p + 4, head[0] - 4u));
    size_t step = std::min(aligned(head[0]), size);
    p += step;
    size -= step;
  }
}

base::Result<Socket> Socket::open(int protocol) {
  Socket s;
  s.fd_ = base::Fd(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol));
  if (!s.fd_) return base::errno_error("open netlink socket");
  int one = 1;
  setsockopt(s.fd_.get(), SOL_NETLINK, NETLINK_EXT_ACK, &one, sizeof one);
  setsockopt(s.fd_.get(), SOL_NETLINK, NETLINK_CAP_ACK, &one, sizeof one);
  sockaddr_nl local{};
  local.nl_family = AF_NETLINK;
  if (bind(s.fd_.get(), reinterpret_cast<sockaddr*>(&local), sizeof local) != 0) return base::errno_error("bind netlink socket");
  s.buffer_.resize(32 << 10);
  return s;
}

base::Result<Socket> Socket::open_in(int netns, int protocol) {
  base::Fd home(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
  if (!home) return base::errno_error("open /proc/thread-self/ns/net");
  if (setns(netns, CLONE_NEWNET) != 0) return base::errno_error("enter the network namespace of a pod");
  auto s = open(protocol);
  // A thread that cannot come back would work on the wrong namespace from now on.
  if (setns(home.get(), CLONE_NEWNET) != 0) std::abort();
  return s;
}

base::Result<> Socket::send(std::string_view bytes) {
  if (bytes.size() + 4096 > send_space_) {
    int space = static_cast<int>(bytes.size() + (256u << 10));
    setsockopt(fd_.get(), SOL_SOCKET, SO_SNDBUFFORCE, &space, sizeof space);
    send_space_ = static_cast<size_t>(space);
  }
  // What an earlier, failed exchange left behind must not be taken for an answer to this one.
  while (recv(fd_.get(), buffer_.data(), buffer_.size(), MSG_DONTWAIT) > 0 || errno == ENOBUFS) {
  }
  sockaddr_nl kernel{};
  kernel.nl_family = AF_NETLINK;
  for (;;) {
    auto n = sendto(fd_.get(), bytes.data(), bytes.size(), 0, reinterpret_cast<sockaddr*>(&kernel), sizeof kernel);
    if (n >= 0) return {};
    if (errno != EINTR) return base::errno_error("send to netlink");
  }
}

base::Result<> Socket::receive() {
  for (;;) {
    auto n = recv(fd_.get(), buffer_.data(), buffer_.size(), MSG_TRUNC);
    if (n < 0) {
      if (errno == EINTR) continue;
      return base::errno_error("receive from netlink");
    }
    if (static_cast<size_t>(n) > buffer_.size()) return base::internal("netlink message larger than the receive buffer");
    received_ = static_cast<size_t>(n);
    return {};
  }
}

std::string extended_text(const nlmsghdr& m) {
  if (!(m.nlmsg_flags & NLM_F_ACK_TLVS) || m.nlmsg_len < sizeof(nlmsghdr) + sizeof(nlmsgerr)) return {};
  auto* p = reinterpret_cast<const char*>(&m);
  nlmsgerr e;
  std::memcpy(&e, p + sizeof(nlmsghdr), sizeof e);
  size_t at = sizeof(nlmsghdr) + sizeof(nlmsgerr);
  if (!(m.nlmsg_flags & NLM_F_CAPPED)) at += e.msg.nlmsg_len - sizeof(nlmsghdr);
  if (at > m.nlmsg_len) return {};
  std::string text;
  each_attribute(p + at, m.nlmsg_len - at, [&](uint16_t type, std::string_view v) {
    if (type == NLMSGERR_ATTR_MSG) text.assign(v.data(), strnlen(v.data(), v.size()));
  });
  return text;
}

namespace {

base::Failure describe(const Batch::Note* note, int error, const std::string& more) {
  std::string what = note ? note->label : "netlink request";
  if (!more.empty()) what += " (" + more + ")";
  return base::errno_error(what, error);
}

template <class F>
void each_message(const char* p, size_t size, F f) {
  while (size >= sizeof(nlmsghdr)) {
    auto* h = reinterpret_cast<const nlmsghdr*>(p);
    if (h->nlmsg_len < sizeof *h || h->nlmsg_len > size) return;
    if (!f(*h, std::string_view(p + sizeof *h, h->nlmsg_len - sizeof *h))) return;
    size_t step = std::min(aligned(h->nlmsg_len), size);
    p += step;
    size -= step;
  }
}

}  // namespace

base::Result<> Socket::run(const Batch& batch, std::vector<int>* errors) {
  if (errors) errors->assign(batch.messages(), 0);
  base::Result<> result;
  const auto& notes = batch.notes();
  for (size_t first = 0; first < notes.size(); first += kPortion) {
    size_t last = std::min(first + kPortion, notes.size());
    size_t from = notes[first].message, to = last < notes.size() ? notes[last].message : batch.size();
    CHECK_OK(send(std::string_view(batch.bytes()).substr(from, to - from)));
    for (size_t open = last - first; open > 0;) {
      CHECK_OK(receive());
      each_message(buffer_.data(), received_, [&](const nlmsghdr& h, std::string_view body) {
        if (h.nlmsg_type != NLMSG_ERROR || body.size() < sizeof(int) || h.nlmsg_seq <= first || h.nlmsg_seq > last) return true;
        --open;
        int error = -as<int>(body);
        if (errors) (*errors)[h.nlmsg_seq - 1] = error;
        const auto& note = notes[h.nlmsg_seq - 1];
        if (error && result && std::ranges::find(note.tolerated, error) == note.tolerated.end())
          result = describe(&note, error, extended_text(h));
        return true;
      });
    }
  }
  return result;
}

base::Result<> Socket::dump(const Batch& request, const std::function<void(const nlmsghdr&, std::string_view)>& f) {
  TRY(bool whole, dump_once(request, f));
  (void)whole;
  return {};
}

base::Result<> Socket::dump(const Batch& request, const std::function<void(const nlmsghdr&, std::string_view)>& f,
                            const std::function<void()>& again) {
  for (int tries = 0;; ++tries) {
    TRY(bool whole, dump_once(request, f));
    if (whole || tries == 9) return {};
    again();
  }
}

// False: interrupted by a change.
base::Result<bool> Socket::dump_once(const Batch& request, const std::function<void(const nlmsghdr&, std::string_view)>& f) {
  CHECK_OK(send(request.bytes()));
  base::Result<bool> result = true;
  for (bool done = false; !done;) {
    CHECK_OK(receive());
    each_message(buffer_.data(), received_, [&](const nlmsghdr& h, std::string_view body) {
      if ((h.nlmsg_flags & NLM_F_DUMP_INTR) && result) result = false;
      if (h.nlmsg_type == NLMSG_DONE || h.nlmsg_type == NLMSG_ERROR) {
        int error = body.size() >= sizeof(int) ? -as<int>(body) : 0;
        if (error > 0) result = describe(request.notes().empty() ? nullptr : &request.notes()[0], error, {});
        done = true;
        return false;
      }
      f(h, body);
      return true;
    });
  }
  return result;
}

base::Result<> Socket::transact(const Batch& batch, size_t last) {
  CHECK_OK(send(batch.bytes()));
  base::Result<> result;
  for (bool done = false; !done;) {
    CHECK_OK(receive());
    each_message(buffer_.data(), received_, [&](const nlmsghdr& h, std::string_view body) {
      if (h.nlmsg_type != NLMSG_ERROR || body.size() < sizeof(int)) return true;
      int error = -as<int>(body);
      if (error && result) {
        std::string what = fmt::format("nftables transaction, request {} of {}", h.nlmsg_seq, batch.messages());
        std::string more = extended_text(h);
        if (!more.empty()) what += " (" + more + ")";
        result = base::errno_error(what, error);
      }
      if (h.nlmsg_seq == last || (error && h.nlmsg_seq == 1)) done = true;
      return true;
    });
  }
  return result;
}

}  // namespace network::netlink
