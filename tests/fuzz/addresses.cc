// Addresses and networks as text, request paths and hosts of the ingress, header fields it writes.
#include "fuzz.h"
#include "ingress/headers.h"
#include "ingress/path.h"
#include "network/address.h"
#include "server/apiserver/registry/cidr.h"

const std::vector<std::string_view> fuzz::seeds = {
    "/a%2fb/./../c%zz//d%41", "Example.COM.:8080",
    "[fd00::1]:80",           "10.42.0.0/16",
    "02:42:ac:11:00:02",      "GET /p?q HTTP/1.1\r\nHost: x\r\nConnection: X-A\r\nX-A: b\r\nX-Forwarded-For: c\r\n\r\n"};

void fuzz::one(std::string_view input) {
  if (auto path = ingress::canonical_path(input)) {
    auto again = ingress::canonical_path(*path);
    require(again && *again == *path);
    if (ingress::is_canonical_path(input)) require(*path == input);
    require(path->find('\0') == path->npos && path->find('\\') == path->npos && path->find("/../") == path->npos);
    (void)ingress::path_has_prefix(*path, "/a");
  } else {
    require(!ingress::is_canonical_path(input));
  }
  if (auto host = ingress::canonical_host(input)) {
    auto again = ingress::canonical_host(*host);
    require(again && *again == *host);
  }
  if (auto cidr = server::parse_cidr(input)) require(cidr->contains(cidr->base));
  if (auto ip = server::parse_ipv4(input)) require(server::ipv4_text(*ip) == input);
  if (auto mac = network::parse_mac(input)) (void)*mac;
  size_t scanned = 0;
  auto end = base::http::find_head_end(input, scanned);
  base::http::Head head;
  if (!end || *end == 0 || !base::http::parse_request_head(input.substr(0, *end), 100, head)) return;
  std::string written;
  ingress::write_request_head(head, "/", "", {"10.0.0.1", "http", 80}, written);
  base::http::Head passed;
  require(base::http::parse_request_head(written + "\r\n", 200, passed).has_value());
}
