// Whole-file operations and descriptors. Blocking: call from offload() when the file may be large.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>

#include "base/error.h"
#include "base/fd.h"

namespace base {

Result<std::string> read_file(const std::string& path, size_t limit = 64u << 20);
// Writes to a temporary file beside path, syncs it when `durable`, renames it over path.
Result<> write_file_atomic(const std::string& path, std::string_view content, mode_t mode = 0600, bool durable = true);
// Opens, writes once, closes: for kernel files (cgroup, sysctl).
Result<> write_kernel_file(const std::string& path, std::string_view content);
Result<> make_dirs(const std::string& path, mode_t mode = 0700);
// Removes path and what is below it without following links or crossing mounts; absent is success.
Result<> remove_all(const std::string& path);
bool exists(const std::string& path);

}  // namespace base
