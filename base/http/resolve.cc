// A stub resolver (RFC 1035, RFC 1034 part 5.3.1): what a static executable has instead of the C library's name service.
#include <arpa/inet.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>

#include <fmt/format.h>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "base/bytes.h"
#include "base/http/socket_stream.h"
#include "base/http/wire.h"

namespace base::http {
namespace asio = boost::asio;

namespace {

constexpr uint16_t kTypeA = 1, kTypeAaaa = 28;

struct Configuration {
  std::vector<std::string> servers, search;
  unsigned ndots = 1, attempts = 2;
  Duration timeout = 5s;
};

std::vector<std::string_view> words(std::string_view line) {
  std::vector<std::string_view> out;
  size_t at = 0;
  while ((at = line.find_first_not_of(" \t\r", at)) != std::string_view::npos) {
    size_t end = std::min(line.find_first_of(" \t\r", at), line.size());
    if (line[at] == '#' || line[at] == ';') break;
    out.push_back(line.substr(at, end - at));
    at = end;
  }
  return out;
}

template <class F>
void each_line(std::string_view text, F f) {
  while (!text.empty()) {
    size_t end = text.find('\n');
    f(words(text.substr(0, end)));
    if (end == std::string_view::npos) return;
    text.remove_prefix(end + 1);
  }
}

Configuration read_configuration() {
  Configuration c;
  auto text = read_file("/etc/resolv.conf", 64 * 1024);
  if (text) {
    each_line(*text, [&](const std::vector<std::string_view>& w) {
      if (w.size() < 2) return;
      if (w[0] == "nameserver" && c.servers.size() < 3) c.servers.emplace_back(w[1]);
      if (w[0] == "search" || w[0] == "domain") c.search.assign(w.begin() + 1, w.end());
      if (w[0] != "options") return;
      for (std::string_view o : w) {
        auto number = [&](std::string_view name, unsigned limit) -> unsigned {
          if (o.substr(0, name.size()) != name) return 0;
          unsigned n = 0;
          for (char d : o.substr(name.size())) n = d >= '0' && d <= '9' ? std::min(n * 10 + static_cast<unsigned>(d - '0'), limit) : n;
          return n;
        };
        if (unsigned n = number("ndots:", 15)) c.ndots = n;
        if (unsigned n = number("attempts:", 5)) c.attempts = n;
        if (unsigned n = number("timeout:", 30)) c.timeout = std::chrono::seconds(n);
      }
    });
  }
  if (c.servers.empty()) c.servers.push_back("127.0.0.1");
  return c;
}

std::vector<std::string> from_hosts_file(const std::string& host) {
  // IPv4 first: the clusters this speaks to have IPv4 by default.
  std::vector<std::string> out, v6;
  auto text = read_file("/etc/hosts", 4u << 20);
  if (text) {
    each_line(*text, [&](const std::vector<std::string_view>& w) {
      for (size_t i = 1; i < w.size(); ++i) {
        std::string ip(w[0]);
        if (equal_ignoring_case(w[i], host) && parse_address(ip, 0)) (ip.find(':') == std::string::npos ? out : v6).push_back(ip);
      }
    });
  }
  out.insert(out.end(), v6.begin(), v6.end());
  if (out.empty() && equal_ignoring_case(host, "localhost")) out = {"127.0.0.1", "::1"};
  return out;
}

void put16(std::string& out, unsigned v) {
  out += static_cast<char>(v >> 8);
  out += static_cast<char>(v & 0xff);
}

Result<std::string> make_query(uint16_t id, std::string_view name, uint16_t type) {
  std::string q;
  put16(q, id);
  put16(q, 0x0100);  // recursion desired
  put16(q, 1);
  q.append(6, '\0');
  while (!name.empty()) {
    size_t dot = std::min(name.find('.'), name.size());
    if (dot == 0 || dot > 63) return bad_request("malformed host name");
    q += static_cast<char>(dot);
    q.append(name.substr(0, dot));
    name.remove_prefix(std::min(dot + 1, name.size()));
  }
  q += '\0';
  if (q.size() > 12 + 255) return bad_request("host name too long");
  put16(q, type);
  put16(q, 1);
  return q;
}

struct Answer {
  enum class Kind { ignore, truncated, failed, absent, found } kind = Kind::ignore;
  std::vector<std::string> addresses;
};

// Everything is bounds-checked; names in the answer are skipped, never followed: the server resolves aliases for us.
Answer parse_answer(std::string_view m, const std::string& query) {
  auto u8 = [&](size_t i) { return static_cast<unsigned>(static_cast<unsigned char>(m[i])); };
  auto u16 = [&](size_t i) { return u8(i) << 8 | u8(i + 1); };
  Answer out;
  if (m.size() < query.size() || m.substr(0, 2) != std::string_view(query).substr(0, 2)) return out;
  if ((u8(2) & 0x80) == 0 || u16(4) != 1) return out;
  if (!equal_ignoring_case(m.substr(12, query.size() - 12), std::string_view(query).substr(12))) return out;
  if (u8(2) & 0x02) {
    out.kind = Answer::Kind::truncated;
    return out;
  }
  unsigned rcode = u8(3) & 0x0f;
  if (rcode != 0) {
    out.kind = rcode == 3 ? Answer::Kind::absent : Answer::Kind::failed;
    return out;
  }
  unsigned type = (static_cast<unsigned char>(query[query.size() - 4]) << 8 | static_cast<unsigned char>(query[query.size() - 3])) & 0xffff;
  out.kind = Answer::Kind::failed;
  size_t at = query.size();
  for (unsigned i = 0, count = std::min(u16(6), 256u); i < count; ++i) {
    for (;;) {
      if (at >= m.size()) return out;
      unsigned length = u8(at);
      if (length >= 0xc0) {
        at += 2;
        break;
      }
      if (length > 63) return out;
      at += length + 1;
      if (length == 0) break;
    }
    if (at + 10 > m.size()) return out;
    unsigned record = u16(at), size = u16(at + 8);
    at += 10;
    if (at + size > m.size()) return out;
    char text[INET6_ADDRSTRLEN] = {};
    if (record == type && ((type == kTypeA && size == 4) || (type == kTypeAaaa && size == 16))) {
      ::inet_ntop(type == kTypeA ? AF_INET : AF_INET6, m.data() + at, text, sizeof text);
      out.addresses.emplace_back(text);
    }
    at += size;
  }
  out.kind = out.addresses.empty() ? Answer::Kind::absent : Answer::Kind::found;
  return out;
}

struct UdpSocket {
  asio::posix::stream_descriptor fd;
  asio::steady_timer timer;
  bool expired = false;
  UdpSocket(const Executor& e, int native) : fd(e, native), timer(e) {}
};

Task<Answer> ask_tcp(std::string server, std::string query, Duration limit) {
  Answer failed{Answer::Kind::failed, {}};
  auto stream = co_await connect_tcp(server, 53, limit);
  if (!stream) co_return failed;
  (*stream)->set_read_deadline(Clock::now() + limit);
  std::string framed;
  put16(framed, static_cast<unsigned>(query.size()));
  framed += query;
  auto written = co_await (*stream)->write(framed);
  if (!written) co_return failed;
  std::string in;
  char buffer[4096];
  for (;;) {
    if (in.size() >= 2) {
      size_t want = static_cast<size_t>(static_cast<unsigned char>(in[0]) << 8 | static_cast<unsigned char>(in[1]));
      if (in.size() >= want + 2) co_return parse_answer(std::string_view(in).substr(2, want), query);
    }
    auto n = co_await (*stream)->read(buffer);
    if (!n || *n == 0) co_return failed;
    in.append(buffer, *n);
  }
}

// Asks one server for A and AAAA at once, over one connected socket: its random port and the random ids guard the answer.
Task<Answer> ask(std::string server, std::string name, Duration limit) {
  Answer failed{Answer::Kind::failed, {}};
  auto address = parse_address(server, 53);
  if (!address) co_return failed;
  std::string ids = random_bytes(4);
  uint16_t id[2];
  std::memcpy(id, ids.data(), 4);
  if (id[0] == id[1]) ++id[1];
  std::array<std::string, 2> queries;
  for (size_t i = 0; i < 2; ++i) {
    auto q = make_query(id[i], name, i == 0 ? kTypeA : kTypeAaaa);
    if (!q) co_return Answer{Answer::Kind::absent, {}};
    queries[i] = std::move(*q);
  }
  Fd fd(::socket(address->storage.ss_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd || ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address->storage), address->length) != 0) co_return failed;
  for (auto& q : queries) {
    if (::send(fd.get(), q.data(), q.size(), MSG_NOSIGNAL) < 0) co_return failed;
  }
  Executor executor = co_await asio::this_coro::executor;
  auto socket = std::make_shared<UdpSocket>(executor, fd.release());
  socket->timer.expires_after(limit);
  socket->timer.async_wait([weak = std::weak_ptr(socket)](const boost::system::error_code& ec) {
    auto s = weak.lock();
    if (ec || !s) return;
    s->expired = true;
    boost::system::error_code ignored;
    s->fd.cancel(ignored);
  });
  std::array<std::optional<Answer>, 2> answers;
  char buffer[4096];
  while (!answers[0] || !answers[1]) {
    ssize_t n = ::recv(socket->fd.native_handle(), buffer, sizeof buffer, MSG_DONTWAIT);
    if (n < 0 && errno != EAGAIN && errno != EINTR) break;
    if (n < 0) {
      boost::system::error_code ec;
      co_await socket->fd.async_wait(asio::posix::descriptor_base::wait_read, asio::redirect_error(asio::use_awaitable, ec));
      if (ec) break;
      continue;
    }
    for (size_t i = 0; i < 2; ++i) {
      if (answers[i]) continue;
      Answer a = parse_answer(std::string_view(buffer, static_cast<size_t>(n)), queries[i]);
      if (a.kind == Answer::Kind::truncated) a = co_await ask_tcp(server, queries[i], limit);
      if (a.kind != Answer::Kind::ignore) answers[i] = std::move(a);
    }
  }
  socket->timer.cancel();
  Answer out = failed;
  for (auto& a : answers) {
    if (!a) continue;
    if (a->kind == Answer::Kind::found) {
      out.kind = Answer::Kind::found;
      out.addresses.insert(out.addresses.end(), a->addresses.begin(), a->addresses.end());
    } else if (a->kind == Answer::Kind::absent && out.kind == Answer::Kind::failed) {
      out.kind = Answer::Kind::absent;
    }
  }
  co_return out;
}

}  // namespace

Task<Result<std::vector<std::string>>> resolve(std::string host) {
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  if (parse_address(host, 0)) co_return std::vector{host};
  if (host.empty() || host.size() > 253) co_return bad_request(fmt::format("\"{}\" is not a host name", host));
  auto local = from_hosts_file(host);
  if (!local.empty()) co_return local;

  Configuration c = read_configuration();
  std::vector<std::string> names;
  bool absolute = host.back() == '.';
  if (absolute) host.pop_back();
  bool dotted = static_cast<size_t>(std::count(host.begin(), host.end(), '.')) >= c.ndots;
  if (absolute || dotted) names.push_back(host);
  if (!absolute) {
    for (auto& suffix : c.search) {
      std::string_view s = suffix;
      while (!s.empty() && s.back() == '.') s.remove_suffix(1);
      if (!s.empty()) names.push_back(fmt::format("{}.{}", host, s));
    }
    if (!dotted) names.push_back(host);
  }
  bool answered = false;
  for (auto& name : names) {
    bool next_name = false;
    for (unsigned attempt = 0; attempt < c.attempts && !next_name; ++attempt) {
      for (auto& server : c.servers) {
        Answer a = co_await ask(server, name, c.timeout);
        if (a.kind == Answer::Kind::found) co_return std::move(a.addresses);
        if (a.kind == Answer::Kind::absent) {
          answered = next_name = true;
          break;
        }
      }
    }
  }
  if (answered) co_return fail(503, "ServiceUnavailable", fmt::format("lookup {}: no such host", host));
  co_return unavailable(fmt::format("lookup {}: no name server answered", host));
}

}  // namespace base::http
