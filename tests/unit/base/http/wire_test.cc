#include <catch2/catch.hpp>

#include "base/http/message.h"
#include "base/http/wire.h"

using namespace base;
using namespace base::http;

namespace {

// The status a request head is answered with; 200 when it is accepted.
int verdict(std::string_view text) {
  size_t scanned = 0;
  auto length = find_head_end(text, scanned);
  if (!length) return length.error().code;
  if (*length == 0) return 0;
  Head head;
  auto parsed = parse_request_head(text.substr(0, *length), 50, head);
  return parsed ? 200 : parsed.error().code;
}

std::string request(std::string_view fields) { return "POST / HTTP/1.1\r\nHost: a\r\n" + std::string(fields) + "\r\n"; }

// The decoded body, or "!" and the message.
std::string dechunk(std::string_view text, size_t step) {
  ChunkDecoder d;
  std::string out;
  for (size_t at = 0; at < text.size() && !d.done(); at += step) {
    std::string_view in = text.substr(at, step);
    while (!in.empty() && !d.done()) {
      auto run = d.next(in);
      if (!run) return "!";
      out += *run;
    }
  }
  return d.done() ? out : out + "...";
}

}  // namespace

TEST_CASE("a well-formed request head is taken apart") {
  Head h;
  std::string text = "GET /a?b=c HTTP/1.1\r\nHost: x:80\r\nconnection: Keep-Alive, Upgrade\r\nUpgrade:websocket\r\nX:  y z \t\r\n\r\n";
  REQUIRE(parse_request_head(text, 10, h));
  CHECK(h.method == "GET");
  CHECK(h.target == "/a?b=c");
  CHECK(h.host == "x:80");
  CHECK(h.get("x") == "y z");
  CHECK(h.upgrade);
  CHECK(h.keep_alive);
  CHECK_FALSE(h.content_length);
}

TEST_CASE("what two parsers could read in two ways is refused") {
  CHECK(verdict(request("")) == 200);
  CHECK(verdict(request("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n")) == 400);
  CHECK(verdict(request("Content-Length: 5\r\nContent-Length: 5\r\n")) == 400);
  CHECK(verdict(request("Content-Length: +5\r\n")) == 400);
  CHECK(verdict(request("Content-Length: 5, 5\r\n")) == 400);
  CHECK(verdict(request("Content-Length: 0x5\r\n")) == 400);
  CHECK(verdict(request("Content-Length:\r\n")) == 400);
  CHECK(verdict(request("Content-Length: 99999999999999999999\r\n")) == 400);
  CHECK(verdict(request("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n")) == 400);
  CHECK(verdict(request("Transfer-Encoding: gzip, chunked\r\n")) == 501);
  CHECK(verdict(request("Transfer-Encoding: xchunked\r\n")) == 501);
  CHECK(verdict(request("Transfer-Encoding : chunked\r\n")) == 400);
  CHECK(verdict(request("X: a\r\n folded\r\n")) == 400);
  CHECK(verdict(request("X: a\n")) == 400);
  CHECK(verdict(request("X: a\rb\r\n")) == 400);
  CHECK(verdict(request(std::string_view("X: a\0b\r\n", 8))) == 400);
  CHECK(verdict(request("Host: b\r\n")) == 400);
  CHECK(verdict(request("no colon\r\n")) == 400);
  CHECK(verdict(request(": empty\r\n")) == 400);
  CHECK(verdict("GET / HTTP/1.1\r\n\r\n") == 400);
  CHECK(verdict("GET  / HTTP/1.1\r\nHost: a\r\n\r\n") == 400);
  CHECK(verdict("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n") == 400);
  CHECK(verdict("GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n") == 400);
  CHECK(verdict("G@T / HTTP/1.1\r\nHost: a\r\n\r\n") == 400);
  CHECK(verdict("GET / HTTP/2.0\r\nHost: a\r\n\r\n") == 505);
  CHECK(verdict("GET / HTTP/1.2\r\nHost: a\r\n\r\n") == 505);
  CHECK(verdict("GET / http/1.1\r\nHost: a\r\n\r\n") == 400);
  CHECK(verdict("GET /\r\nHost: a\r\n\r\n") == 400);
  CHECK(verdict("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n") == 400);
  CHECK(verdict("GET / HTTP/1.0\r\n\r\n") == 200);
  CHECK(verdict("GET / HTTP/1.1\nHost: a\n\n") == 400);
  CHECK(verdict("GET / HTTP/1.1\r\nHost: a\r\n") == 0);
  std::string many;
  for (int i = 0; i < 60; ++i) many += "X: y\r\n";
  CHECK(verdict(request(many)) == 431);
}

TEST_CASE("chunks are joined at any cut, and malformed ones are refused") {
  std::string good = "5\r\nhello\r\n0006;ext=\"v\"\r\n world\r\n0\r\nTrailer: x\r\n\r\n";
  for (size_t step = 1; step <= good.size(); ++step) CHECK(dechunk(good, step) == "hello world");
  CHECK(dechunk("0\r\n\r\n", 1) == "");
  CHECK(dechunk("5\r\nhel", 1) == "hel...");
  for (std::string_view bad :
       {"\r\n", "g\r\n", "-1\r\n", "+5\r\nhello", " 5\r\n", "5 \r\n", "5\nhello", "0x5\r\n", "5\r\nhelloX", "5\r\nhello\n",
        "1000000000000000\r\n", "0\r\nbad trailer\r\n\r\n", "0\r\n: x\r\n\r\n", "5;a\nb\r\nhello\r\n", "0\r\n\n"}) {
    INFO(bad);
    CHECK(dechunk(bad, 100) == "!");
    CHECK(dechunk(bad, 1) == "!");
  }
}

TEST_CASE("header fields compare without case, and tokens are whole") {
  Headers h;
  h.add("Accept", "a");
  h.add("ACCEPT", "b, Gzip");
  CHECK(h.get("accept") == "a");
  CHECK(h.all("accept").size() == 2);
  CHECK(h.has_token("Accept", "gzip"));
  CHECK_FALSE(h.has_token("Accept", "zip"));
  h.set("accept", h.get("accept"));
  CHECK(h.size() == 1);
  h.remove("Accept");
  CHECK_FALSE(h.has("Accept"));
}

TEST_CASE("queries are decoded in order") {
  Query q("a=1&b=%20x+y&c&a=2&d=true&=z&&e=false");
  CHECK(q.get("a") == "1");
  CHECK(q.all("a").size() == 2);
  CHECK(q.get("b") == " x y");
  CHECK(q.flag("c"));
  CHECK(q.flag("d"));
  CHECK_FALSE(q.flag("e"));
  CHECK_FALSE(q.has("zz"));
}
