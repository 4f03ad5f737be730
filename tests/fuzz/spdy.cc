// A SPDY/3.1 session, as older kubectl opens for exec and port-forward, and header blocks.
#include "agent/streams/spdy.h"
#include "connection.h"
#include "fuzz.h"

namespace {

// A block for a SYN_STREAM; text made once.
const std::string& opening() {
  static const std::string text = [] {
    std::string payload;
    agent::spdy::append_u32(payload, 1);
    agent::spdy::append_u32(payload, 0);
    payload += std::string(2, '\0');
    agent::spdy::Deflater deflater;
    payload += deflater.encode({{"streamtype", "stdout"}, {"port", "80"}});
    return agent::spdy::control_frame(agent::spdy::Kind::syn_stream, 0, payload) + agent::spdy::data_frame_header(1, true, 3) + "abc" +
           agent::spdy::control_frame(agent::spdy::Kind::ping, 0, std::string("\0\0\0\1", 4));
  }();
  return text;
}

base::Task<> take_streams(agent::spdy::Session& session) {
  for (;;) {
    agent::spdy::StreamPtr stream = co_await session.accept();
    if (!stream) co_return;
    char buffer[256];
    for (;;) {
      size_t n = co_await stream->read(buffer);
      if (n == 0) break;
      co_await stream->write(std::string_view(buffer, n));
    }
    co_await stream->finish();
  }
}

base::Task<> serve(std::string says) {
  fuzz::Peer peer(std::move(says));
  agent::spdy::Session session(peer);
  co_await base::race(session.run(), take_streams(session));
}

}  // namespace

const std::vector<std::string_view> fuzz::seeds = {opening()};

void fuzz::one(std::string_view input) {
  base::Runtime runtime(1);
  base::run_to_end(runtime, serve(std::string(input)));
  agent::spdy::Inflater inflater;
  (void)inflater.decode(input);
}
