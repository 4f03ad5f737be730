// A pull-based stream of bytes: a file descriptor, and what it decompresses to (gzip with several members, zstd with several frames, or plain, told
// apart by the first bytes). Blocking. Hostile input: memory is bounded (zstd window at most 128 MiB).
#pragma once

#include <memory>
#include <span>

#include "base/error.h"

namespace runtime {

class ByteSource {
 public:
  virtual ~ByteSource() = default;
  // Some bytes; 0 at the end.
  virtual base::Result<size_t> read(std::span<char> into) = 0;
};

std::unique_ptr<ByteSource> read_descriptor(int fd);  // does not own it
base::Result<std::unique_ptr<ByteSource>> decompress(std::unique_ptr<ByteSource> compressed);

}  // namespace runtime
