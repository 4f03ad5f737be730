#include "server/apiserver/http/openapi_documents.h"

#include <fmt/format.h>
#include <zlib.h>

#include "base/bytes.h"
#include "server/apiserver/http/compression.h"

namespace server {
namespace {

constexpr int gzip_window = 15 + 16;
constexpr std::string_view below_v3 = "/openapi/v3/";

std::string compressed(std::string_view text) {
  z_stream z{};
  if (deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, gzip_window, 8, Z_DEFAULT_STRATEGY) != Z_OK) return {};
  std::string out(deflateBound(&z, text.size()), '\0');
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  z.avail_in = static_cast<uInt>(text.size());
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = static_cast<uInt>(out.size());
  const bool done = deflate(&z, Z_FINISH) == Z_STREAM_END;
  out.resize(done ? z.total_out : 0);
  deflateEnd(&z);
  out.shrink_to_fit();
  return out;
}

std::string inflated(std::string_view gzip, size_t size) {
  z_stream z{};
  if (inflateInit2(&z, gzip_window) != Z_OK) return {};
  std::string out(size, '\0');
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(gzip.data()));
  z.avail_in = static_cast<uInt>(gzip.size());
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = static_cast<uInt>(out.size());
  const bool done = inflate(&z, Z_FINISH) == Z_STREAM_END;
  inflateEnd(&z);
  if (!done) out.clear();
  return out;
}

}  // namespace

OpenApiDocuments::DocumentPtr OpenApiDocuments::document(const std::string& path, bool protobuf) {
  const std::string key = (protobuf ? "+" : "") + path;
  {
    std::scoped_lock lock(mutex_);
    if (auto it = documents_.find(key); it != documents_.end()) return it->second;
  }
  std::string text;
  auto made = std::make_shared<Document>();
  made->type = "application/json";
  if (path == "/openapi/v2") {
    text = protobuf ? api::openapi_v2_protobuf(input_) : api::openapi_v2_json(input_);
    if (protobuf) made->type = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
  } else if (path == "/openapi/v3") {
    text = api::openapi_v3_index(input_);
  } else if (path.starts_with(below_v3)) {
    std::string_view name = std::string_view(path).substr(below_v3.size());
    text = protobuf ? api::openapi_v3_protobuf(input_, name) : api::openapi_v3_document(input_, name);
    if (protobuf) made->type = "application/com.github.proto-openapi.spec.v3.v1.0+protobuf";
  }
  if (text.empty()) return nullptr;
  made->size = text.size();
  made->etag = fmt::format("\"{}\"", base::sha256_hex(text));
  made->gzip = compressed(text);
  std::scoped_lock lock(mutex_);
  return documents_[key] = std::move(made);
}

Task<> OpenApiDocuments::send(Exchange& x, DocumentPtr document) {
  x.response.headers.set("Etag", document->etag);
  x.response.headers.set("Vary", "Accept, Accept-Encoding");
  x.response.headers.set("Content-Type", document->type);
  if (x.request.headers.get("If-None-Match") == document->etag) {
    x.response.status = 304;
    co_await x.response.send(std::string_view());
    co_return;
  }
  if (takes_gzip(x.request.headers.get("Accept-Encoding"))) {
    x.response.headers.set("Content-Encoding", "gzip");
    co_await x.response.send(std::string_view(document->gzip));
    co_return;
  }
  std::string text = inflated(document->gzip, document->size);
  co_await x.response.send(text);
}

Task<> OpenApiDocuments::handle(Exchange& x) {
  std::string path = x.info.path;
  if (path == "/openapi/v3/") path.pop_back();
  const bool protobuf = x.request.headers.get("Accept").find("proto-openapi") != std::string_view::npos && path != "/openapi/v3";
  DocumentPtr found = document(path, protobuf);
  if (!found) co_return co_await send_error(x, base::fail(404, "NotFound", "the server could not find the requested resource").error());
  if (path.starts_with(below_v3) && x.request.query.has("hash")) {
    // The hash of the index names this very content, so it can be kept for good; an old one leads to the present.
    const std::string now = api::openapi_v3_hash(input_, std::string_view(path).substr(below_v3.size()));
    if (x.request.query.get("hash") != now) {
      x.response.status = 301;
      x.response.headers.set("Location", fmt::format("{}?hash={}", path, now));
      co_await x.response.send(std::string_view());
      co_return;
    }
    x.response.headers.set("Cache-Control", "public, immutable");
  }
  co_await send(x, std::move(found));
}

}  // namespace server
