// Small files of /proc, /sys and the cgroup trees: read or written in one go, relative to a directory.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"
#include "base/fd.h"

namespace runtime {

// The whole text; an error names the path.
base::Result<std::string> read_kernel(const std::string& path, int dir = -100 /* AT_FDCWD */);
// One write(2), which is what these files want.
base::Result<> write_kernel(const std::string& path, std::string_view text, int dir = -100);
// 0 when it worked, errno otherwise.
int try_write_kernel(const std::string& path, std::string_view text, int dir = -100);
// The number after `key ` at the start of a line ("oom_kill 1"); `otherwise` when there is none.
uint64_t keyed_number(std::string_view text, std::string_view key, uint64_t otherwise = 0);
// A descriptor of the real /proc, checked to be procfs.
base::Result<base::Fd> open_procfs();

}  // namespace runtime
