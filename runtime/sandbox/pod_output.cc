// A pod's output: from the containers' pipes and terminals to their logs and to the clients that are attached.
#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "runtime/sandbox/pod.h"

namespace runtime {

using base::Fd;
using base::Result;

bool Pod::read_output(const ContainerPtr& c, Output& out) {
  static char buffer[16384];
  for (int i = 0; i < 16; ++i) {
    ssize_t n = ::read(out.from.get(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return true;
    if (n <= 0) return false;
    std::string_view data(buffer, static_cast<size_t>(n));
    c->log.append(out.name, data, out.rest);
    if (!c->attachments.empty()) fan_out(c, &out == &c->err, data);
  }
  return true;
}

void Pod::output_ready(const ContainerPtr& c, Output& out) {
  if (!out.from || read_output(c, out)) return;
  loop_.unwatch(out.from.get());
  out.from.reset();
  c->log.finish(out.name, out.rest);
}

void Pod::fan_out(const ContainerPtr& c, bool is_err, std::string_view data) {
  std::vector<Attachment*> slow;
  for (Attachment& a : c->attachments) {
    Fd& to = is_err ? a.err : a.out;
    std::string& pending = is_err ? a.err_pending : a.out_pending;
    if (!to) continue;
    std::string_view left = data;
    if (pending.empty()) {
      ssize_t n = ::write(to.get(), left.data(), left.size());
      if (n < 0 && errno != EAGAIN && errno != EINTR) {
        slow.push_back(&a);
        continue;
      }
      if (n > 0) left.remove_prefix(static_cast<size_t>(n));
    }
    pending += left;
    if (pending.size() > (4u << 20)) slow.push_back(&a);
    else if (!left.empty()) watch_attachment(c, &a);
  }
  for (Attachment* a : slow) detach(c, a);
}

void Pod::watch_attachment(const ContainerPtr& c, Attachment* a) {
  for (auto [fd, pending] : {std::pair(&a->out, &a->out_pending), std::pair(&a->err, &a->err_pending)}) {
    // EPOLLERR comes unasked: the reader has gone.
    if (*fd)
      loop_.watch(fd->get(), pending->empty() ? 0u : EPOLLOUT,
                  [this, c, a](uint32_t events) { (events & EPOLLERR) ? detach(c, a) : flush(c, a); });
  }
}

void Pod::flush(const ContainerPtr& c, Attachment* a) {
  for (auto [fd, pending] : {std::pair(&a->out, &a->out_pending), std::pair(&a->err, &a->err_pending)}) {
    while (*fd && !pending->empty()) {
      ssize_t n = ::write(fd->get(), pending->data(), pending->size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && errno == EAGAIN) break;
      if (n < 0) return detach(c, a);
      pending->erase(0, static_cast<size_t>(n));
    }
    if (pending->empty()) *pending = std::string();
  }
  bool ended = c->status.phase == ContainerPhase::exited;
  if (ended && a->out_pending.empty() && a->err_pending.empty()) return detach(c, a);
  watch_attachment(c, a);
}

void Pod::detach(const ContainerPtr& c, Attachment* a) {
  auto it = std::ranges::find_if(c->attachments, [&](const Attachment& x) { return &x == a; });
  if (it == c->attachments.end()) return;
  if (it->out) loop_.unwatch(it->out.get());
  if (it->err) loop_.unwatch(it->err.get());
  c->attachments.erase(it);
}

Result<std::vector<Fd>> Pod::attach(const AttachRequest& request) {
  TRY(ContainerPtr c, find(request.container, true));
  std::vector<Fd> fds;
  auto& a = c->attachments.emplace_back();
  if (request.with_stdin && c->spec.stdin_open) {
    if (c->terminal) {
      fds.emplace_back(::fcntl(c->terminal.get(), F_DUPFD_CLOEXEC, 3));
    } else if (c->in) {
      // Once: the client's end is the last one, so that the container sees the end of file when it closes.
      if (c->spec.stdin_once) fds.push_back(std::move(c->in));
      else fds.emplace_back(::fcntl(c->in.get(), F_DUPFD_CLOEXEC, 3));
    } else {
      c->attachments.pop_back();
      return base::fail(409, "Conflict", "the standard input of container \"" + request.container + "\" has been closed");
    }
  }
  for (Fd* to : {&a.out, &a.err}) {
    if (to == &a.err && c->terminal) break;
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) {
      c->attachments.pop_back();
      return base::errno_error("make a pipe");
    }
    ::fcntl(ends[1], F_SETFL, O_NONBLOCK);
    *to = Fd(ends[1]);
    fds.emplace_back(ends[0]);
  }
  watch_attachment(c, &a);
  return fds;
}

}  // namespace runtime
