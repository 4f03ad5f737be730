// Bytes of a blob, from a registry or from a file of an archive.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "base/files.h"
#include "base/http/client.h"
#include "base/io.h"

namespace runtime {

class BlobSource {
 public:
  virtual ~BlobSource() = default;
  // Some bytes; 0 at the end.
  virtual base::Task<base::Result<size_t>> read(std::span<char> into) = 0;
};

std::unique_ptr<BlobSource> blob_of_file(base::Fd file);
// Fails when nothing arrives for a minute.
std::unique_ptr<BlobSource> blob_of_response(std::unique_ptr<base::http::ClientResponse> response);

}  // namespace runtime
