#include "agent/streams/remote_command.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "agent/streams/spdy.h"
#include "base/bytes.h"
#include "base/http/websocket.h"
#include "base/json.h"

namespace agent {

namespace http = base::http;
using namespace std::chrono_literals;

std::optional<TerminalSize> parse_terminal_size(std::string_view text) {
  auto v = base::parse_json(text, 4);
  if (!v) return std::nullopt;
  int64_t w = base::get_int(*v, "Width"), h = base::get_int(*v, "Height");
  if (w <= 0 || h <= 0 || w > 65535 || h > 65535) return std::nullopt;
  return TerminalSize{static_cast<uint16_t>(w), static_cast<uint16_t>(h)};
}

std::string outcome_status(const CommandOutcome& outcome) {
  base::json::object s;
  s["metadata"] = base::json::object();
  if (outcome.error.empty() && outcome.exit_code == 0) {
    s["status"] = "Success";
    return base::to_text(s);
  }
  s["status"] = "Failure";
  if (!outcome.error.empty()) {
    s["message"] = outcome.error;
    s["reason"] = "InternalError";
    s["code"] = 500;
    base::json::object cause{{"message", outcome.error}};
    s["details"] = base::json::object{{"causes", base::json::array{cause}}};
    return base::to_text(s);
  }
  s["message"] = fmt::format("command terminated with non-zero exit code: exit status {}", outcome.exit_code);
  s["reason"] = "NonZeroExitCode";
  base::json::object cause{{"reason", "ExitCode"}, {"message", std::to_string(outcome.exit_code)}};
  s["details"] = base::json::object{{"causes", base::json::array{cause}}};
  return base::to_text(s);
}

namespace {

constexpr size_t kMaxSizeMessage = 1024;

// Sizes of the terminal: only the latest matters.
class Sizes {
 public:
  void put(std::string_view json) {
    if (auto s = parse_terminal_size(json)) {
      latest_ = s;
      changed_.notify();
    }
  }
  void end() {
    ended_ = true;
    changed_.notify();
  }
  Task<std::optional<TerminalSize>> next() {
    for (;;) {
      uint64_t seen = changed_.version();
      if (latest_) co_return std::exchange(latest_, std::nullopt);
      if (ended_) co_return std::nullopt;
      co_await changed_.wait(seen);
    }
  }

 private:
  std::optional<TerminalSize> latest_;
  bool ended_ = false;
  base::Event changed_;
};

// --- WebSocket: one binary message per piece, its first byte the channel.

class WebSocketCommand final : public RemoteCommand {
 public:
  enum Channel : char { kIn = 0, kOut = 1, kErr = 2, kError = 3, kResize = 4 };

  WebSocketCommand(std::unique_ptr<http::WebSocket> socket, RemoteCommandOptions options) : socket_(std::move(socket)), options_(options) {
    const std::string& p = socket_->protocol();
    base64_ = p.starts_with("base64.") || p.starts_with("v4.base64.");
    v5_ = p == "v5.channel.k8s.io";
    v4_ = v5_ || p.starts_with("v4.");
    if (!options_.in) in_.end();
  }

  // Distributes what the client sends until it closes or goes away.
  Task<> receive() {
    struct End {
      WebSocketCommand& c;
      ~End() {
        c.in_.end();
        c.sizes_.end();
        c.gone_ = true;
        c.ended_.notify();
      }
    } at_end{*this};
    for (;;) {
      auto message = co_await socket_->receive();
      if (!message || message->kind == http::WebSocketMessage::Kind::close) co_return;
      std::string data = std::move(message->data);
      if (data.empty()) continue;
      char channel = data[0];
      data.erase(0, 1);
      if (base64_) {
        channel = static_cast<char>(channel - '0');
        auto decoded = base::base64_decode(data);
        if (!decoded) co_return;
        data = std::move(*decoded);
      }
      if (v5_ && static_cast<unsigned char>(channel) == 255) {
        if (!data.empty() && data[0] == kIn) in_.end();
      } else if (channel == kIn) {
        if (options_.in) co_await in_.push(std::move(data));
      } else if (channel == kResize && data.size() <= kMaxSizeMessage) {
        sizes_.put(data);
      }
    }
  }

  Task<size_t> read_stdin(std::span<char> into) override { return in_.read(into); }
  Task<Result<>> write_stdout(std::string_view bytes) override { return send(kOut, bytes); }
  Task<Result<>> write_stderr(std::string_view bytes) override { return send(kErr, bytes); }
  Task<std::optional<TerminalSize>> next_size() override { return sizes_.next(); }
  Task<> gone() override {
    for (;;) {
      uint64_t seen = ended_.version();
      if (gone_) co_return;
      co_await ended_.wait(seen);
    }
  }

  // The older protocols know no Status: only errors are sent, as text.
  Task<> finish(CommandOutcome outcome) {
    std::string text = v4_ ? outcome_status(outcome) : outcome.error;
    if (!v4_ && text.empty() && outcome.exit_code != 0) text = fmt::format("command terminated with exit code {}", outcome.exit_code);
    if (!text.empty()) {
      auto r = co_await send(kError, text);
      if (!r) co_return;
    }
    auto closed = co_await socket_->close();
    (void)closed;
  }

 private:
  Task<Result<>> send(char channel, std::string_view bytes) {
    std::string message;
    if (base64_) {
      message = static_cast<char>('0' + channel) + base::base64_encode(bytes);
    } else {
      message.reserve(bytes.size() + 1);
      message.push_back(channel);
      message.append(bytes);
    }
    auto turn = co_await writing_.take();
    co_return co_await socket_->send(message, base64_);
  }

  std::unique_ptr<http::WebSocket> socket_;
  const RemoteCommandOptions options_;
  bool base64_ = false, v4_ = false, v5_ = false, gone_ = false;
  BytePipe in_;
  Sizes sizes_;
  Turn writing_;
  base::Event ended_;
};

// --- SPDY: one stream for each, named by its streamType header.

class SpdyCommand final : public RemoteCommand {
 public:
  SpdyCommand(std::shared_ptr<spdy::Session> session, bool v4) : session_(std::move(session)), v4_(v4) {}

  Result<> take(spdy::StreamPtr s) {
    std::string_view type = spdy::header(s->headers(), "streamtype");
    spdy::StreamPtr* slot = type == "error" ? &error_ : type == "stdin" ? &in_ : type == "stdout" ? &out_ : type == "stderr" ? &err_ : type == "resize" ? &resize_ : nullptr;
    if (!slot) return base::bad_request("unknown stream type");
    *slot = std::move(s);
    return {};
  }

  Task<> read_sizes() {
    if (!resize_) {
      sizes_.end();
      co_return;
    }
    // A sequence of JSON objects without separator.
    std::string pending;
    char buffer[512];
    for (;;) {
      size_t n = co_await resize_->read(buffer);
      if (n == 0) break;
      pending.append(buffer, n);
      for (;;) {
        size_t end = pending.find('}');
        if (end == std::string::npos) break;
        sizes_.put(std::string_view(pending).substr(0, end + 1));
        pending.erase(0, end + 1);
        pending.erase(0, std::min(pending.find_first_not_of(" \r\n\t"), pending.size()));
      }
      if (pending.size() > kMaxSizeMessage) break;
    }
    sizes_.end();
  }

  Task<size_t> read_stdin(std::span<char> into) override {
    if (!in_) co_return 0;
    co_return co_await in_->read(into);
  }
  Task<Result<>> write_stdout(std::string_view bytes) override {
    if (!out_) co_return Result<>{};
    co_return co_await out_->write(bytes);
  }
  Task<Result<>> write_stderr(std::string_view bytes) override {
    if (!err_) co_return Result<>{};
    co_return co_await err_->write(bytes);
  }
  Task<std::optional<TerminalSize>> next_size() override { return sizes_.next(); }
  Task<> gone() override { return session_->wait_ended(); }

  Task<> finish(CommandOutcome outcome) {
    for (auto& s : {out_, err_}) {
      if (!s) continue;
      auto r = co_await s->finish();
      (void)r;
    }
    if (error_) {
      std::string text = v4_ ? outcome_status(outcome) : outcome.error;
      if (!v4_ && text.empty() && outcome.exit_code != 0) text = fmt::format("command terminated with exit code {}", outcome.exit_code);
      if (!text.empty()) {
        auto r = co_await error_->write(text);
        (void)r;
      }
      auto r = co_await error_->finish();
      (void)r;
    }
  }

 private:
  std::shared_ptr<spdy::Session> session_;
  const bool v4_;
  spdy::StreamPtr error_, in_, out_, err_, resize_;
  Sizes sizes_;
};

// The runner as a child, so that it ends when the client goes away. Empty when that happened.
Task<std::optional<CommandOutcome>> run_command(base::Tasks& children, base::Executor strand, std::shared_ptr<RemoteCommand> client,
                                                CommandRunner runner) {
  struct Shared {
    std::optional<CommandOutcome> outcome;
    bool over = false;
    base::Event event;
    void end() {
      over = true;
      event.notify();
    }
  };
  struct AtEnd {
    std::shared_ptr<Shared> shared;
    ~AtEnd() { shared->end(); }
  };
  auto shared = std::make_shared<Shared>();
  auto run = [](CommandRunner f, std::shared_ptr<RemoteCommand> c, std::shared_ptr<Shared> s) -> Task<> {
    AtEnd at_end{s};
    CommandOutcome o = co_await f(*c);
    s->outcome = std::move(o);
  };
  auto watch = [](std::shared_ptr<RemoteCommand> c, std::shared_ptr<Shared> s) -> Task<> {
    AtEnd at_end{s};
    co_await c->gone();
  };
  children.spawn("remote command", strand, run(std::move(runner), client, shared));
  children.spawn("remote command client", strand, watch(client, shared));
  for (;;) {
    uint64_t seen = shared->event.version();
    if (shared->over) break;
    co_await shared->event.wait(seen);
  }
  co_return std::move(shared->outcome);
}

Task<> refuse(http::Response& response, int status, std::string text) {
  response.status = status;
  response.headers.set("Content-Type", "text/plain; charset=utf-8");
  auto r = co_await response.send(text);
  (void)r;
}

Task<> serve_websocket(base::Runtime& runtime, http::Request& request, http::Response& response, RemoteCommandOptions options,
                       CommandRunner runner) {
  static constexpr std::string_view kProtocols[] = {"v5.channel.k8s.io", "v4.channel.k8s.io", "v4.base64.channel.k8s.io", "channel.k8s.io",
                                                    "base64.channel.k8s.io"};
  auto socket = co_await http::accept_websocket(request, response, kProtocols);
  if (!socket) {
    if (!response.started()) co_await refuse(response, 400, socket.error().message);
    co_return;
  }
  auto client = std::make_shared<WebSocketCommand>(std::move(*socket), options);
  co_await with_children(runtime, [client, runner](base::Tasks& children) -> Task<> {
    auto strand = co_await base::this_executor();
    children.spawn("websocket", strand, client->receive());
    auto outcome = co_await run_command(children, strand, client, runner);
    if (outcome) co_await client->finish(*outcome);
  });
}

Task<> serve_spdy(base::Runtime& runtime, http::Request& request, http::Response& response, RemoteCommandOptions options,
                  CommandRunner runner) {
  static constexpr std::string_view kProtocols[] = {"v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"};
  std::string chosen;
  auto offered = request.headers.all("X-Stream-Protocol-Version");
  for (std::string_view p : kProtocols) {
    bool found = std::any_of(offered.begin(), offered.end(), [&](std::string_view o) {
      // Several may share one line.
      for (size_t from = 0; from <= o.size();) {
        size_t comma = std::min(o.find(',', from), o.size());
        std::string_view one = o.substr(from, comma - from);
        while (!one.empty() && one.front() == ' ') one.remove_prefix(1);
        while (!one.empty() && one.back() == ' ') one.remove_suffix(1);
        if (one == p) return true;
        from = comma + 1;
      }
      return false;
    });
    if (found) {
      chosen = p;
      break;
    }
  }
  if (chosen.empty() && !offered.empty()) {
    for (std::string_view p : kProtocols) response.headers.add("X-Accepted-Stream-Protocol-Versions", p);
    co_await refuse(response, 403, "unable to upgrade: none of the offered stream protocols is known");
    co_return;
  }
  response.status = 101;
  response.headers.set("Connection", "Upgrade");
  response.headers.set("Upgrade", "SPDY/3.1");
  if (!chosen.empty()) response.headers.set("X-Stream-Protocol-Version", chosen);
  auto transport = co_await response.upgrade();
  if (!transport) co_return;
  bool v4 = chosen == "v4.channel.k8s.io";
  bool sizes = v4 || chosen == "v3.channel.k8s.io";
  size_t expected = 1u + options.in + options.out + (options.err && !options.tty) + (options.tty && sizes);
  auto session = std::make_shared<spdy::Session>(**transport);
  co_await with_children(runtime, [session, v4, expected, runner](base::Tasks& children) -> Task<> {
    auto strand = co_await base::this_executor();
    children.spawn("spdy", strand, session->run());
    auto client = std::make_shared<SpdyCommand>(session, v4);
    for (size_t i = 0; i < expected; ++i) {
      spdy::StreamPtr s = co_await session->accept();
      if (!s || !client->take(std::move(s))) co_return;
    }
    children.spawn("spdy sizes", strand, [](std::shared_ptr<SpdyCommand> c) -> Task<> { co_await c->read_sizes(); }(client));
    auto outcome = co_await run_command(children, strand, client, runner);
    if (!outcome) co_return;
    co_await client->finish(*outcome);
    co_await session->close();
    // The client closes when it has read everything.
    auto waited = co_await base::with_timeout(5s, [](std::shared_ptr<spdy::Session> s) -> Task<Result<>> {
      co_await s->wait_ended();
      co_return Result<>{};
    }(session));
    (void)waited;
  });
}

}  // namespace

Task<> serve_remote_command(base::Runtime& runtime, http::Request& request, http::Response& response, RemoteCommandOptions options,
                            CommandRunner runner) {
  if (!options.in && !options.out && !options.err) {
    co_await refuse(response, 400, "you must specify at least 1 of stdin, stdout, stderr");
    co_return;
  }
  if (options.tty) options.err = false;
  if (http::is_websocket_upgrade(request)) {
    co_await serve_websocket(runtime, request, response, options, std::move(runner));
  } else if (request.headers.has_token("Upgrade", "SPDY/3.1")) {
    co_await serve_spdy(runtime, request, response, options, std::move(runner));
  } else {
    co_await refuse(response, 400, "unable to upgrade: missing upgrade headers in request");
  }
}

}  // namespace agent
