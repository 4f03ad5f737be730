#include <zlib.h>

#include "http_client.h"
#include "server/apiserver/http/compression.h"

using namespace test;

namespace {

std::string unzip(const std::string& packed) {
  std::string out(16u << 20, '\0');
  z_stream z{};
  REQUIRE(inflateInit2(&z, 15 + 16) == Z_OK);
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(packed.data()));
  z.avail_in = static_cast<uInt>(packed.size());
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = static_cast<uInt>(out.size());
  int rc = inflate(&z, Z_FINISH);
  CHECK(rc == Z_STREAM_END);
  CHECK(z.avail_in == 0);
  out.resize(z.total_out);
  inflateEnd(&z);
  return out;
}

}  // namespace

TEST_CASE("gzip is taken where a client names it and does not refuse it") {
  for (const char* yes : {"gzip", "deflate, gzip", "br;q=1, GZIP ; q=0.5", "gzip;q=1.0"}) {
    INFO(yes);
    CHECK(server::takes_gzip(yes));
  }
  for (const char* no : {"", "identity", "gzip;q=0", "gzip; q=0.000, deflate", "x-gzip2", "*"}) {
    INFO(no);
    CHECK_FALSE(server::takes_gzip(no));
  }
}

TEST_CASE("large answers are compressed for those who ask, small ones and watches never") {
  with_cluster([](Cluster c) -> Task<> {
    Http http(c, certificate(c, "root", {"system:masters"}));
    for (int i = 0; i < 200; ++i) {
      value map = base::parse_json(configmap("map-" + std::to_string(i))).value();
      map.as_object()["data"] = base::json::object{{"text", std::string(1000, static_cast<char>('a' + i % 26))}};
      CHECK((co_await c.admin->create(configmaps, {"default", ""}, base::to_text(map))));
    }
    const std::string maps = "/api/v1/namespaces/default/configmaps";
    auto plain = co_await http.get(maps);
    CHECK(plain.body.size() > 128 * 1024);
    CHECK_FALSE(plain.headers.has("Content-Encoding"));
    CHECK(plain.headers.has_token("Vary", "Accept-Encoding"));
    for (const char* accept : {"application/json", "application/yaml", "application/json;as=Table;g=meta.k8s.io;v=v1"}) {
      INFO(accept);
      auto packed = co_await http.get(maps + "?includeObject=Object", {{"Accept-Encoding", "gzip"}, {"Accept", accept}});
      CHECK(packed.status == 200);
      CHECK(packed.headers.get("Content-Encoding") == "gzip");
      CHECK(packed.headers.has_token("Vary", "Accept-Encoding"));
      CHECK(packed.body.size() < 100 * 1024);
      std::string whole = unzip(packed.body);
      if (std::string_view(accept) == "application/json") CHECK((whole == plain.body));
      CHECK(whole.find("map-199") != whole.npos);
    }
    auto small = co_await http.get(maps + "?limit=5", {{"Accept-Encoding", "gzip"}});
    CHECK_FALSE(small.headers.has("Content-Encoding"));
    CHECK_FALSE(small.headers.has("Vary"));
    auto watch = co_await http.get(maps + "?watch=1&resourceVersion=0&timeoutSeconds=1", {{"Accept-Encoding", "gzip"}});
    CHECK_FALSE(watch.headers.has("Content-Encoding"));
    CHECK(watch.body.size() > 128 * 1024);
  }, true);
}
