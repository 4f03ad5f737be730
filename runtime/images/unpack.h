// Fills a directory from a tar stream (ustar, pax, GNU) as a layer for overlayfs. Blocking; runs in the confined unpacker process.
//
// Every name is resolved beneath the directory by openat2 (RESOLVE_IN_ROOT, no magic links, no other mounts) to a descriptor; work is done on
// descriptors. Whiteouts (OCI image spec, "Representing Changes") become character devices 0:0. Opaque directories are reported, because their mark
// is an attribute in the "trusted" namespace that the confined process may not set.
#pragma once

#include <sys/stat.h>

#include <functional>
#include <memory>
#include <optional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/files.h"
#include "runtime/images/decompress.h"

struct archive_entry;

namespace runtime {

struct UnpackLimits {
  uint64_t bytes = 16ull << 30;
  uint64_t entries = 2'000'000;
  uint64_t xattr_bytes = 64 << 10;  // of one entry
  size_t path_bytes = 4096;
};

struct UnpackResult {
  uint64_t bytes = 0, entries = 0;
  std::vector<std::string> opaque;  // directories, relative to the root
};

// plain: an archive of images instead of a layer; only directories, files and links are made, whiteouts mean nothing.
base::Result<UnpackResult> unpack(ByteSource& tar, int root, const UnpackLimits& limits, bool plain);

// Marks the directories opaque; for the process that started the unpacker.
base::Result<> mark_opaque(int root, const std::vector<std::string>& directories);

// Opens beneath root as the unpacker does; flags as open(2).
base::Result<base::Fd> open_in_root(int root, const std::string& path, int flags);

}  // namespace runtime
