// /openapi/v2 and /openapi/v3: documents made when first asked for and kept compressed, in the form in which clients take them.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "api/openapi.h"
#include "server/apiserver/http/exchange.h"

namespace server {

class OpenApiDocuments {
 public:
  explicit OpenApiDocuments(std::string version) { input_.version = std::move(version); }
  // Paths below /openapi. Thread-safe.
  Task<> handle(Exchange& x);

 private:
  struct Document {
    std::string gzip, etag;
    size_t size = 0;  // of the text
    std::string_view type;
  };
  using DocumentPtr = std::shared_ptr<const Document>;
  // Null when there is none.
  DocumentPtr document(const std::string& path, bool protobuf);
  Task<> send(Exchange& x, DocumentPtr document);

  api::OpenApiInput input_;
  std::mutex mutex_;
  std::map<std::string, DocumentPtr> documents_;  // by path, with "+" before the protobuf form
};

}  // namespace server
