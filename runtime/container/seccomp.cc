#include "runtime/container/seccomp.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <vector>

namespace runtime {

base::Result<> install_seccomp(std::string_view program) {
  if (program.empty() || program.size() % sizeof(sock_filter) != 0) return base::internal("the seccomp program is malformed");
  std::vector<sock_filter> code(program.size() / sizeof(sock_filter));
  program.copy(reinterpret_cast<char*>(code.data()), program.size());
  sock_fprog prog{static_cast<unsigned short>(code.size()), code.data()};
  // Without SPEC_ALLOW the kernel would disable speculation for all that runs under a filter on old kernels: a large cost that
  // the default of newer ones no longer has.
  if (::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, &prog) != 0)
    return base::errno_error("install the seccomp filter");
  return {};
}

}  // namespace runtime
