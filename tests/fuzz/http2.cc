// HTTP/2 frames of a client, after its preface and settings.
#include "base/http/connection.h"
#include "connection.h"
#include "fuzz.h"

using namespace std::string_view_literals;

const std::vector<std::string_view> fuzz::seeds = {
    "\0\0\x07\1\5\0\0\0\1\x82\x84\x87\x41\1x\x90\0\0\4\x08\0\0\0\0\0\0\1\0\0"sv,
    "\0\0\x0f\1\4\0\0\0\1\x83\x04\x06/whole\x87\x41\1x\x90\0\0\3\0\1\0\0\0\1abc\0\0\x08\6\0\0\0\0\0pingpong\0\0\4\3\0\0\0\0\1\0\0\0\x08"sv,
    "\0\0\6\4\0\0\0\0\0\0\4\0\0\0\1\0\0\3\1\1\0\0\0\3\x82\x84\x87\0\0\3\x09\4\0\0\0\3\x41\1x\0\0\5\2\0\0\0\0\5\0\0\0\1\2"sv};

void fuzz::one(std::string_view input) {
  base::Runtime runtime(1);
  static const base::http::Handler handler = answer;
  auto peer = std::make_unique<Peer>("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + std::string("\0\0\0\4\0\0\0\0\0", 9) + std::string(input));
  auto connection = base::http::make_http2_connection(std::move(peer), handler, {});
  base::run_to_end(runtime, connection->serve());
}
