// HTTP/2 with a real client session (libnghttp2's other side), and with frames no honest client would send.
#include <catch2/catch.hpp>

#include <map>

#include <nghttp2/nghttp2.h>

#include "base/http/connection.h"
#include "exchange.h"
#include "pem.h"

using namespace test;

namespace {

struct Answer {
  std::map<std::string, std::string> fields;
  std::string body;
  bool whole = false;    // its last frame has come; the request may go on
  bool ended = false;    // both ways
  uint32_t reset = 0;    // code, when closed by a reset
  bool stopped = false;  // a reset has come
  int informational = 0;
};

// One connection to a server with this handler. What the session has to say is sent by step(), which also takes in what has come.
class Peer {
 public:
  Peer(Runtime& rt, Handler h, Limits limits = {}, uint32_t window = 65535, bool deaf = false) : handler(std::move(h)), tasks(rt) {
    auto [a, b] = make_stream_pair(rt.strand(), rt.strand());
    ours = std::move(a);
    server = make_http2_connection(std::move(b), handler, limits);
    strand = rt.strand();
    tasks.spawn("server", strand, server->serve());
    nghttp2_session_callbacks* k = nullptr;
    nghttp2_session_callbacks_new(&k);
    nghttp2_session_callbacks_set_on_header_callback(
        k, [](nghttp2_session*, const nghttp2_frame* f, const uint8_t* n, size_t nl, const uint8_t* v, size_t vl, uint8_t, void* u) {
          std::string name(reinterpret_cast<const char*>(n), nl), value(reinterpret_cast<const char*>(v), vl);
          Answer& answer = static_cast<Peer*>(u)->answers[f->hd.stream_id];
          if (name == ":status" && value[0] == '1') ++answer.informational;
          else answer.fields[name] = value;
          return 0;
        });
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(
        k, [](nghttp2_session*, uint8_t, int32_t id, const uint8_t* d, size_t n, void* u) {
          static_cast<Peer*>(u)->answers[id].body.append(reinterpret_cast<const char*>(d), n);
          return 0;
        });
    nghttp2_session_callbacks_set_on_stream_close_callback(k, [](nghttp2_session*, int32_t id, uint32_t code, void* u) {
      static_cast<Peer*>(u)->answers[id].ended = true;
      static_cast<Peer*>(u)->answers[id].reset = code;
      return 0;
    });
    nghttp2_session_callbacks_set_on_frame_recv_callback(k, [](nghttp2_session*, const nghttp2_frame* f, void* u) {
      Peer& p = *static_cast<Peer*>(u);
      if (f->hd.type == NGHTTP2_GOAWAY) {
        p.goaway = static_cast<int>(f->goaway.error_code);
        p.last_served = f->goaway.last_stream_id;
      }
      if (f->hd.type == NGHTTP2_RST_STREAM) p.answers[f->hd.stream_id].stopped = true;
      if ((f->hd.type == NGHTTP2_HEADERS || f->hd.type == NGHTTP2_DATA) && (f->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0)
        p.answers[f->hd.stream_id].whole = true;
      return 0;
    });
    nghttp2_option* o = nullptr;
    nghttp2_option_new(&o);
    if (deaf) nghttp2_option_set_no_auto_window_update(o, 1);
    nghttp2_session_client_new2(&session, k, this, o);
    nghttp2_option_del(o);
    nghttp2_session_callbacks_del(k);
    nghttp2_settings_entry s{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, window};
    nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, &s, 1);
  }
  ~Peer() { nghttp2_session_del(session); }

  int32_t ask(std::string method, std::string path, std::vector<std::pair<std::string, std::string>> more = {},
              std::optional<std::string> with_body = {}, bool whole_body = true) {
    std::vector<std::pair<std::string, std::string>> all = {
        {":method", method}, {":path", path}, {":scheme", "https"}, {":authority", "host.test"}};
    all.insert(all.end(), more.begin(), more.end());
    std::vector<nghttp2_nv> nv;
    for (auto& [n, v] : all)
      nv.push_back({reinterpret_cast<uint8_t*>(n.data()), reinterpret_cast<uint8_t*>(v.data()), n.size(), v.size(), NGHTTP2_NV_FLAG_NONE});
    nghttp2_data_provider p{};
    if (with_body) {
      bodies.push_back(std::make_unique<Upload>(std::move(*with_body), whole_body));
      p.source.ptr = bodies.back().get();
      p.read_callback = [](nghttp2_session*, int32_t, uint8_t* into, size_t room, uint32_t* flags, nghttp2_data_source* s,
                           void*) -> ssize_t {
        auto& [left, last] = *static_cast<Upload*>(s->ptr);
        if (left.empty() && !last) return NGHTTP2_ERR_DEFERRED;
        size_t n = std::min(room, left.size());
        std::copy_n(left.data(), n, into);
        left.erase(0, n);
        if (left.empty() && last) *flags |= NGHTTP2_DATA_FLAG_EOF;
        return static_cast<ssize_t>(n);
      };
    }
    return nghttp2_submit_request(session, nullptr, nv.data(), nv.size(), with_body ? &p : nullptr, nullptr);
  }

  // The rest of the body of the last request.
  void finish_body(int32_t id, std::string rest) {
    *bodies.back() = {std::move(rest), true};
    nghttp2_session_resume_data(session, id);
  }

  Task<bool> flush() {
    for (;;) {
      const uint8_t* data = nullptr;
      ssize_t n = nghttp2_session_mem_send(session, &data);
      if (n <= 0) co_return n == 0;
      auto sent = co_await ours->write(std::string_view(reinterpret_cast<const char*>(data), static_cast<size_t>(n)));
      if (!sent) co_return false;
    }
  }

  // False when the connection has ended.
  Task<bool> step(Duration patience = 5s) {
    bool sent = co_await flush();
    if (!sent) co_return false;
    std::string buffer(32768, '\0');
    ours->set_read_deadline(Clock::now() + patience);
    auto n = co_await ours->read(buffer);
    if (!n || *n == 0) co_return false;
    co_return nghttp2_session_mem_recv(session, reinterpret_cast<const uint8_t*>(buffer.data()), *n) >= 0;
  }

  Task<> until_ended(int32_t id) {
    for (;;) {
      bool goes_on = co_await flush();  // which may end it
      if (answers[id].ended || !goes_on) co_return;
      goes_on = co_await step();
      if (!goes_on) co_return;
    }
  }

  Task<> until_closed() {
    for (;;) {
      bool goes_on = co_await step();
      if (!goes_on) co_return;
    }
  }

  // Only listens.
  Task<> until_goaway() {
    std::string buffer(32768, '\0');
    ours->set_read_deadline(Clock::now() + 10s);
    while (goaway < 0) {
      auto n = co_await ours->read(buffer);
      ended = n ? *n == 0 : n.error().code != 504;
      if (!n || *n == 0) co_return;
      nghttp2_session_mem_recv(session, reinterpret_cast<const uint8_t*>(buffer.data()), *n);
    }
  }

  // Raw bytes after our preface and settings.
  Task<> send_raw(std::string bytes) {
    co_await flush();
    co_await ours->write(bytes);
  }

  Handler handler;
  std::shared_ptr<Connection> server;
  Executor strand;
  Tasks tasks;
  std::unique_ptr<Stream> ours;
  nghttp2_session* session = nullptr;
  std::map<int32_t, Answer> answers;
  struct Upload {
    std::string left;
    bool last;
  };
  std::vector<std::unique_ptr<Upload>> bodies;
  int goaway = -1;
  int32_t last_served = -1;
  bool ended = false;
};

std::string frame(uint8_t type, uint8_t flags, uint32_t stream, std::string_view payload) {
  std::string out;
  for (int shift : {16, 8, 0}) out += static_cast<char>(payload.size() >> shift);
  out += static_cast<char>(type);
  out += static_cast<char>(flags);
  for (int shift : {24, 16, 8, 0}) out += static_cast<char>(stream >> shift);
  return out + std::string(payload);
}

// HPACK without compression.
std::string literal(std::string_view name, std::string_view value) {
  return std::string(1, '\0') + static_cast<char>(name.size()) + std::string(name) + static_cast<char>(value.size()) + std::string(value);
}
std::string request_block() {
  return literal(":method", "GET") + literal(":path", "/") + literal(":scheme", "https") + literal(":authority", "x");
}

template <class F>
void with_peer(F f, Handler handler, Limits limits = {}, uint32_t window = 65535, bool deaf = false) {
  Runtime runtime(2);
  auto run = [](Runtime& rt, F& body, Handler h, Limits l, uint32_t w, bool d) -> Task<> {
    Peer peer(rt, std::move(h), l, w, d);
    co_await body(peer);
    peer.ours->close();
    co_await peer.tasks.stop();
  };
  run_to_end(runtime, run(runtime, f, std::move(handler), limits, window, deaf));
}

Task<> echo(Request& q, Response& r) {
  auto body = co_await q.body(200000);
  if (!body) {
    r.status = body.error().code;
    co_await r.send(body.error().message);
    co_return;
  }
  r.headers.set("X-Path", q.path);
  r.headers.set("X-Host", q.headers.get("Host"));
  r.headers.set("Connection", "keep-alive");
  std::string_view parts[] = {q.method, " ", *body};
  co_await r.send(std::span<const std::string_view>(parts));
}

}  // namespace

TEST_CASE("HTTP/2 requests of one connection are answered, each with its own body and fields") {
  with_peer(
      [](Peer& p) -> Task<> {
        int32_t a = p.ask("GET", "/a?b=c"), b = p.ask("POST", "/b", {}, std::string(150000, 'x')), c = p.ask("HEAD", "/c");
        int32_t d = p.ask("PUT", "/d", {{"content-length", "3"}}, "abc");
        for (int32_t id : {a, b, c, d}) co_await p.until_ended(id);
        CHECK(p.answers[a].fields[":status"] == "200");
        CHECK(p.answers[a].fields["x-path"] == "/a");
        CHECK(p.answers[a].fields["x-host"] == "host.test");
        CHECK(p.answers[a].fields["content-length"] == "4");
        CHECK(p.answers[a].fields.contains("date"));
        CHECK_FALSE(p.answers[a].fields.contains("connection"));
        CHECK(p.answers[a].body == "GET ");
        CHECK(p.answers[b].body == "POST " + std::string(150000, 'x'));
        CHECK(p.answers[c].fields["content-length"] == "5");
        CHECK(p.answers[c].body.empty());
        CHECK(p.answers[d].body == "PUT abc");
      },
      echo);
}

TEST_CASE("an HTTP/2 body past the limit is 413, before it is sent when its length is told") {
  with_peer(
      [](Peer& p) -> Task<> {
        int32_t told = p.ask("POST", "/", {{"content-length", "300000"}, {"expect", "100-continue"}}, std::string(300000, 'x'));
        co_await p.until_ended(told);
        CHECK(p.answers[told].fields[":status"] == "413");
        CHECK(p.answers[told].informational == 0);
        CHECK(p.answers[told].reset == NGHTTP2_NO_ERROR);
        int32_t untold = p.ask("POST", "/", {}, std::string(300000, 'x'));
        co_await p.until_ended(untold);
        CHECK(p.answers[untold].fields[":status"] == "413");
        int32_t fits = p.ask("POST", "/", {{"expect", "100-continue"}}, std::string(1000, 'x'));
        co_await p.until_ended(fits);
        CHECK(p.answers[fits].fields[":status"] == "200");
      },
      echo);
}

TEST_CASE("an HTTP/2 response before the end of its request is read before anything resets the stream") {
  auto at_once = [](Request& q, Response& r) -> Task<> {
    r.status = 504;
    if (q.path == "/streamed") {
      co_await r.begin();
      co_await r.write("too late");
      co_await r.end();
    } else {
      co_await r.send("too late");
    }
  };
  for (std::string path : {"/whole", "/streamed"}) {
    with_peer(
        [&](Peer& p) -> Task<> {
          const std::string part(100000, 'x');
          int32_t id = p.ask("POST", path, {}, part, false);
          while (!p.answers[id].whole) {
            bool goes_on = co_await p.step();
            REQUIRE(goes_on);
          }
          CHECK(p.answers[id].fields[":status"] == "504");
          CHECK(p.answers[id].body == "too late");
          // Another request passes meanwhile, and nothing has come that would make a client forget the answer.
          int32_t other = p.ask("GET", path);
          co_await p.until_ended(other);
          CHECK_FALSE(p.answers[id].stopped);
          p.finish_body(id, part);
          co_await p.until_ended(id);
          CHECK(p.answers[id].ended);
          CHECK_FALSE(p.answers[id].stopped);
          // Who goes on for long is asked to stop, without error.
          int32_t endless = p.ask("POST", path, {}, std::string(2 << 20, 'x'), false);
          co_await p.until_ended(endless);
          CHECK(p.answers[endless].whole);
          CHECK(p.answers[endless].stopped);
          CHECK(p.answers[endless].reset == NGHTTP2_NO_ERROR);
          int32_t after = p.ask("GET", path);
          co_await p.until_ended(after);
          CHECK(p.answers[after].body == "too late");
        },
        at_once);
  }
}

TEST_CASE("a server that stops does not wait for an HTTP/2 upload it has answered") {
  with_peer(
      [](Peer& p) -> Task<> {
        int32_t id = p.ask("POST", "/", {}, "begun", false);
        while (!p.answers[id].whole) {
          bool goes_on = co_await p.step();
          REQUIRE(goes_on);
        }
        auto begin = Clock::now();
        post(p.strand, [server = p.server] { server->finish(); });
        co_await p.until_closed();
        CHECK(p.answers[id].stopped);
        CHECK(p.answers[id].reset == NGHTTP2_NO_ERROR);
        CHECK(p.goaway == NGHTTP2_NO_ERROR);
        CHECK(Clock::now() - begin < 4s);
      },
      [](Request&, Response& r) -> Task<> { co_await r.send("ok"); });
}

TEST_CASE("an HTTP/2 watch streams while other requests pass, and ends when the client resets it") {
  struct Shared {
    Event more;
    int sent = 0, ended = 0;
  };
  auto shared = std::make_shared<Shared>();
  auto handler = [shared](Request& q, Response& r) -> Task<> {
    if (q.path != "/watch") co_return co_await echo(q, r);
    co_await r.begin();
    auto pump = [](Response& out, std::shared_ptr<Shared> s) -> Task<> {
      for (;;) {
        uint64_t seen = s->more.version();
        std::string text = "event " + std::to_string(s->sent++) + "\n";
        auto written = co_await out.write(text);
        if (!written) co_return;
        co_await s->more.wait(seen);
      }
    };
    co_await race(pump(r, shared), r.client_gone());
    ++shared->ended;
  };
  with_peer(
      [shared](Peer& p) -> Task<> {
        int32_t w = p.ask("GET", "/watch");
        while (p.answers[w].body != "event 0\n") {
          bool goes_on = co_await p.step();
          REQUIRE(goes_on);
        }
        int32_t other = p.ask("GET", "/other");
        co_await p.until_ended(other);
        CHECK(p.answers[other].body == "GET ");
        shared->more.notify();
        while (p.answers[w].body != "event 0\nevent 1\n") {
          bool goes_on = co_await p.step();
          REQUIRE(goes_on);
        }
        nghttp2_submit_rst_stream(p.session, NGHTTP2_FLAG_NONE, w, NGHTTP2_CANCEL);
        int32_t after = p.ask("GET", "/after");
        co_await p.until_ended(after);
        CHECK(p.answers[after].body == "GET ");
        while (shared->ended == 0) co_await sleep_for(1ms);
      },
      handler);
}

TEST_CASE("an HTTP/2 client that opens no window is given up, and holds nothing but what the handler wrote") {
  auto result = std::make_shared<int>(0);
  auto writes = std::make_shared<int>(0);
  auto handler = [=](Request&, Response& r) -> Task<> {
    co_await r.begin();
    std::string block(10000, 'x');
    for (;;) {
      auto written = co_await r.write(block);
      if (!written) {
        *result = written.error().code;
        co_return;
      }
      ++*writes;
    }
  };
  Limits quick;
  quick.write_timeout = 30ms;
  with_peer(
      [=](Peer& p) -> Task<> {
        int32_t id = p.ask("GET", "/");
        co_await p.until_ended(id);
        CHECK(p.answers[id].reset == NGHTTP2_CANCEL);
        CHECK(p.answers[id].body.size() == 25000);
        CHECK(*result == 504);
        CHECK(*writes == 2);
      },
      handler, quick, 25000, true);
}

TEST_CASE("an HTTP/2 response of many parts arrives whole through small windows") {
  std::string whole;
  for (int i = 0; i < 3000; ++i) whole += "part " + std::to_string(i) + std::string(static_cast<size_t>(i % 97), '.');
  auto handler = [&whole](Request&, Response& r) -> Task<> {
    std::vector<std::string_view> parts;
    for (size_t at = 0; at < whole.size(); at += 37) parts.push_back(std::string_view(whole).substr(at, 37));
    co_await r.send(parts);
  };
  for (uint32_t window : {300u, 65535u, 1u << 20}) {
    with_peer(
        [&](Peer& p) -> Task<> {
          int32_t id = p.ask("GET", "/");
          co_await p.until_ended(id);
          CHECK((p.answers[id].body == whole));
        },
        handler, {}, window);
  }
}

TEST_CASE("an exception or silence of an HTTP/2 handler is a 500, and a broken stream is reset") {
  auto handler = [](Request& q, Response& r) -> Task<> {
    if (q.path == "/begun") {
      co_await r.begin();
      co_await r.write("half");
    }
    if (q.path != "/silent") throw std::runtime_error("expected by the test");
  };
  with_peer(
      [](Peer& p) -> Task<> {
        int32_t a = p.ask("GET", "/throws"), b = p.ask("GET", "/silent"), c = p.ask("GET", "/begun");
        for (int32_t id : {a, b, c}) co_await p.until_ended(id);
        CHECK(p.answers[a].fields[":status"] == "500");
        CHECK(p.answers[b].fields[":status"] == "500");
        CHECK(p.answers[c].body == "half");
        CHECK(p.answers[c].reset == NGHTTP2_INTERNAL_ERROR);
      },
      handler);
}

TEST_CASE("malformed HTTP/2 requests are refused") {
  Limits narrow;
  narrow.header_bytes = 1000;
  narrow.headers = 20;
  with_peer(
      [](Peer& p) -> Task<> {
        int32_t connect = p.ask("CONNECT", "/");
        int32_t differs = p.ask("GET", "/", {{"host", "other.test"}});
        int32_t expects = p.ask("GET", "/", {{"expect", "miracles"}});
        int32_t large = p.ask("GET", "/", {{"x", std::string(900, 'y')}});
        std::vector<std::pair<std::string, std::string>> many(25, {"x", "y"});
        int32_t numerous = p.ask("GET", "/", many);
        for (int32_t id : {connect, differs, expects, large, numerous}) co_await p.until_ended(id);
        CHECK(p.answers[connect].reset != NGHTTP2_NO_ERROR);
        CHECK(p.answers[differs].fields[":status"] == "400");
        CHECK(p.answers[expects].fields[":status"] == "417");
        CHECK(p.answers[large].fields[":status"] == "431");
        CHECK(p.answers[numerous].fields[":status"] == "431");
        int32_t fits = p.ask("GET", "/"), spaced = p.ask("GET", "/", {{"user-agent", " some program "}});
        for (int32_t id : {fits, spaced}) co_await p.until_ended(id);
        CHECK(p.answers[fits].fields[":status"] == "200");
        CHECK(p.answers[spaced].fields[":status"] == "200");
      },
      echo, narrow);
}

TEST_CASE("finishing an HTTP/2 connection says so, lets requests end and takes no more") {
  auto go = std::make_shared<Event>();
  auto handled = std::make_shared<std::atomic<int>>(0);
  auto handler = [go, handled](Request&, Response& r) -> Task<> {
    ++*handled;
    uint64_t seen = go->version();
    co_await r.begin();
    co_await r.write("begun ");
    co_await go->wait(seen);
    co_await r.write("done");
  };
  with_peer(
      [go, handled](Peer& p) -> Task<> {
        int32_t id = p.ask("GET", "/");
        while (p.answers[id].body.empty()) {
          bool goes_on = co_await p.step();
          REQUIRE(goes_on);
        }
        post(p.strand, [server = p.server] { server->finish(); });
        while (p.goaway < 0) {
          bool goes_on = co_await p.step();
          REQUIRE(goes_on);
        }
        CHECK(p.goaway == NGHTTP2_NO_ERROR);
        CHECK(p.last_served == id);  // what comes after it may be asked elsewhere
        co_await p.ours->write(frame(1, 5, static_cast<uint32_t>(id) + 2, request_block()));
        go->notify();
        co_await p.until_closed();
        CHECK(p.answers[id].ended);
        CHECK(p.answers[id].body == "begun done");
        CHECK_FALSE(p.answers.contains(id + 2));
        CHECK(*handled == 1);
      },
      handler);
}

TEST_CASE("rapid resets, pings and empty frames end an HTTP/2 connection") {
  auto handlers = std::make_shared<std::atomic<int>>(0);
  auto most = std::make_shared<std::atomic<int>>(0);
  auto slow = [=](Request&, Response& r) -> Task<> {
    int now = ++*handlers;
    if (now > *most) *most = now;
    co_await sleep_for(20ms);
    --*handlers;
    co_await r.send("late");
  };
  auto attack = [&](std::string what, std::function<std::string(uint32_t)> bytes) {
    INFO(what);
    with_peer(
        [&](Peer& p) -> Task<> {
          // Sent on the side: the server may stop reading.
          p.tasks.spawn("attack", [](Peer& peer, std::function<std::string(uint32_t)> make) -> Task<> {
            co_await peer.flush();
            for (uint32_t i = 0; i < 6000; ++i) {
              auto sent = co_await peer.ours->write(make(2 * i + 1));
              if (!sent) co_return;
            }
          }(p, bytes));
          co_await p.until_goaway();
          CHECK((p.goaway == NGHTTP2_ENHANCE_YOUR_CALM || p.ended));
        },
        slow);
  };
  std::string cancel("\0\0\0\x08", 4), most_of_all("\x7f\xff\xff\xff", 4);
  attack("the client resets at once", [=](uint32_t id) { return frame(1, 5, id, request_block()) + frame(3, 0, id, cancel); });
  CHECK(*most <= 200);
  attack("the client makes the server reset", [=](uint32_t id) { return frame(1, 5, id, request_block()) + frame(8, 0, id, most_of_all); });
  attack("pings", [=](uint32_t) { return frame(6, 0, 0, "12345678"); });
  attack("settings", [=](uint32_t) { return frame(4, 0, 0, ""); });
  attack("empty data", [=](uint32_t id) { return id == 1 ? frame(1, 4, 1, request_block()) : frame(0, 0, 1, ""); });
}

TEST_CASE("endless headers, garbage and silence end an HTTP/2 connection") {
  Limits quick;
  quick.header_timeout = 50ms;
  quick.idle_timeout = 50ms;
  auto closes = [&](std::string what, std::string bytes, int code) {
    INFO(what);
    with_peer(
        [&](Peer& p) -> Task<> {
          co_await p.send_raw(bytes);
          co_await p.until_goaway();
          CHECK(p.goaway == code);
        },
        echo, quick);
  };
  std::string continuations = frame(1, 1, 1, request_block());
  for (int i = 0; i < 100; ++i) continuations += frame(9, 0, 1, literal("x", std::string(100, 'y')));
  closes("CONTINUATION without end", continuations, -1);
  closes("half a header", frame(1, 1, 1, request_block()), NGHTTP2_ENHANCE_YOUR_CALM);
  closes("a frame longer than allowed", frame(0, 0, 1, std::string(20000, 'x')), NGHTTP2_FRAME_SIZE_ERROR);
  closes("data for a stream that never was", frame(0, 0, 1, "x"), NGHTTP2_PROTOCOL_ERROR);
  closes("a header block that does not decode", frame(1, 5, 1, "\xff\xff\xff\xff\xff\xff"), NGHTTP2_COMPRESSION_ERROR);
  closes("silence", "", NGHTTP2_NO_ERROR);
  CHECK(serve("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", echo).starts_with("HTTP/1.1 505 "));
}

TEST_CASE("no more than the announced number of HTTP/2 requests run at a time") {
  Limits few;
  few.streams = 3;
  auto running = std::make_shared<std::atomic<int>>(0);
  auto most = std::make_shared<std::atomic<int>>(0);
  auto handler = [=](Request&, Response& r) -> Task<> {
    int now = ++*running;
    if (now > *most) *most = now;
    co_await sleep_for(2ms);
    --*running;
    co_await r.send("ok");
  };
  with_peer(
      [=](Peer& p) -> Task<> {
        bool goes_on = co_await p.step();  // the limit is known
        REQUIRE(goes_on);
        std::vector<int32_t> all;
        for (int i = 0; i < 20; ++i) all.push_back(p.ask("GET", "/"));
        for (int32_t id : all) {
          co_await p.until_ended(id);
          CHECK(p.answers[id].body == "ok");
        }
        CHECK(*most <= 3);
      },
      handler, few);
}

TEST_CASE("a server speaks HTTP/2 or HTTP/1.1 as ALPN chooses") {
  Runtime runtime(2);
  auto run = [](Runtime& rt) -> Task<> {
    Authority ca = make_authority("ca");
    auto tls = *make_server_context({.identity = ca.issue("host.test"), .alpn = {"h2", "http/1.1"}});
    Server server(rt, {.address = "127.0.0.1", .tls = tls}, echo);
    REQUIRE(server.start());
    for (std::vector<std::string> offered : {std::vector<std::string>{"h2", "http/1.1"}, {"http/1.1"}, {}}) {
      auto tcp = co_await connect_tcp("127.0.0.1", server.port());
      REQUIRE(tcp);
      auto client = *make_client_context({.ca_pem = ca.ca.certificate_pem, .alpn = offered});
      auto secured = co_await tls_connect(std::move(*tcp), client, "host.test", 5s);
      REQUIRE(secured);
      if (offered.size() == 2) {
        CHECK((*secured)->alpn() == "h2");
        co_await (*secured)->write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, "") + frame(1, 5, 1, request_block()));
        char head[9];
        auto n = co_await (*secured)->read(head);
        REQUIRE(n);
        CHECK(head[3] == 4);  // SETTINGS
      } else {
        CHECK((*secured)->alpn() != "h2");
        co_await (*secured)->write("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        std::string text = co_await read_all(**secured);
        CHECK(text.starts_with("HTTP/1.1 200 OK\r\n"));
      }
      (*secured)->close();
    }
    co_await server.stop(1s);
  };
  run_to_end(runtime, run(runtime));
}
