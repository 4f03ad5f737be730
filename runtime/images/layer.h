// Starts an unpacker, feeds it, and takes its report.
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>

#include "base/files.h"
#include "base/io.h"
#include "runtime/images/blob.h"
#include "runtime/images/unpack.h"

namespace runtime {

struct UnpackJob {
  std::string self_exe;
  std::string directory;      // exists and is empty
  UnpackLimits limits;
  bool plain = false;
  std::string digest;         // of the bytes of the source; empty: not known
  uint64_t size = 0;          // of the source; 0: not known
  std::string diff_id;        // of the decompressed bytes; empty: not known
};

struct UnpackedLayer {
  uint64_t bytes = 0, entries = 0;
  std::string digest, diff_id;
};

// Streams the source through an unpacker process into job.directory. What it leaves there on failure is the caller's to remove. Cancelling kills it.
// `progress` is told of each chunk's size and may stop the work by returning false.
base::Task<base::Result<UnpackedLayer>> unpack_layer(UnpackJob job, BlobSource& source, std::function<bool(size_t)> progress);

}  // namespace runtime
