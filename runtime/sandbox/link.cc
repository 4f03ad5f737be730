#include "runtime/sandbox/link.h"

#include <cerrno>

namespace runtime {

namespace {

base::Failure gone() { return base::fail(503, "SandboxGone", "the pod's supervisor is gone"); }

}  // namespace

Task<Result<Answer>> Link::call(Op op, std::string body, std::function<void(const std::string&)> arrived) {
  auto self = shared_from_this();
  auto pending = std::make_shared<Pending>();
  pending->arrived = std::move(arrived);
  uint32_t sequence;
  {
    std::scoped_lock lock(mutex_);
    if (!open_) co_return gone();
    sequence = next_++;
    pending_[sequence] = pending;
  }
  // Cancelled: nobody waits for the answer any more.
  struct Forget {
    Link& link;
    uint32_t sequence;
    ~Forget() {
      std::scoped_lock lock(link.mutex_);
      link.pending_.erase(sequence);
    }
  } forget{*this, sequence};
  for (;;) {
    int err = ready_.with([&](int fd) { return fd < 0 ? EPIPE : send_message(fd, op, sequence, body); });
    if (err == 0) break;
    if (err != EAGAIN) co_return gone();
    if (!co_await ready_.writable()) co_return gone();
  }
  body = std::string();
  for (;;) {
    uint64_t seen = pending->done.version();
    {
      std::scoped_lock lock(mutex_);
      if (pending->answer) co_return std::move(*pending->answer);
    }
    co_await pending->done.wait(seen);
  }
}

Task<> Link::read(std::function<void(Message)> on_event) {
  auto self = shared_from_this();
  struct Finish {
    Link& link;
    ~Finish() { link.finish(); }
  } finish_at_end{*this};
  for (;;) {
    Message m;
    Received r = ready_.with([&](int fd) { return fd < 0 ? Received::closed : receive_message(fd, m); });
    if (r == Received::closed) co_return;
    if (r == Received::nothing) {
      if (!co_await ready_.readable()) co_return;
      continue;
    }
    if (m.op != Op::reply) {
      on_event(std::move(m));
      continue;
    }
    std::shared_ptr<Pending> pending;
    {
      std::scoped_lock lock(mutex_);
      auto it = pending_.find(m.sequence);
      if (it != pending_.end()) pending = it->second;
    }
    if (!pending) continue;
    Reply reply;
    Result<Answer> answer;
    if (!wire::decode(m.body, reply)) answer = base::internal("the pod's supervisor sent a malformed answer");
    else if (reply.code != 0) answer = base::fail(reply.code, reply.reason, reply.message);
    else answer = Answer{std::move(reply.payload), std::move(m.fds)};
    if (answer && pending->arrived) pending->arrived(answer->payload);
    {
      std::scoped_lock lock(mutex_);
      pending->answer = std::move(answer);
    }
    pending->done.notify();
  }
}

void Link::finish() {
  std::map<uint32_t, std::shared_ptr<Pending>> pending;
  {
    std::scoped_lock lock(mutex_);
    open_ = false;
    for (auto& [sequence, p] : pending_) {
      if (!p->answer) p->answer = gone();
    }
    pending = pending_;
  }
  ready_.close();
  for (auto& [sequence, p] : pending) p->done.notify();
  ended_.notify();
}

Task<bool> Link::closed(base::Duration within) {
  auto self = shared_from_this();
  auto deadline = base::Clock::now() + within;
  for (;;) {
    uint64_t seen = ended_.version();
    if (!open_) co_return true;
    if (!co_await ended_.wait(seen, deadline)) co_return !open_;
  }
}

}  // namespace runtime
