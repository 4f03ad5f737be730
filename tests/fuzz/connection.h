// A peer that says what it has to say at once, ends, and drops what it is told: for what speaks on streams.
#pragma once

#include <algorithm>
#include <cstring>
#include <string>

#include "base/http/server.h"

namespace fuzz {

class Peer final : public base::http::Stream {
 public:
  explicit Peer(std::string says) : says_(std::move(says)) {}
  base::Task<base::Result<size_t>> read(std::span<char> into) override {
    if (closed_) co_return base::unavailable("closed");
    size_t n = std::min(into.size(), says_.size() - used_);
    std::memcpy(into.data(), says_.data() + used_, n);
    used_ += n;
    co_return n;
  }
  base::Task<base::Result<>> write(std::span<const std::string_view> parts) override {
    if (closed_) co_return base::unavailable("closed");
    for (auto p : parts)
      for (char c : p) told_ = told_ * 31 + static_cast<unsigned char>(c);  // every byte is looked at
    co_return base::Result<>{};
  }
  base::Task<base::Result<>> shutdown_write() override { co_return base::Result<>{}; }
  void close() override { closed_ = true; }
  void set_read_deadline(std::optional<base::TimePoint>) override {}
  void set_write_deadline(std::optional<base::TimePoint>) override {}
  std::string peer_address() const override { return "memory"; }
  std::string local_address() const override { return "memory"; }
  const std::string& peer_certificate() const override {
    static const std::string none;
    return none;
  }
  uint64_t told() const { return told_; }

 private:
  const std::string says_;
  size_t used_ = 0;
  uint64_t told_ = 0;
  bool closed_ = false;
};

// Reads the body, answers in pieces.
inline base::Task<> answer(base::http::Request& request, base::http::Response& response) {
  auto body = co_await request.body(10000);
  if (request.path == "/whole") {
    co_await response.send(body ? std::string_view(*body) : std::string_view("refused"));
    co_return;
  }
  response.headers.set("X-Path", request.path);
  co_await response.begin();
  std::string_view parts[] = {request.method, " ", body ? std::string_view(*body) : std::string_view(body.error().message)};
  co_await response.write(std::span<const std::string_view>(parts));
  co_await response.end();
}

}  // namespace fuzz
