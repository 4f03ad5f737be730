// HTTPS requests to a listening test cluster.
#pragma once

#include "base/http/client.h"
#include "fixture.h"
#include "server/apiserver/pki/cluster_pki.h"

namespace test {

struct Answer {
  int status = 0;
  base::http::Headers headers;
  std::string body;
  value json() const {
    auto v = base::parse_json(body, 256);
    REQUIRE(v);
    return std::move(*v);
  }
};

inline base::http::TlsContextPtr client_tls(const Cluster& c, std::optional<base::http::KeyPair> identity = std::nullopt) {
  base::http::TlsClientOptions tls;
  tls.ca_pem = c.api.ca_pem();
  tls.identity = std::move(identity);
  auto context = base::http::make_client_context(tls);
  REQUIRE(context);
  return *context;
}

inline base::http::KeyPair certificate(const Cluster& c, const std::string& name, std::vector<std::string> groups) {
  base::http::KeyPair ca{*base::read_file(c.directory + "/server/tls/ca.crt"), *base::read_file(c.directory + "/server/tls/ca.key")};
  auto pair = server::pki::client_pair(ca, {name, std::move(groups)});
  REQUIRE(pair);
  return *pair;
}

class Http {
 public:
  Http(const Cluster& c, std::optional<base::http::KeyPair> identity = std::nullopt)
      : client_({.tls = client_tls(c, std::move(identity))}), base_("https://127.0.0.1:" + std::to_string(c.api.port())) {}

  Task<Answer> send(std::string method, std::string path, std::string body = {},
                    std::vector<std::pair<std::string, std::string>> headers = {}) {
    base::http::ClientRequest r;
    r.method = std::move(method);
    r.url = base_ + path;
    r.body = std::move(body);
    if (!r.body.empty()) r.headers.set("Content-Type", "application/json");
    for (const auto& [name, v] : headers) r.headers.set(name, v);
    auto response = co_await client_.send(std::move(r));
    Answer out;
    REQUIRE(response);
    out.status = (*response)->status;
    out.headers = (*response)->headers;
    auto text = co_await (*response)->body();
    REQUIRE(text);
    out.body = std::move(*text);
    co_return out;
  }
  Task<Answer> get(std::string path, std::vector<std::pair<std::string, std::string>> headers = {}) {
    return send("GET", std::move(path), {}, std::move(headers));
  }
  base::http::Client& client() { return client_; }
  const std::string& url() const { return base_; }

 private:
  base::http::Client client_;
  std::string base_;
};

}  // namespace test
