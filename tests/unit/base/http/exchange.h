// Drives a server connection or a client with raw wire text over an in-memory pair.
#pragma once

#include <memory>
#include <string>

#include "base/http/client.h"
#include "base/http/server.h"

namespace test {

using namespace base;
using namespace base::http;

// Everything the peer sends until its end (or an error).
inline Task<std::string> read_all(Stream& s) {
  std::string out;
  char buffer[4096];
  for (;;) {
    auto n = co_await s.read(buffer);
    if (!n || *n == 0) co_return out;
    out.append(buffer, *n);
  }
}

// Until `text` has arrived.
inline Task<std::string> read_until(Stream& s, std::string text) {
  std::string out;
  char c = 0;
  while (out.find(text) == std::string::npos) {
    auto n = co_await s.read({&c, 1});
    if (!n || *n == 0) break;
    out += c;
  }
  co_return out;
}

// Sends `wire` to a server with this handler and returns what comes back until the server closes.
inline std::string serve(std::string wire, Handler handler, Limits limits = {}, bool half_close = true) {
  Runtime runtime(2);
  std::string got;
  auto run = [](Runtime& rt, std::string& out, std::string text, Handler h, Limits l, bool half) -> Task<> {
    Executor a = rt.strand(), b = rt.strand();
    auto [ours, theirs] = make_stream_pair(a, b);
    Tasks tasks(rt);
    tasks.spawn("server", serve_connection(std::move(theirs), std::move(h), l));
    co_await ours->write(text);
    if (half) co_await ours->shutdown_write();
    out = co_await read_all(*ours);
    ours->close();
    co_await tasks.stop();
  };
  run_to_end(runtime, run(runtime, got, std::move(wire), std::move(handler), limits, half_close));
  // The date changes from run to run.
  for (size_t at = 0; (at = got.find("Date: ", at)) != std::string::npos;) got.erase(at, got.find("\r\n", at) + 2 - at);
  return got;
}

}  // namespace test
