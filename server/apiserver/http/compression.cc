#include "server/apiserver/http/compression.h"

#include <zlib.h>

#include "base/http/wire.h"

namespace server {
namespace {

constexpr size_t threshold = 128 * 1024;
constexpr size_t room = 64 * 1024;
constexpr int gzip_window = 15 + 16;

std::string_view trim(std::string_view s) {
  while (!s.empty() && s.front() == ' ') s.remove_prefix(1);
  while (!s.empty() && s.back() == ' ') s.remove_suffix(1);
  return s;
}

// One gzip stream; input is fed in pieces.
class Gzip {
 public:
  Gzip() { ready_ = deflateInit2(&z_, Z_BEST_SPEED, Z_DEFLATED, gzip_window, 8, Z_DEFAULT_STRATEGY) == Z_OK; }
  ~Gzip() {
    if (ready_) deflateEnd(&z_);
  }
  Gzip(const Gzip&) = delete;
  Gzip& operator=(const Gzip&) = delete;
  bool ready() const { return ready_; }
  // Takes from the front of `in` until it is empty or `out` is full; how much of `out` was filled.
  size_t feed(std::string_view& in, std::span<char> out) {
    constexpr size_t most = 1u << 30;
    std::string_view piece = in.substr(0, most);
    z_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(piece.data()));
    z_.avail_in = static_cast<uInt>(piece.size());
    size_t filled = run(out, Z_NO_FLUSH);
    in.remove_prefix(piece.size() - z_.avail_in);
    return filled;
  }
  // The rest; `done` when all of it fitted.
  size_t finish(std::span<char> out, bool& done) {
    z_.avail_in = 0;
    size_t filled = run(out, Z_FINISH);
    done = ended_;
    return filled;
  }

 private:
  size_t run(std::span<char> out, int flush) {
    z_.next_out = reinterpret_cast<Bytef*>(out.data());
    z_.avail_out = static_cast<uInt>(out.size());
    ended_ = deflate(&z_, flush) == Z_STREAM_END;
    return out.size() - z_.avail_out;
  }
  z_stream z_{};
  bool ready_ = false, ended_ = false;
};

Task<Result<>> send_gzip(Exchange& x, Gzip& gzip, std::span<const std::string_view> parts) {
  CO_CHECK_OK(co_await x.response.begin());
  auto out = std::make_unique_for_overwrite<char[]>(room);
  size_t used = 0;
  for (std::string_view part : parts) {
    while (!part.empty()) {
      used += gzip.feed(part, {out.get() + used, room - used});
      if (used < room) continue;
      CO_CHECK_OK(co_await x.response.write(std::string_view(out.get(), used)));
      used = 0;
    }
  }
  for (bool done = false; !done;) {
    used += gzip.finish({out.get() + used, room - used}, done);
    CO_CHECK_OK(co_await x.response.write(std::string_view(out.get(), used)));
    used = 0;
  }
  co_return co_await x.response.end();
}

}  // namespace

bool takes_gzip(std::string_view accept) {
  while (!accept.empty()) {
    size_t comma = std::min(accept.find(','), accept.size());
    std::string_view item = accept.substr(0, comma);
    accept.remove_prefix(std::min(comma + 1, accept.size()));
    size_t semicolon = std::min(item.find(';'), item.size());
    if (!base::http::equal_ignoring_case(trim(item.substr(0, semicolon)), "gzip")) continue;
    std::string_view weight = trim(item.substr(std::min(semicolon + 1, item.size())));
    const bool refused = weight.starts_with("q=0") && weight.find_first_not_of("0.", 2) == weight.npos;
    return !refused;
  }
  return false;
}

Task<Result<>> send_body(Exchange& x, std::span<const std::string_view> parts) {
  size_t total = 0;
  for (auto p : parts) total += p.size();
  x.sent = total;
  if (x.request.method == "GET" && x.response.status == 200 && total > threshold) {
    // Also said of what is sent as it is: another client's cache must not get the other form.
    x.response.headers.add("Vary", "Accept-Encoding");
    if (takes_gzip(x.request.headers.get("Accept-Encoding"))) {
      Gzip gzip;
      if (gzip.ready()) {
        x.response.headers.set("Content-Encoding", "gzip");
        co_return co_await send_gzip(x, gzip, parts);
      }
    }
  }
  co_return co_await x.response.send(parts);
}

Task<Result<>> send_body(Exchange& x, std::string_view body) {
  std::string_view parts[] = {body};
  co_return co_await send_body(x, std::span<const std::string_view>(parts));
}

}  // namespace server
