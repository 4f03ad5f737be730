#include "server/apiserver/tunnel/node_streams.h"

#include <array>
#include <deque>

#include <fmt/format.h>

#include "base/bytes.h"
#include "base/log.h"

namespace server {

using base::http::Stream;
using namespace std::chrono_literals;

namespace {
constexpr auto ping_every = 20s;
constexpr auto silence_limit = 60s;
constexpr auto dial_limit = 10s;
constexpr size_t most_lines = 1024;  // further requests for streams are refused
}  // namespace

// `end` is our side of an in-memory pair whose other side is piped to the agent's connection: the connection itself belongs to its handler's strand.
struct NodeStreams::Control {
  std::string node;
  std::unique_ptr<Stream> end;  // used on its own strand by write_lines and read_lines
  base::Event changed;
  std::mutex mutex;  // guards what follows
  std::deque<std::string> lines;
  bool closed = false;

  bool push(std::string line) {
    {
      std::scoped_lock lock(mutex);
      if (closed || lines.size() >= most_lines) return false;
      lines.push_back(std::move(line));
    }
    changed.notify();
    return true;
  }
  void close() {
    {
      std::scoped_lock lock(mutex);
      closed = true;
    }
    changed.notify();
  }
};

struct NodeStreams::Pending {
  std::string node;
  base::Executor requester;
  base::Event changed;
  std::mutex mutex;  // guards what follows
  std::unique_ptr<Stream> stream;
  std::string failure;
};

void NodeStreams::attach(const std::string& node, NodeDialer dial) {
  std::scoped_lock lock(mutex_);
  if (dial) local_[node] = std::move(dial);
  else local_.erase(node);
}

Task<> NodeStreams::write_lines(std::shared_ptr<Control> control) {
  auto next_ping = base::Clock::now() + ping_every;
  for (;;) {
    uint64_t seen = control->changed.version();
    std::string text;
    {
      std::scoped_lock lock(control->mutex);
      if (control->closed) break;
      for (const std::string& line : control->lines) text += line;
      control->lines.clear();
    }
    if (base::Clock::now() >= next_ping) {
      text += "ping\n";
      next_ping = base::Clock::now() + ping_every;
    }
    if (!text.empty()) {
      auto written = co_await control->end->write(text);
      if (!written) break;
      continue;
    }
    co_await control->changed.wait(seen, next_ping);
  }
  control->close();
  control->end->close();
}

Task<> NodeStreams::read_lines(NodeStreams& owner, std::shared_ptr<Control> control) {
  std::string text;
  std::array<char, 1024> chunk;
  for (;;) {
    auto n = co_await control->end->read(chunk);
    if (!n || *n == 0) break;
    text.append(chunk.data(), *n);
    for (size_t end; (end = text.find('\n')) != text.npos; text.erase(0, end + 1)) {
      std::string_view line = std::string_view(text).substr(0, end);
      if (!line.starts_with("fail ")) continue;
      line.remove_prefix(5);
      size_t space = line.find(' ');
      owner.fail(std::string(line.substr(0, space)), space == line.npos ? "the node could not dial" : std::string(line.substr(space + 1)));
    }
    if (text.size() > 4096) break;  // no line is that long
  }
  control->close();
}

void NodeStreams::fail(const std::string& id, std::string why) {
  std::shared_ptr<Pending> pending;
  {
    std::scoped_lock lock(mutex_);
    auto it = pending_.find(id);
    if (it == pending_.end()) return;
    pending = it->second;
  }
  {
    std::scoped_lock lock(pending->mutex);
    pending->failure = std::move(why);
  }
  pending->changed.notify();
}

Task<> NodeStreams::serve_control(std::string node, base::http::Response& response) {
  response.status = 101;
  response.headers.set("Connection", "Upgrade");
  response.headers.set("Upgrade", "appliance-tunnel");
  auto upgraded = co_await response.upgrade();
  if (!upgraded) co_return;
  Stream& stream = **upgraded;
  base::Executor ours = runtime_.strand();
  auto [near, far] = base::http::make_stream_pair(co_await base::this_executor(), ours);
  auto control = std::make_shared<Control>();
  control->node = node;
  control->end = std::move(far);
  {
    std::scoped_lock lock(mutex_);
    auto& slot = controls_[node];
    if (slot) slot->close();
    slot = control;
  }
  base::log::info("tunnel", "node {} connected from {}", node, stream.peer_address());
  // Whatever ends this coroutine, cancellation included, removes the registration.
  struct Leave {
    NodeStreams& owner;
    std::shared_ptr<Control> control;
    ~Leave() {
      control->close();
      std::scoped_lock lock(owner.mutex_);
      auto it = owner.controls_.find(control->node);
      if (it != owner.controls_.end() && it->second == control) owner.controls_.erase(it);
      base::log::info("tunnel", "node {} disconnected", control->node);
    }
  } leave{*this, control};
  tasks_.spawn("tunnel.write", ours, write_lines(control));
  tasks_.spawn("tunnel.read", ours, read_lines(*this, control));
  co_await base::http::pipe(stream, *near, silence_limit);
}

Task<> NodeStreams::serve_stream(std::string node, std::string id, base::http::Response& response) {
  std::shared_ptr<Pending> pending;
  {
    std::scoped_lock lock(mutex_);
    auto it = pending_.find(id);
    if (it != pending_.end() && it->second->node == node) {
      pending = it->second;
      pending_.erase(it);
    }
  }
  if (!pending) {
    response.status = 404;
    co_await response.send("no such stream\n");
    co_return;
  }
  response.status = 101;
  response.headers.set("Connection", "Upgrade");
  response.headers.set("Upgrade", "appliance-stream");
  auto upgraded = co_await response.upgrade();
  if (!upgraded) co_return;
  auto [near, far] = base::http::make_stream_pair(co_await base::this_executor(), pending->requester);
  {
    std::scoped_lock lock(pending->mutex);
    pending->stream = std::move(far);
  }
  pending->changed.notify();
  pending.reset();
  co_await base::http::pipe(**upgraded, *near);
}

Task<Result<std::unique_ptr<Stream>>> NodeStreams::open(std::string node) {
  auto pending = std::make_shared<Pending>();
  pending->node = node;
  pending->requester = co_await base::this_executor();
  std::string id = base::hex_encode(base::random_bytes(16));
  NodeDialer local;
  std::shared_ptr<Control> control;
  {
    std::scoped_lock lock(mutex_);
    if (auto it = local_.find(node); it != local_.end()) local = it->second;
    else if (auto c = controls_.find(node); c != controls_.end()) control = c->second;
    if (control) pending_[id] = pending;
  }
  if (local) co_return co_await local();
  if (!control) co_return base::unavailable(fmt::format("node {} is not connected", node));
  struct Forget {
    NodeStreams& owner;
    const std::string& id;
    ~Forget() {
      std::scoped_lock lock(owner.mutex_);
      owner.pending_.erase(id);
    }
  } forget{*this, id};
  if (!control->push("open " + id + "\n")) co_return base::unavailable(fmt::format("node {} is not connected", node));
  auto deadline = base::Clock::now() + dial_limit;
  for (;;) {
    uint64_t seen = pending->changed.version();
    {
      std::scoped_lock lock(pending->mutex);
      if (pending->stream) co_return std::move(pending->stream);
      if (!pending->failure.empty()) co_return base::unavailable(fmt::format("node {}: {}", node, pending->failure));
    }
    bool woken = co_await pending->changed.wait(seen, deadline);
    if (!woken) co_return base::timeout(fmt::format("node {} did not open a stream in {} s", node, dial_limit / 1s));
  }
}

Task<> NodeStreams::stop() {
  {
    std::scoped_lock lock(mutex_);
    for (auto& [name, control] : controls_) control->close();
  }
  co_await tasks_.stop();
}

}  // namespace server
