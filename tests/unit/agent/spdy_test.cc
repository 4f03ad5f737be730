#include <catch2/catch.hpp>

#include <zlib.h>

#include "agent/streams/remote_command.h"
#include "agent/streams/spdy.h"
#include "base/http/stream.h"
#include "base/json.h"

using namespace agent;
using base::Task;

TEST_CASE("the dictionary is the protocol's") {
  const auto& d = spdy::dictionary();
  CHECK(d.size() == 1423);
  CHECK(adler32(adler32(0, nullptr, 0), reinterpret_cast<const Bytef*>(d.data()), static_cast<uInt>(d.size())) == 0xe3c6a7c2);
}

TEST_CASE("header blocks survive compression, in sequence") {
  spdy::Deflater out;
  spdy::Inflater in;
  for (int i = 0; i < 20; ++i) {
    spdy::Headers h{{"streamtype", "stdin"}, {"n", std::to_string(i)}, {"long", std::string(static_cast<size_t>(i) * 500, 'x')}};
    auto back = in.decode(out.encode(h));
    REQUIRE(back);
    CHECK(*back == h);
  }
  CHECK(spdy::header({{"StreamType", "a"}}, "streamtype") == "a");
}

TEST_CASE("malformed header blocks are refused") {
  spdy::Inflater in;
  CHECK_FALSE(in.decode("garbage that is no zlib stream"));
  spdy::Deflater bomb;
  spdy::Inflater other;
  CHECK_FALSE(other.decode(bomb.encode({{"x", std::string(1 << 20, 'a')}})));
}

TEST_CASE("frame headers") {
  auto data = spdy::parse_frame_header(spdy::data_frame_header(7, true, 300));
  CHECK_FALSE(data.control);
  CHECK(data.stream_id == 7);
  CHECK(data.flags == spdy::kFlagFin);
  CHECK(data.length == 300);
  auto control = spdy::parse_frame_header(spdy::control_frame(spdy::Kind::ping, 0, "1234").substr(0, 8));
  CHECK(control.control);
  CHECK(control.version == 3);
  CHECK(control.type == 6);
  CHECK(control.length == 4);
}

TEST_CASE("a session accepts streams, echoes data, answers pings and ends its streams") {
  base::Runtime runtime(1);
  base::run_to_end(runtime, [](base::Runtime& r) -> Task<> {
    auto strand = co_await base::this_executor();
    auto [server, client] = base::http::make_stream_pair(strand, strand);
    auto session = std::make_shared<spdy::Session>(*server);
    base::Tasks tasks(r);
    tasks.spawn("session", strand, [](std::shared_ptr<spdy::Session> s) -> Task<> { co_await s->run(); }(session));

    spdy::Deflater deflater;
    std::string syn;
    spdy::append_u32(syn, 1);
    spdy::append_u32(syn, 0);
    syn += std::string(2, '\0');
    syn += deflater.encode({{"streamtype", "data"}, {"port", "80"}});
    std::string ping("\0\0\0\1", 4);
    std::string wire = spdy::control_frame(spdy::Kind::syn_stream, 0, syn) + spdy::control_frame(spdy::Kind::ping, 0, ping) +
                       spdy::data_frame_header(1, false, 5) + "hello" + spdy::data_frame_header(1, true, 0);
    auto w = co_await client->write(wire);
    REQUIRE(w);
    auto stream = co_await session->accept();
    REQUIRE(stream);
    CHECK(spdy::header(stream->headers(), "port") == "80");
    char buffer[64];
    size_t n = co_await stream->read(buffer);
    CHECK(std::string(buffer, n) == "hello");
    n = co_await stream->read(buffer);
    CHECK(n == 0);
    w = co_await stream->write("world");
    REQUIRE(w);
    w = co_await stream->finish();
    REQUIRE(w);

    // SYN_REPLY, PING, data, FIN.
    std::string got;
    auto frame = [&]() -> Task<spdy::FrameHeader> {
      while (got.size() < 8 || got.size() < 8 + spdy::parse_frame_header(got).length) {
        char in[4096];
        auto more = co_await client->read(in);
        REQUIRE(more);
        REQUIRE(*more > 0);
        got.append(in, *more);
      }
      co_return spdy::parse_frame_header(got);
    };
    auto f = co_await frame();
    CHECK(f.type == 2);
    got.erase(0, 8 + f.length);
    f = co_await frame();
    CHECK(f.type == 6);
    CHECK(got.substr(8, 4) == ping);
    got.erase(0, 8 + f.length);
    f = co_await frame();
    CHECK(got.substr(8, f.length) == "world");
    got.erase(0, 8 + f.length);
    f = co_await frame();
    CHECK(f.flags == spdy::kFlagFin);

    client->close();
    client.reset();
    auto none = co_await session->accept();
    CHECK(!none);
    co_await tasks.stop();
  }(runtime));
}

TEST_CASE("stream ids that are even or fall end the session") {
  base::Runtime runtime(1);
  base::run_to_end(runtime, [](base::Runtime& r) -> Task<> {
    auto strand = co_await base::this_executor();
    auto [server, client] = base::http::make_stream_pair(strand, strand);
    auto session = std::make_shared<spdy::Session>(*server);
    base::Tasks tasks(r);
    tasks.spawn("session", strand, [](std::shared_ptr<spdy::Session> s) -> Task<> { co_await s->run(); }(session));
    spdy::Deflater deflater;
    std::string syn;
    spdy::append_u32(syn, 2);
    spdy::append_u32(syn, 0);
    syn += std::string(2, '\0') + deflater.encode({});
    auto w = co_await client->write(spdy::control_frame(spdy::Kind::syn_stream, 0, syn));
    REQUIRE(w);
    auto none = co_await session->accept();
    CHECK(!none);
    co_await tasks.stop();
  }(runtime));
}

TEST_CASE("terminal sizes and outcomes") {
  auto s = parse_terminal_size(R"({"Width":80,"Height":24})");
  REQUIRE(s);
  CHECK(s->width == 80);
  CHECK(s->height == 24);
  CHECK_FALSE(parse_terminal_size(R"({"Width":0,"Height":24})"));
  CHECK_FALSE(parse_terminal_size("nonsense"));
  CHECK(outcome_status({}) == R"({"metadata":{},"status":"Success"})");
  auto v = *base::parse_json(outcome_status({3, {}}));
  CHECK(base::get_string(v, "reason") == "NonZeroExitCode");
  CHECK(v.at("details").at("causes").at(0).at("message").as_string() == "3");
  CHECK(v.at("details").at("causes").at(0).at("reason").as_string() == "ExitCode");
}

TEST_CASE("a byte pipe holds back the writer and ends") {
  base::Runtime runtime(1);
  base::run_to_end(runtime, [](base::Runtime& r) -> Task<> {
    auto strand = co_await base::this_executor();
    auto pipe = std::make_shared<BytePipe>(4);
    base::Tasks tasks(r);
    tasks.spawn("writer", strand, [](std::shared_ptr<BytePipe> p) -> Task<> {
      for (int i = 0; i < 100; ++i) co_await p->push("abc");
      p->end();
    }(pipe));
    size_t total = 0;
    char buffer[7];
    for (;;) {
      size_t n = co_await pipe->read(buffer);
      if (n == 0) break;
      total += n;
    }
    CHECK(total == 300);
    co_await tasks.stop();
  }(runtime));
}
