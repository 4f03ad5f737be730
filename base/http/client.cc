#include "base/http/client.h"

#include <charconv>
#include <list>
#include <map>
#include <mutex>

#include <fmt/format.h>

#include "base/http/body.h"

namespace base::http {
namespace {

constexpr size_t kMaxHeader = 128 * 1024;
constexpr size_t kMaxFields = 300;

struct Url {
  bool tls = false;
  std::string host;       // no brackets
  std::string authority;  // as a Host field
  uint16_t port = 80;
  std::string target;
};

Result<Url> parse_url(std::string_view text) {
  Url out;
  std::string_view rest = text;
  if (rest.substr(0, 7) == "http://") {
    rest.remove_prefix(7);
  } else if (rest.substr(0, 8) == "https://") {
    rest.remove_prefix(8);
    out.tls = true;
    out.port = 443;
  } else if (!rest.empty() && rest[0] == '/') {
    out.target = rest;
    out.authority = "localhost";
  } else {
    return bad_request(fmt::format("\"{}\" is not an http or https URL", text));
  }
  if (out.target.empty()) {
    size_t end = std::min(rest.find_first_of("/?#"), rest.size());
    std::string_view authority = rest.substr(0, end);
    rest.remove_prefix(end);
    if (authority.empty() || authority.find_first_of("@\\ \t\r\n") != std::string_view::npos)
      return bad_request(fmt::format("malformed host in URL \"{}\"", text));
    out.authority = authority;
    std::string_view port;
    if (authority[0] == '[') {
      size_t close = authority.find(']');
      if (close == std::string_view::npos) return bad_request(fmt::format("malformed host in URL \"{}\"", text));
      out.host = authority.substr(1, close - 1);
      authority.remove_prefix(close + 1);
      if (!authority.empty() && authority[0] != ':') return bad_request(fmt::format("malformed host in URL \"{}\"", text));
      if (!authority.empty()) port = authority.substr(1);
    } else {
      size_t colon = authority.find(':');
      out.host = authority.substr(0, colon);
      if (colon != std::string_view::npos) port = authority.substr(colon + 1);
    }
    if (!port.empty()) {
      auto [p, ec] = std::from_chars(port.data(), port.data() + port.size(), out.port);
      if (ec != std::errc{} || p != port.data() + port.size()) return bad_request(fmt::format("malformed port in URL \"{}\"", text));
    }
    if (out.host.empty()) return bad_request(fmt::format("no host in URL \"{}\"", text));
    out.target = rest.substr(0, rest.find('#'));
    if (out.target.empty() || out.target[0] != '/') out.target = "/" + out.target;
  }
  for (char c : out.target) {
    if (static_cast<unsigned char>(c) <= 0x20 || c == 0x7f) return bad_request("a space or control character in a URL");
  }
  return out;
}

Result<std::string> format_request(const ClientRequest& r, const Url& url, std::string_view user_agent) {
  auto clean = [](std::string_view s) { return s.find_first_of(std::string_view("\r\n\0", 3)) == std::string_view::npos; };
  if (r.method.empty() || r.method.find_first_of(" \r\n\t") != std::string::npos) return bad_request("a malformed method");
  std::string out;
  out.reserve(256);
  fmt::format_to(std::back_inserter(out), "{} {} HTTP/1.1\r\n", r.method,
                 r.method == "CONNECT" ? std::string_view(url.authority) : std::string_view(url.target));
  if (!r.headers.has("Host")) fmt::format_to(std::back_inserter(out), "Host: {}\r\n", url.authority);
  if (!user_agent.empty() && !r.headers.has("User-Agent")) fmt::format_to(std::back_inserter(out), "User-Agent: {}\r\n", user_agent);
  for (auto& [name, value] : r.headers) {
    if (equal_ignoring_case(name, "content-length") || equal_ignoring_case(name, "transfer-encoding")) continue;
    if (!clean(name) || !clean(value) || name.find_first_of(": ") != std::string::npos)
      return bad_request(fmt::format("malformed header field \"{}\"", name));
    fmt::format_to(std::back_inserter(out), "{}: {}\r\n", name, value);
  }
  if (!r.body.empty() || r.method == "POST" || r.method == "PUT" || r.method == "PATCH")
    fmt::format_to(std::back_inserter(out), "Content-Length: {}\r\n", r.body.size());
  out += "\r\n";
  return out;
}

bool idempotent(const std::string& method) {
  return method == "GET" || method == "HEAD" || method == "OPTIONS" || method == "PUT" || method == "DELETE" || method == "TRACE";
}

struct Idle {
  std::unique_ptr<Stream> stream;
  TimePoint since;
};

}  // namespace

struct Client::Impl {
  ClientOptions options;
  std::mutex mutex;
  std::map<std::string, std::list<Idle>> idle;  // by scheme and authority
  uint64_t generation = 0;                      // of the TLS configuration

  // The freshest usable connection, moved to the caller's strand.
  std::unique_ptr<Stream> take(const std::string& key, const Executor& executor) {
    for (;;) {
      std::list<Idle> taken;  // destroyed without the mutex
      {
        std::scoped_lock lock(mutex);
        auto it = idle.find(key);
        if (it == idle.end() || it->second.empty()) return nullptr;
        taken.splice(taken.begin(), it->second, std::prev(it->second.end()));
      }
      Idle& entry = taken.front();
      if (Clock::now() - entry.since > options.idle_timeout || !entry.stream->quiet() || !entry.stream->move_to(executor)) continue;
      return std::move(entry.stream);
    }
  }

  void put(const std::string& key, uint64_t made_in, std::unique_ptr<Stream> stream) {
    stream->set_read_deadline(std::nullopt);
    stream->set_write_deadline(std::nullopt);
    std::list<Idle> dropped;
    std::scoped_lock lock(mutex);
    if (made_in != generation || options.idle_per_host == 0) {
      dropped.push_back({std::move(stream), {}});
      return;
    }
    TimePoint now = Clock::now();
    auto& list = idle[key];
    list.push_back({std::move(stream), now});
    while (list.size() > options.idle_per_host || now - list.front().since > options.idle_timeout)
      dropped.splice(dropped.end(), list, list.begin());
  }
};

namespace {

class ResponseImpl final : public ClientResponse {
 public:
  std::unique_ptr<Stream> stream_;
  ReadBuffer buffer_;
  Body body_;
  bool keep_alive_ = false;
  std::function<void(std::unique_ptr<Stream>)> give_back_;

  Task<Result<size_t>> read(std::span<char> into) override {
    if (body_.done()) {
      finish();
      co_return 0;
    }
    if (!stream_) co_return unavailable("the connection was given away");
    auto n = co_await body_.read(*stream_, buffer_, into);
    if (!n) {
      keep_alive_ = false;
    } else if (body_.done() && *n > 0 && body_.framing() == Body::Framing::length) {
      finish();
    } else if (*n == 0) {
      finish();
    }
    co_return n;
  }

  Task<Result<std::string>> body(size_t limit) override {
    std::string out;
    size_t used = 0;
    if (body_.framing() == Body::Framing::length && !body_.done()) {
      if (body_.left() > limit) co_return too_large(fmt::format("the response is larger than {} bytes", limit));
      out.resize(static_cast<size_t>(body_.left()));
    }
    for (;;) {
      if (used == out.size() && !body_.done()) out.resize(std::max<size_t>(4096, out.size() * 2));
      char none = 0;
      std::span<char> into = used < out.size() ? std::span<char>(out.data() + used, out.size() - used) : std::span<char>(&none, 1);
      auto n = co_await read(into);
      if (!n) co_return std::unexpected(std::move(n.error()));
      if (*n == 0) break;
      used += *n;
      if (used > limit) co_return too_large(fmt::format("the response is larger than {} bytes", limit));
    }
    out.resize(used);
    co_return out;
  }

  std::unique_ptr<Stream> take_stream() override {
    if (!stream_ || buffer_.empty()) return std::move(stream_);
    Stream& below = *stream_;
    std::string first(buffer_.view());
    buffer_.consume(first.size());
    return make_replay_stream(std::move(first), below, std::move(stream_));
  }

  Stream& stream() override { return *stream_; }

 private:
  void finish() {
    if (stream_ && keep_alive_ && give_back_ && buffer_.empty()) give_back_(std::move(stream_));
    else if (stream_ && !keep_alive_) stream_->close();
  }
};

// Reads a final response head. `nothing` says whether not even one byte came.
Task<Result<>> receive_head(ResponseImpl& response, bool head_method, bool connect, bool& nothing) {
  size_t scanned = 0;
  Stream& stream = *response.stream_;
  for (;;) {
    auto text = response.buffer_.view();
    CO_TRY(size_t length, find_head_end(text, scanned));
    if (length == 0) {
      if (text.size() > kMaxHeader) co_return unavailable("the response header is too large");
      auto n = co_await stream.read(response.buffer_.room(4096));
      if (!n) co_return std::unexpected(std::move(n.error()));
      if (*n == 0) co_return unavailable("the server closed the connection without an answer");
      nothing = false;
      response.buffer_.commit(*n);
      continue;
    }
    Head head;
    auto parsed = parse_response_head(text.substr(0, length), kMaxFields, head);
    if (!parsed) co_return unavailable(fmt::format("malformed response: {}", parsed.error().message));
    if (head.status < 200 && head.status != 101) {
      response.buffer_.consume(length);
      scanned = 0;
      continue;
    }
    response.status = head.status;
    for (auto& [name, value] : head.fields) response.headers.add(name, value);
    response.keep_alive_ = head.keep_alive;
    bool bodiless = head_method || head.status == 101 || head.status == 204 || head.status == 304 || (connect && head.status < 300);
    if (head.status == 101 || (connect && head.status < 300)) response.keep_alive_ = false;
    if (bodiless) {
      response.body_.start(Body::Framing::none);
    } else if (head.chunked) {
      response.body_.start(Body::Framing::chunked);
    } else if (head.content_length) {
      response.body_.start(Body::Framing::length, *head.content_length);
    } else {
      response.body_.start(Body::Framing::until_close);
      response.keep_alive_ = false;
    }
    response.buffer_.consume(length);
    co_return Result<>{};
  }
}

// Sends and receives the head. `sent` tells whether the write succeeded.
Task<Result<std::unique_ptr<ResponseImpl>>> exchange(std::unique_ptr<Stream> stream, std::string_view head, const ClientRequest& request,
                                                     TimePoint deadline, bool& sent, bool& nothing) {
  auto response = std::make_unique<ResponseImpl>();
  response->stream_ = std::move(stream);
  Stream& s = *response->stream_;
  s.set_read_deadline(deadline);
  s.set_write_deadline(deadline);
  std::string_view parts[] = {head, request.body};
  auto written = co_await s.write(std::span<const std::string_view>(parts));
  sent = written.has_value();
  // A server that refuses a large body early may have answered already: the answer is looked for even after a failed write.
  auto received = co_await receive_head(*response, request.method == "HEAD", request.method == "CONNECT", nothing);
  if (!received) co_return std::unexpected(written ? std::move(received.error()) : std::move(written.error()));
  if (!written) response->keep_alive_ = false;
  s.set_read_deadline(std::nullopt);
  s.set_write_deadline(std::nullopt);
  co_return response;
}

Task<Result<std::unique_ptr<Stream>>> open(std::shared_ptr<Client::Impl> impl, Url url, TimePoint deadline) {
  std::unique_ptr<Stream> stream;
  if (impl->options.dial) {
    auto dialed = co_await impl->options.dial(url.host, url.port);
    if (!dialed) co_return std::unexpected(std::move(dialed.error()));
    stream = std::move(*dialed);
  } else {
    auto connected = co_await connect_tcp(url.host, url.port, std::max<Duration>(deadline - Clock::now(), 1ms));
    if (!connected) co_return std::unexpected(std::move(connected.error()));
    stream = std::move(*connected);
  }
  if (!url.tls) co_return stream;
  TlsContextPtr context;
  {
    std::scoped_lock lock(impl->mutex);
    if (!impl->options.tls) {
      CO_TRY(impl->options.tls, make_client_context({.system_roots = true}));
    }
    context = impl->options.tls;
  }
  co_return co_await tls_connect(std::move(stream), std::move(context), url.host, std::max<Duration>(deadline - Clock::now(), 1ms));
}

Task<Result<std::unique_ptr<ClientResponse>>> send_request(std::shared_ptr<Client::Impl> impl, ClientRequest request) {
  CO_TRY(Url url, parse_url(request.url));
  if (url.host.empty()) co_return bad_request(fmt::format("\"{}\" is not an http or https URL", request.url));
  CO_TRY(std::string head, format_request(request, url, impl->options.user_agent));
  TimePoint deadline = Clock::now() + request.timeout;
  std::string key = fmt::format("{}//{}", url.tls ? "https:" : "http:", url.authority);
  Executor executor = co_await this_executor();
  uint64_t generation = 0;
  {
    std::scoped_lock lock(impl->mutex);
    generation = impl->generation;
  }
  std::unique_ptr<Stream> stream = impl->take(key, executor);
  for (bool reused = stream != nullptr;; reused = false) {
    if (!stream) {
      CO_TRY(stream, co_await open(impl, url, deadline));
    }
    bool sent = false, nothing = true;
    auto response = co_await exchange(std::move(stream), head, request, deadline, sent, nothing);
    if (response) {
      auto& r = **response;
      std::weak_ptr<Client::Impl> weak = impl;
      r.give_back_ = [weak, key, generation](std::unique_ptr<Stream> s) {
        if (auto pool = weak.lock()) pool->put(key, generation, std::move(s));
      };
      if (r.body_.done() && r.keep_alive_ && r.buffer_.empty()) {
        r.give_back_(std::move(r.stream_));
      }
      co_return std::unique_ptr<ClientResponse>(std::move(*response));
    }
    // A kept-alive connection may have died unnoticed: once more on a new one, unless the server may have acted already.
    bool again = reused && nothing && response.error().code != 504 && (!sent || idempotent(request.method));
    if (!again) co_return std::unexpected(std::move(response.error()));
    stream = nullptr;
  }
}

}  // namespace

Client::Client(ClientOptions options) : impl_(std::make_shared<Impl>()) { impl_->options = std::move(options); }
Client::~Client() = default;

Task<Result<std::unique_ptr<ClientResponse>>> Client::send(ClientRequest request) { return send_request(impl_, std::move(request)); }

void Client::set_tls(TlsContextPtr tls) {
  {
    std::scoped_lock lock(impl_->mutex);
    impl_->options.tls = std::move(tls);
    ++impl_->generation;
  }
  close_idle();
}

void Client::close_idle() {
  std::map<std::string, std::list<Idle>> dropped;
  std::scoped_lock lock(impl_->mutex);
  dropped.swap(impl_->idle);
}

Task<Result<std::unique_ptr<ClientResponse>>> send_on(std::unique_ptr<Stream> stream, ClientRequest request) {
  CO_TRY(Url url, parse_url(request.url));
  CO_TRY(std::string head, format_request(request, url, "appliance"));
  bool sent = false, nothing = true;
  auto response = co_await exchange(std::move(stream), head, request, Clock::now() + request.timeout, sent, nothing);
  if (!response) co_return std::unexpected(std::move(response.error()));
  co_return std::unique_ptr<ClientResponse>(std::move(*response));
}

}  // namespace base::http
