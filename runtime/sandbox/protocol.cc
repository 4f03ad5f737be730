#include "runtime/sandbox/protocol.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace runtime {

using base::Fd;

namespace {

constexpr size_t kLargestPacket = 32768;
constexpr size_t kLargestBody = 64u << 20;
constexpr size_t kMostFds = 8;
constexpr uint8_t kBodyInFile = 1;

struct Header {
  uint8_t version;
  uint8_t flags;
  uint16_t op;
  uint32_t sequence;
};

Fd body_file(std::string_view body) {
  Fd file(::memfd_create("message", MFD_CLOEXEC));
  while (file && !body.empty()) {
    ssize_t n = ::write(file.get(), body.data(), body.size());
    if (n <= 0) return Fd();
    body.remove_prefix(static_cast<size_t>(n));
  }
  return file;
}

}  // namespace

int send_message(int socket, Op op, uint32_t sequence, std::string_view body, std::span<const int> fds) {
  Header header{kProtocolVersion, 0, static_cast<uint16_t>(op), sequence};
  std::vector<int> all(fds.begin(), fds.end());
  Fd file;
  if (body.size() > kLargestPacket) {
    file = body_file(body);
    if (!file) return ENOMEM;
    all.insert(all.begin(), file.get());
    header.flags = kBodyInFile;
    body = {};
  }
  if (all.size() > kMostFds) return E2BIG;
  iovec parts[2] = {{&header, sizeof header}, {const_cast<char*>(body.data()), body.size()}};
  alignas(cmsghdr) char control[CMSG_SPACE(kMostFds * sizeof(int))]{};
  msghdr message{};
  message.msg_iov = parts;
  message.msg_iovlen = 2;
  if (!all.empty()) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(all.size() * sizeof(int));
    cmsghdr* c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(all.size() * sizeof(int));
    std::memcpy(CMSG_DATA(c), all.data(), all.size() * sizeof(int));
  }
  for (;;) {
    if (::sendmsg(socket, &message, MSG_NOSIGNAL) >= 0) return 0;
    if (errno != EINTR) return errno;
  }
}

Received receive_message(int socket, Message& out) {
  ssize_t size;
  do size = ::recv(socket, nullptr, 0, MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT);
  while (size < 0 && errno == EINTR);
  if (size < 0) return errno == EAGAIN ? Received::nothing : Received::closed;
  if (static_cast<size_t>(size) < sizeof(Header) || static_cast<size_t>(size) > kLargestPacket + sizeof(Header)) return Received::closed;
  Header header;
  out.body.assign(static_cast<size_t>(size) - sizeof header, '\0');
  iovec parts[2] = {{&header, sizeof header}, {out.body.data(), out.body.size()}};
  alignas(cmsghdr) char control[CMSG_SPACE(kMostFds * sizeof(int))];
  msghdr message{};
  message.msg_iov = parts;
  message.msg_iovlen = 2;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t n;
  do n = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  while (n < 0 && errno == EINTR);
  if (n != size) return Received::closed;
  out.fds.clear();
  for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof fd);
      out.fds.emplace_back(fd);
    }
  }
  if (message.msg_flags & MSG_CTRUNC) return Received::closed;
  out.op = static_cast<Op>(header.op);
  out.sequence = header.sequence;
  if (header.flags & kBodyInFile) {
    struct stat s;
    if (out.fds.empty() || ::fstat(out.fds[0].get(), &s) != 0 || s.st_size < 0 || static_cast<size_t>(s.st_size) > kLargestBody)
      return Received::closed;
    out.body.assign(static_cast<size_t>(s.st_size), '\0');
    if (::pread(out.fds[0].get(), out.body.data(), out.body.size(), 0) != s.st_size) return Received::closed;
    out.fds.erase(out.fds.begin());
  }
  return Received::message;
}

}  // namespace runtime
