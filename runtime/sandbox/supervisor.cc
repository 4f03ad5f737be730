// Two roles of one executable. The first process is started by the agent, moves into a cgroup of its own and does nothing but fork: a
// supervisor is a fork of it, cheap to make and sharing its pages. It ends with the agent; the supervisors live on.
//
// Neither role may be ptraced or have its memory read (not dumpable), and both run from a sealed memory file, so that a
// container that breaks out of nothing but its own image cannot reach or change the program.
#include "runtime/sandbox/supervisor.h"

#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstring>
#include <deque>
#include <map>
#include <memory>

#include "runtime/sandbox/pod.h"

namespace runtime {

using base::Fd;
using base::Result;

namespace {

constexpr int kAgentSocket = 3;

class Supervisor {
 public:
  Supervisor(Fd agent, Cgroups cgroups)
      : pod_(loop_, std::move(cgroups),
             {[this](const ContainerStatus& s) { broadcast(Op::container_changed, wire::encode(s)); },
              [this](const ExecEnded& e) { broadcast(Op::exec_ended, wire::encode(e)); },
              [this](const std::string& text) { broadcast(Op::note, wire::encode(Note{text})); }}) {
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    children_ = Fd(::signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK));
    loop_.watch(children_.get(), EPOLLIN, [this](uint32_t) {
      signalfd_siginfo info;
      while (::read(children_.get(), &info, sizeof info) > 0) {}
      pod_.reap();
    });
    add(std::move(agent));
  }

  void run() { loop_.run(); }

 private:
  struct Packet {
    Op op;
    uint32_t sequence;
    std::string body;
    std::vector<Fd> fds;
  };
  struct Connection {
    Fd fd;
    std::deque<Packet> waiting;  // for a peer that reads slowly; beyond the bound it is let go
  };

  void add(Fd fd) {
    uint64_t id = next_connection_++;
    int number = fd.get();
    ::fcntl(number, F_SETFL, O_NONBLOCK);
    connections_[id].fd = std::move(fd);
    loop_.watch(number, EPOLLIN, [this, id](uint32_t events) { ready(id, events); });
  }

  void drop(uint64_t id) {
    auto it = connections_.find(id);
    if (it == connections_.end()) return;
    loop_.unwatch(it->second.fd.get());
    connections_.erase(it);
    // Nobody will ever come back to a pod that was not set up.
    if (!ready_) loop_.stop();
  }

  void ready(uint64_t id, uint32_t events) {
    if (events & EPOLLOUT) flush(id);
    for (;;) {
      auto it = connections_.find(id);
      if (it == connections_.end()) return;
      Message m;
      Received r = receive_message(it->second.fd.get(), m);
      if (r == Received::nothing) return;
      if (r == Received::closed) return drop(id);
      handle(id, std::move(m));
    }
  }

  void send(uint64_t id, Op op, uint32_t sequence, std::string body, std::vector<Fd> fds) {
    auto it = connections_.find(id);
    if (it == connections_.end()) return;
    Connection& c = it->second;
    c.waiting.push_back({op, sequence, std::move(body), std::move(fds)});
    if (c.waiting.size() > 4096) return drop(id);
    flush(id);
  }

  void flush(uint64_t id) {
    auto it = connections_.find(id);
    if (it == connections_.end()) return;
    Connection& c = it->second;
    while (!c.waiting.empty()) {
      Packet& p = c.waiting.front();
      std::vector<int> fds;
      for (const Fd& fd : p.fds) fds.push_back(fd.get());
      int err = send_message(c.fd.get(), p.op, p.sequence, p.body, fds);
      if (err == EAGAIN) break;
      if (err != 0) return drop(id);
      c.waiting.pop_front();
    }
    loop_.watch(c.fd.get(), c.waiting.empty() ? EPOLLIN : EPOLLIN | EPOLLOUT, [this, id](uint32_t events) { ready(id, events); });
  }

  void broadcast(Op op, const std::string& body) {
    std::vector<uint64_t> ids;
    for (const auto& [id, c] : connections_) ids.push_back(id);
    for (uint64_t id : ids) send(id, op, 0, body, {});
  }

  Respond responder(uint64_t id, uint32_t sequence) {
    return [this, id, sequence](Result<std::string> result, std::vector<Fd> fds) {
      Reply reply;
      if (result) {
        reply.payload = std::move(*result);
      } else {
        reply.code = result.error().code;
        reply.reason = result.error().reason;
        reply.message = result.error().message;
      }
      send(id, Op::reply, sequence, wire::encode(reply), std::move(fds));
    };
  }

  // Decodes, or answers that it cannot.
  template <class T, class F>
  void with(const Message& m, const Respond& respond, F f) {
    T request;
    if (!wire::decode(m.body, request)) return respond(base::bad_request("malformed message"), {});
    f(std::move(request));
  }

  static Result<std::string> plain(Result<> r) {
    if (!r) return std::unexpected(r.error());
    return std::string();
  }

  void handle(uint64_t id, Message m) {
    Respond respond = responder(id, m.sequence);
    if (m.op != Op::setup && !ready_) return respond(base::fail(409, "Conflict", "the sandbox has not been set up"), {});
    switch (m.op) {
      case Op::setup: return with<SandboxSetup>(m, respond, [&](SandboxSetup s) { setup(s, respond); });
      case Op::hello: return tell_state(respond);
      case Op::start: return with<StartRequest>(m, respond, [&](StartRequest r) { pod_.start(std::move(r), respond); });
      case Op::exec: return with<ExecRequest>(m, respond, [&](ExecRequest r) { pod_.exec(std::move(r), respond); });
      case Op::remove: return with<ContainerRef>(m, respond, [&](ContainerRef r) { pod_.remove(r.container, respond); });
      case Op::signal: return with<SignalRequest>(m, respond, [&](SignalRequest r) { respond(plain(pod_.signal(r)), {}); });
      case Op::stop: return with<StopRequest>(m, respond, [&](StopRequest r) { respond(plain(pod_.stop(r)), {}); });
      case Op::resize: return with<ResizeRequest>(m, respond, [&](ResizeRequest r) { respond(plain(pod_.resize(r)), {}); });
      case Op::reopen_log: return with<ContainerRef>(m, respond, [&](ContainerRef r) { respond(plain(pod_.reopen_log(r.container)), {}); });
      case Op::attach:
        return with<AttachRequest>(m, respond, [&](AttachRequest r) {
          auto fds = pod_.attach(r);
          if (!fds) return respond(std::unexpected(fds.error()), {});
          respond(std::string(), std::move(*fds));
        });
      case Op::shutdown:
        return pod_.shutdown([this, respond] {
          respond(std::string(), {});
          loop_.stop();
        });
      default: return respond(base::fail(501, "NotImplemented", "this supervisor is too old for the request"), {});
    }
  }

  void setup(const SandboxSetup& s, const Respond& respond) {
    if (ready_) return respond(base::fail(409, "Conflict", "the sandbox has been set up"), {});
    Result<> r = pod_.setup(s);
    if (r) r = listen(s.run_dir);
    if (!r) {
      respond(std::unexpected(r.error()), {});
      return loop_.stop();
    }
    ready_ = true;
    pod_.save();
    ::malloc_trim(0);
    tell_state(respond);
  }

  void tell_state(const Respond& respond) {
    std::vector<Fd> fds;
    if (auto net = pod_.network_namespace()) fds.push_back(std::move(*net));
    respond(wire::encode(pod_.state()), std::move(fds));
  }

  // Bound through the directory's descriptor: a socket's path may be no longer than 107 characters.
  Result<> listen(const std::string& run_dir) {
    Fd dir(::open(run_dir.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    listener_ = Fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/sock", dir.get());
    ::unlink(address.sun_path);
    mode_t mask = ::umask(0177);
    int bound = ::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address);
    ::umask(mask);
    if (bound != 0 || ::listen(listener_.get(), 8) != 0) return base::errno_error("listen in " + run_dir);
    loop_.watch(listener_.get(), EPOLLIN, [this](uint32_t) {
      Fd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      ucred peer{};
      socklen_t size = sizeof peer;
      if (!fd || ::getsockopt(fd.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0 || peer.uid != ::geteuid()) return;
      add(std::move(fd));
    });
    return {};
  }

  Loop loop_;
  Pod pod_;
  Fd children_, listener_;
  std::map<uint64_t, Connection> connections_;
  uint64_t next_connection_ = 1;
  bool ready_ = false;
};

void block_signals() {
  sigset_t all;
  sigfillset(&all);
  ::sigprocmask(SIG_SETMASK, &all, nullptr);
}

[[noreturn]] void supervise(Fd agent, Cgroups cgroups) {
  ::setsid();
  block_signals();
  for (int s = 1; s < 65; ++s) ::signal(s, SIG_DFL);  // containers begin with these
  ::prctl(PR_SET_NAME, "appl-pod");
  ::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  Supervisor(std::move(agent), std::move(cgroups)).run();
  ::_exit(0);
}

}  // namespace

// argv: appliance pod-supervisor <cgroup root>; descriptor 3 leads to the agent.
int supervisor_main(int argc, char** argv) {
  ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  ::prctl(PR_SET_NAME, "appl-pods");
  ::close_range(kAgentSocket + 1, ~0u, 0);
  ::fcntl(kAgentSocket, F_SETFD, FD_CLOEXEC);
  ::signal(SIGCHLD, SIG_IGN);  // supervisors are not waited for
  ::signal(SIGPIPE, SIG_IGN);
  for (int s : {SIGINT, SIGTERM, SIGHUP, SIGQUIT}) ::signal(s, SIG_IGN);
  ::setsid();
  ::umask(022);
  if (::chdir("/") != 0) return 1;
  ::mallopt(M_TRIM_THRESHOLD, 64 << 10);
  ::mallopt(M_MMAP_THRESHOLD, 64 << 10);
  ::mallopt(M_TOP_PAD, 16 << 10);

  auto cgroups = Cgroups::detect(argc > 2 ? argv[2] : "");
  Result<> ready;
  if (!cgroups) ready = std::unexpected(cgroups.error());
  if (ready) ready = cgroups->create(kSupervisorGroup, {});
  if (ready) ready = cgroups->enter(kSupervisorGroup);
  Reply reply;
  if (!ready) {
    reply.code = 500;
    reply.message = ready.error().message;
  }
  send_message(kAgentSocket, Op::reply, 0, wire::encode(reply));
  if (!ready) return 1;

  for (;;) {
    pollfd wait{kAgentSocket, POLLIN, 0};
    if (::poll(&wait, 1, -1) < 0) continue;
    Message m;
    Received r = receive_message(kAgentSocket, m);
    if (r == Received::closed) return 0;
    if (r == Received::nothing || m.op != Op::fork || m.fds.size() != 1) continue;
    pid_t pid = ::fork();
    if (pid == 0) {
      Fd agent = std::move(m.fds[0]);
      ::close(kAgentSocket);
      supervise(std::move(agent), std::move(*cgroups));
    }
    // When it failed, the agent sees its end of the pair close.
  }
}

}  // namespace runtime
