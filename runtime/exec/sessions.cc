#include "runtime/exec/sessions.h"

#include <fcntl.h>
#include <sys/ioctl.h>

#include "runtime/exec/fd_stream.h"
#include "runtime/sandbox/sandbox_impl.h"

namespace runtime {

using base::Fd;

namespace {

class Exec final : public ExecSession {
 public:
  Exec(std::shared_ptr<SandboxImpl> sandbox, uint32_t session, pid_t pid) : sandbox_(std::move(sandbox)), session_(session), pid_(pid) {}
  ~Exec() override { sandbox_->forget_exec(session_); }

  FdStreamPtr in() override { return in_; }
  FdStreamPtr out() override { return out_; }
  FdStreamPtr err() override { return err_; }
  pid_t pid() const override { return pid_; }

  Task<Result<int>> wait() override { return sandbox_->wait_exec(session_); }
  Task<Result<>> kill(int signal) override { return sandbox_->kill_exec(session_, signal); }

  Result<> resize(uint16_t columns, uint16_t rows) override {
    if (!terminal_) return base::bad_request("the session has no terminal");
    winsize size{rows, columns, 0, 0};
    if (::ioctl(terminal_.get(), TIOCSWINSZ, &size) != 0) return base::errno_error("resize the terminal");
    return {};
  }

  FdStreamPtr in_, out_, err_;
  Fd terminal_;  // for resize

 private:
  std::shared_ptr<SandboxImpl> sandbox_;
  const uint32_t session_;
  const pid_t pid_;
};

class Attached final : public AttachSession {
 public:
  Attached(std::shared_ptr<SandboxImpl> sandbox, std::string container) : sandbox_(std::move(sandbox)), container_(std::move(container)) {}

  FdStreamPtr in() override { return in_; }
  FdStreamPtr out() override { return out_; }
  FdStreamPtr err() override { return err_; }
  Task<Result<>> resize(uint16_t columns, uint16_t rows) override { return sandbox_->resize(container_, columns, rows); }

  FdStreamPtr in_, out_, err_;

 private:
  std::shared_ptr<SandboxImpl> sandbox_;
  const std::string container_;
};

}  // namespace

std::shared_ptr<ExecSession> make_exec_session(std::shared_ptr<SandboxImpl> sandbox, uint32_t session, pid_t pid, bool tty, bool with_stdin,
                                               std::vector<Fd> fds) {
  base::Runtime& runtime = sandbox->runtime();
  auto exec = std::make_shared<Exec>(std::move(sandbox), session, pid);
  size_t next = 0;
  if (tty) {
    exec->terminal_ = Fd(::fcntl(fds[0].get(), F_DUPFD_CLOEXEC, 3));
    if (with_stdin) exec->in_ = make_fd_stream(runtime, Fd(::fcntl(fds[0].get(), F_DUPFD_CLOEXEC, 3)));
    exec->out_ = make_fd_stream(runtime, std::move(fds[0]));
    return exec;
  }
  if (with_stdin) exec->in_ = make_fd_stream(runtime, std::move(fds[next++]));
  if (next < fds.size()) exec->out_ = make_fd_stream(runtime, std::move(fds[next++]));
  if (next < fds.size()) exec->err_ = make_fd_stream(runtime, std::move(fds[next++]));
  return exec;
}

std::shared_ptr<AttachSession> make_attach_session(std::shared_ptr<SandboxImpl> sandbox, std::string container, bool with_stdin,
                                                   std::vector<Fd> fds) {
  base::Runtime& runtime = sandbox->runtime();
  auto attached = std::make_shared<Attached>(std::move(sandbox), std::move(container));
  size_t next = 0;
  if (with_stdin) attached->in_ = make_fd_stream(runtime, std::move(fds[next++]));
  attached->out_ = make_fd_stream(runtime, std::move(fds[next++]));
  if (next < fds.size()) attached->err_ = make_fd_stream(runtime, std::move(fds[next++]));
  return attached;
}

}  // namespace runtime
