#include "runtime/sandbox/program.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zstd.h>

#include <cerrno>
#include <csignal>
#include <memory>

#include "runtime/sandbox/protocol.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif
#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 0x0020
#endif

// The executable, linked before this library and compressed.
__asm__(
    ".pushsection .rodata.supervisor, \"a\", @progbits\n"
    ".balign 16\n"
    ".global appliance_supervisor_begin\n"
    "appliance_supervisor_begin:\n"
    ".incbin \"" APPLIANCE_SUPERVISOR "\"\n"
    ".global appliance_supervisor_end\n"
    "appliance_supervisor_end:\n"
    ".popsection\n");
extern "C" const char appliance_supervisor_begin[];
extern "C" const char appliance_supervisor_end[];

namespace runtime {

using base::Fd;
using base::Result;

namespace {

struct Executable {
  std::unique_ptr<char[]> bytes;
  size_t size = 0;
};

Result<Executable> unpacked() {
  auto packed = static_cast<size_t>(appliance_supervisor_end - appliance_supervisor_begin);
  unsigned long long size = ZSTD_getFrameContentSize(appliance_supervisor_begin, packed);
  if (size >= ZSTD_CONTENTSIZE_ERROR) return base::internal("the embedded supervisor is damaged");
  Executable out{std::make_unique_for_overwrite<char[]>(size), size};
  if (ZSTD_decompress(out.bytes.get(), size, appliance_supervisor_begin, packed) != size)
    return base::internal("the embedded supervisor is damaged");
  return out;
}

}  // namespace

Result<Fd> supervisor_program() {
  TRY(Executable executable, unpacked());
  Fd file(::memfd_create("appliance", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC));
  if (!file && errno == EINVAL) file = Fd(::memfd_create("appliance", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!file) return base::errno_error("make the supervisor's memory file");
  std::string_view left(executable.bytes.get(), executable.size);
  while (!left.empty()) {
    ssize_t n = ::write(file.get(), left.data(), left.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return base::errno_error("write the supervisor's memory file");
    left.remove_prefix(static_cast<size_t>(n));
  }
  if (::fchmod(file.get(), 0500) != 0) return base::errno_error("chmod the supervisor's memory file");
  int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
  if (::fcntl(file.get(), F_ADD_SEALS, seals | F_SEAL_EXEC) != 0 && ::fcntl(file.get(), F_ADD_SEALS, seals) != 0) {
    return base::errno_error("seal the supervisor's memory file");
  }
  ::fcntl(file.get(), F_ADD_SEALS, F_SEAL_SEAL);
  return file;
}

namespace {

// Between vfork and execveat the parent's memory is shared: system calls only.
pid_t spawn(int program, int socket, int null, char* const* argv, char* const* env) {
  pid_t pid = ::vfork();
  if (pid != 0) return pid;
  for (int fd = 0; fd < 3; ++fd) ::dup2(null, fd);
  if (socket == 3) ::fcntl(3, F_SETFD, 0);
  else ::dup2(socket, 3);
  ::syscall(SYS_execveat, program, "", argv, env, AT_EMPTY_PATH);
  ::_exit(127);
}

}  // namespace

Result<FirstProcess> start_first_process(const std::string& cgroup_root) {
  TRY(Fd program, supervisor_program());
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) return base::errno_error("make a socket pair");
  Fd ours(ends[0]), theirs(ends[1]);
  Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!null) return base::errno_error("open /dev/null");
  // High numbers, so that putting them at 0 to 3 overwrites none of them.
  for (Fd* fd : {&theirs, &null, &program}) *fd = Fd(::fcntl(fd->get(), F_DUPFD_CLOEXEC, 10));
  std::string name = "appliance", role = "pod-supervisor", root = cgroup_root;
  char* argv[] = {name.data(), role.data(), root.data(), nullptr};
  char* env[] = {nullptr};
  // No handler of ours may run in the child; it keeps them blocked for good, its children reset the mask.
  sigset_t all, before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  pid_t pid = spawn(program.get(), theirs.get(), null.get(), argv, env);
  int err = errno;
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (pid < 0) return base::errno_error("start the pod supervisor", err);
  theirs.reset();

  FirstProcess first{pid, std::move(ours)};
  pollfd wait{first.socket.get(), POLLIN, 0};
  int ready;
  do ready = ::poll(&wait, 1, 10000);
  while (ready < 0 && errno == EINTR);
  Message m;
  Reply reply;
  if (ready != 1 || receive_message(first.socket.get(), m) != Received::message || !wire::decode(m.body, reply)) {
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
    return base::internal("the pod supervisor did not start");
  }
  if (reply.code != 0) {
    ::waitpid(pid, nullptr, 0);
    return base::internal("the pod supervisor did not start: " + reply.message);
  }
  return first;
}

}  // namespace runtime
