#include "ingress/upstream.h"

#include <fmt/format.h>

namespace ingress {
namespace {

std::string key_of(const Endpoint& e) { return fmt::format("{}:{}", e.host, e.port); }

}  // namespace

base::Task<base::Result<Connection>> Upstream::acquire(Endpoint endpoint, bool fresh) {
  auto executor = co_await base::this_executor();
  while (!fresh) {
    Connection kept;
    {
      std::scoped_lock lock(mutex_);
      auto it = idle_.find(key_of(endpoint));
      if (it == idle_.end() || it->second.empty()) break;
      kept = std::move(it->second.back());
      it->second.pop_back();
    }
    if (base::Clock::now() - kept.idle_since < kIdleTime && kept.stream->quiet() && kept.stream->move_to(executor)) {
      kept.reused = true;
      co_return kept;
    }
  }
  CO_TRY(auto stream, co_await base::http::connect_tcp(endpoint.host, endpoint.port, std::chrono::seconds(2)));
  Connection made;
  made.stream = std::move(stream);
  co_return made;
}

void Upstream::release(const Endpoint& endpoint, Connection connection) {
  auto now = base::Clock::now();
  connection.idle_since = now;
  connection.stream->set_read_deadline(std::nullopt);
  connection.stream->set_write_deadline(std::nullopt);
  bool due = false;
  {
    std::scoped_lock lock(mutex_);
    auto& list = idle_[key_of(endpoint)];
    if (list.size() < kIdlePerEndpoint) list.push_back(std::move(connection));
    due = now >= next_sweep_;
    if (due) next_sweep_ = now + kIdleTime;
  }
  if (due) sweep(now);
}

void Upstream::sweep(base::TimePoint now) {
  std::vector<Connection> dropped;
  std::scoped_lock lock(mutex_);
  for (auto it = idle_.begin(); it != idle_.end();) {
    auto& list = it->second;
    for (auto c = list.begin(); c != list.end();) {
      if (now - c->idle_since < kIdleTime) {
        ++c;
        continue;
      }
      dropped.push_back(std::move(*c));
      c = list.erase(c);
    }
    it = list.empty() ? idle_.erase(it) : std::next(it);
  }
}

void Upstream::close_all() {
  std::map<std::string, std::vector<Connection>> all;
  std::scoped_lock lock(mutex_);
  all.swap(idle_);
}

}  // namespace ingress
