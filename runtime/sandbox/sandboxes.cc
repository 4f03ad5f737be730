#include <dirent.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>

#include "base/log.h"
#include "runtime/container/capabilities.h"
#include "runtime/container/seccomp.h"
#include "runtime/sandbox/program.h"
#include "runtime/sandbox/sandbox_impl.h"
#include "runtime/sandbox/supervisor.h"

namespace runtime {

using base::Fd;
using namespace std::chrono_literals;

struct Sandboxes::Impl {
  std::shared_ptr<SandboxContext> context;
  std::mutex mutex;
  std::map<std::string, std::shared_ptr<SandboxImpl>, std::less<>> sandboxes;
  std::mutex first_mutex;  // guards `first`; held while it is started (blocking pool only)
  FirstProcess first;

  Result<Fd> new_supervisor();
  Task<std::shared_ptr<SandboxImpl>> find_again(std::string id);
};

namespace {

// The supervisor's socket, through the directory (paths of sockets are short).
Fd connect_to(const std::string& run_dir) {
  Fd dir(::open(run_dir.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  Fd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/sock", dir.get());
  if (!dir || !fd || ::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) return Fd();
  return fd;
}

std::vector<std::string> entries(const std::string& dir) {
  std::vector<std::string> names;
  if (DIR* d = ::opendir(dir.c_str())) {
    while (dirent* e = ::readdir(d)) {
      if (valid_id(e->d_name)) names.emplace_back(e->d_name);
    }
    ::closedir(d);
  }
  return names;
}

}  // namespace

// A new supervisor's socket. Starts the first process when it is not there (any more). Blocking the first time only.
Result<Fd> Sandboxes::Impl::new_supervisor() {
  std::scoped_lock lock(first_mutex);
  for (int attempt = 0;; ++attempt) {
    if (!first.socket) {
      TRY(first, start_first_process(context->options.cgroup_root));
    }
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) return base::errno_error("make a socket pair");
    Fd ours(ends[0]), theirs(ends[1]);
    int handed[] = {theirs.get()};
    int err = send_message(first.socket.get(), Op::fork, 0, "", handed);
    if (err == 0) return ours;
    first.socket.reset();
    ::waitpid(first.pid, nullptr, 0);
    if (attempt == 1) return base::errno_error("ask for a pod supervisor", err);
  }
}

Sandboxes::Sandboxes(base::Runtime& runtime, SandboxesOptions options) : impl_(std::make_shared<Impl>()) {
  for (std::string* dir : {&options.data_dir, &options.run_dir}) {
    while (dir->size() > 1 && dir->ends_with('/')) dir->pop_back();
  }
  impl_->context = std::make_shared<SandboxContext>(runtime, std::move(options));
  impl_->context->forget = [weak = std::weak_ptr(impl_)](const std::string& id) {
    if (auto impl = weak.lock()) {
      std::scoped_lock lock(impl->mutex);
      impl->sandboxes.erase(id);
    }
  };
}

Sandboxes::~Sandboxes() = default;

Task<std::shared_ptr<SandboxImpl>> Sandboxes::Impl::find_again(std::string id) {
  Fd socket = connect_to(context->run_dir(id));
  if (!socket) co_return nullptr;
  auto sandbox = std::make_shared<SandboxImpl>(context, std::move(socket));
  sandbox->begin();
  auto r = co_await base::with_timeout(5s, sandbox->hello());
  if (!r) {
    base::log::warn("sandbox", "the supervisor of {} does not answer and is killed: {}", id, r.error().message);
    sandbox->abandon();
    co_return nullptr;
  }
  co_return sandbox;
}

Task<Result<std::vector<SandboxPtr>>> Sandboxes::recover() {
  auto impl = impl_;
  auto context = impl->context;
  CO_CHECK_OK(co_await base::offload([context]() -> Result<> {
    CHECK_OK(base::make_dirs(context->options.data_dir));
    CHECK_OK(base::make_dirs(context->options.run_dir));
    TRY(context->cgroups, Cgroups::detect(context->options.cgroup_root));
    TRY(auto capabilities, container_capabilities({}, {}, false));
    TRY(std::string program, default_seccomp(capabilities));
    return Result<>();
  }));
  std::vector<SandboxPtr> found;
  for (const std::string& id : entries(context->options.run_dir)) {
    if (auto sandbox = co_await impl->find_again(id)) {
      std::scoped_lock lock(impl->mutex);
      impl->sandboxes[id] = sandbox;
      found.push_back(sandbox);
      continue;
    }
    // Its supervisor is gone: what it left goes, too.
    SandboxState state;
    if (auto text = base::read_file(context->run_dir(id) + "/state")) wire::decode(*text, state);
    std::string parent = state.spec.cgroup_parent;
    auto cleaned = co_await base::offload([context, id, parent] { return context->clean(id, parent); });
    if (!cleaned) base::log::warn("sandbox", "cannot remove the remains of {}: {}", id, cleaned.error().message);
  }
  // Writable layers after a reboot: the run directory was empty.
  for (const std::string& id : entries(context->options.data_dir)) {
    if (find(id)) continue;
    auto cleaned = co_await base::offload([context, id] { return base::remove_all(context->data_dir(id)); });
    if (!cleaned) base::log::warn("sandbox", "cannot remove the remains of {}: {}", id, cleaned.error().message);
  }
  // Ready before the first pod asks for it.
  auto first = co_await base::offload([impl]() -> Result<> {
    std::scoped_lock lock(impl->first_mutex);
    if (!impl->first.socket) {
      TRY(impl->first, start_first_process(impl->context->options.cgroup_root));
    }
    return Result<>();
  });
  if (!first) co_return std::unexpected(first.error());
  co_return found;
}

Task<Result<SandboxPtr>> Sandboxes::create(SandboxSpec spec) {
  auto impl = impl_;
  auto context = impl->context;
  if (!valid_id(spec.id)) co_return base::fail(400, "InvalidSandboxSpec", "invalid sandbox id \"" + spec.id + "\"");
  if (!spec.cgroup_parent.starts_with('/') || spec.cgroup_parent == "/" || spec.cgroup_parent.find("..") != std::string::npos) {
    co_return base::fail(400, "InvalidSandboxSpec", "invalid cgroup \"" + spec.cgroup_parent + "\"");
  }
  std::string run = context->run_dir(spec.id);
  if (::mkdir(run.c_str(), 0700) != 0) {
    if (errno == EEXIST) co_return base::fail(409, "Conflict", "sandbox \"" + spec.id + "\" exists");
    co_return base::errno_error("make " + run);
  }
  std::string id = spec.id, parent = spec.cgroup_parent;
  auto socket = impl->new_supervisor();
  if (!socket) {
    ::rmdir(run.c_str());
    co_return std::unexpected(socket.error());
  }
  auto sandbox = std::make_shared<SandboxImpl>(context, std::move(*socket));
  sandbox->begin();
  auto ready = co_await base::with_timeout(30s, sandbox->setup(std::move(spec)));
  if (!ready) {
    (void)co_await sandbox->destroy();
    co_return std::unexpected(ready.error());
  }
  {
    std::scoped_lock lock(impl->mutex);
    impl->sandboxes[id] = sandbox;
  }
  co_return sandbox;
}

SandboxPtr Sandboxes::find(std::string_view id) const {
  std::scoped_lock lock(impl_->mutex);
  auto it = impl_->sandboxes.find(id);
  return it == impl_->sandboxes.end() ? nullptr : it->second;
}

std::vector<SandboxPtr> Sandboxes::list() const {
  std::scoped_lock lock(impl_->mutex);
  std::vector<SandboxPtr> out;
  for (const auto& [id, s] : impl_->sandboxes) out.push_back(s);
  return out;
}

Task<> Sandboxes::stop() {
  auto impl = impl_;
  // Cancelled readers let go of their links without a word; supervisors see the connection close and go on.
  co_await impl->context->tasks.stop();
  co_await base::offload([impl] {
    std::scoped_lock lock(impl->first_mutex);
    if (!impl->first.socket) return;
    impl->first.socket.reset();
    ::waitpid(impl->first.pid, nullptr, 0);
    // Gone with the last supervisor only.
    for (const auto& h : impl->context->cgroups.hierarchies()) ::rmdir(impl->context->cgroups.directory(h, kSupervisorGroup).c_str());
  });
}

Result<> Sandboxes::set_cgroup(std::string_view path, const Resources& resources) {
  std::scoped_lock lock(impl_->context->cgroups_mutex);
  return impl_->context->cgroups.create(path, resources);
}

Result<CgroupStats> Sandboxes::cgroup_stats(std::string_view path) const {
  if (!impl_->context->cgroups.exists(path)) return base::not_found("cgroup", path);
  return to_stats(impl_->context->cgroups.usage(path));
}

std::string Sandboxes::cgroup_mode() const { return impl_->context->cgroups.mode(); }

}  // namespace runtime
