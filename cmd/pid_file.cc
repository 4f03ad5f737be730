#include "cmd/pid_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <fmt/format.h>

namespace cmd {

base::Result<PidFile> PidFile::claim(const std::string& run_dir) {
  CHECK_OK(base::make_dirs(run_dir));
  std::string path = run_dir + "/appliance.pid";
  base::Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644));
  if (!fd) return base::errno_error("open " + path);
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    char text[32] = {};
    [[maybe_unused]] auto n = ::pread(fd.get(), text, sizeof text - 1, 0);
    std::string pid(text);
    pid.erase(pid.find_last_not_of(" \n") + 1);
    return base::bad_request(
        fmt::format("an appliance already runs with --run-dir {} (pid {}); stop it, or give this one a --run-dir and --data-dir of its own",
                    run_dir, pid));
  }
  std::string pid = fmt::format("{}\n", ::getpid());
  if (::ftruncate(fd.get(), 0) != 0 || ::pwrite(fd.get(), pid.data(), pid.size(), 0) < 0) return base::errno_error("write " + path);
  return PidFile(std::move(fd));
}

}  // namespace cmd
