// HTTP/1.1 from a client (a whole connection), and from a server (head and chunks).
#include "base/http/wire.h"
#include "connection.h"
#include "fuzz.h"

const std::vector<std::string_view> fuzz::seeds = {
    "GET /a?b=%20c HTTP/1.1\r\nHost: x\r\n\r\nPOST /whole HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc",
    "PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3;e=f\r\nabc\r\n0\r\nT: t\r\n\r\nGET http://h/p "
    "HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"};

void fuzz::one(std::string_view input) {
  base::Runtime runtime(1);
  base::run_to_end(runtime, base::http::serve_connection(std::make_unique<Peer>(std::string(input)), answer));
  size_t scanned = 0;
  auto end = base::http::find_head_end(input, scanned);
  if (!end || *end == 0) return;
  base::http::Head head;
  if (!base::http::parse_response_head(input.substr(0, *end), 100, head) || !head.chunked) return;
  base::http::ChunkDecoder chunks;
  for (std::string_view rest = input.substr(*end); !rest.empty() && !chunks.done();) {
    auto run = chunks.next(rest);
    if (!run) return;
  }
}
