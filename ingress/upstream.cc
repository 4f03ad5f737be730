#include "ingress/upstream.h"

#include <fmt/format.h>

namespace ingress {
namespace {

// "10.42.0.7:8080" in a buffer of the caller's.
std::string_view key_of(const Endpoint& e, std::span<char> into) {
  auto end = fmt::format_to_n(into.data(), into.size(), "{}:{}", e.host, e.port);
  return {into.data(), std::min(end.size, into.size())};
}

}  // namespace

bool Upstream::take(const Endpoint& endpoint, bool probe, BackendConnection& out) {
  char text[300];
  auto it = idle_.find(key_of(endpoint, text));
  if (it == idle_.end()) return false;
  auto now = base::Clock::now();
  while (!it->second.empty()) {
    out = std::move(it->second.back());
    it->second.pop_back();
    if (now - out.idle_since < kIdleTime && (!probe || out.stream->quiet())) {
      out.reused = true;
      return true;
    }
  }
  out = {};
  return false;
}

base::Task<base::Result<BackendConnection>> Upstream::connect(Endpoint endpoint) {
  auto stream = co_await base::http::connect_tcp(endpoint.host, endpoint.port, kConnectTime);
  char text[300];
  std::string_view key = key_of(endpoint, text);
  if (!stream) {
    unreachable_.insert_or_assign(std::string(key), base::Clock::now() + kAvoidTime);
    co_return std::unexpected(std::move(stream.error()));
  }
  if (!unreachable_.empty()) unreachable_.erase(std::string(key));
  BackendConnection made;
  made.stream = std::move(*stream);
  co_return made;
}

void Upstream::release(const Endpoint& endpoint, BackendConnection connection) {
  char text[300];
  std::string_view key = key_of(endpoint, text);
  auto it = idle_.find(key);
  if (it == idle_.end()) it = idle_.emplace(std::string(key), std::vector<BackendConnection>()).first;
  if (it->second.size() >= kIdlePerEndpoint) return;
  connection.buffer.shrink(16 * 1024);
  connection.idle_since = base::Clock::now();
  it->second.push_back(std::move(connection));
  if (sleeping_) {
    sleeping_ = false;
    released_.notify();
  }
}

bool Upstream::avoid(const Endpoint& endpoint) const {
  if (unreachable_.empty()) return false;
  char text[300];
  auto it = unreachable_.find(key_of(endpoint, text));
  return it != unreachable_.end() && base::Clock::now() < it->second;
}

base::Task<> Upstream::keep_clean() {
  for (;;) {
    uint64_t seen = released_.version();
    if (idle_.empty()) {
      sleeping_ = true;
      co_await released_.wait(seen);
    }
    co_await base::sleep_for(kIdleTime);
    auto now = base::Clock::now();
    std::erase_if(unreachable_, [&](const auto& e) { return e.second <= now; });
    for (auto it = idle_.begin(); it != idle_.end();) {
      std::erase_if(it->second, [&](const BackendConnection& c) { return now - c.idle_since >= kIdleTime; });
      it = it->second.empty() ? idle_.erase(it) : std::next(it);
    }
  }
}

}  // namespace ingress
