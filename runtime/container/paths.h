// Paths inside a root that others control. Each is resolved once, to a descriptor; what is missing is made relative to descriptors, so
// that no symbolic link and no race leads out of the root.
#pragma once

#include <sys/types.h>

#include <string_view>

#include "base/error.h"
#include "base/fd.h"

namespace runtime {

// How links are treated: `in_root` as if chrooted (absolute ones begin at the root), `beneath` an escape is an error (EXDEV).
enum class Resolve { in_root, beneath };

// flags as for open(2); O_CLOEXEC is added. errno is kept for the caller.
base::Fd open_below(int root, std::string_view path, int flags, Resolve resolve = Resolve::in_root);
// The directory, made with its parents where missing. O_PATH.
base::Result<base::Fd> make_directory_below(int root, std::string_view path, mode_t mode, Resolve resolve = Resolve::in_root);
// What is at path if anything, otherwise an empty regular file (0644) made there, with parents. O_PATH.
base::Result<base::Fd> make_file_below(int root, std::string_view path, Resolve resolve = Resolve::in_root);

}  // namespace runtime
