#include "server/apiserver/http/request_info.h"

#include <algorithm>
#include <cctype>

#include "base/bytes.h"

namespace server {
namespace {

std::vector<std::string> split(std::string_view path) {
  std::vector<std::string> out;
  while (!path.empty()) {
    size_t slash = path.find('/');
    std::string_view part = path.substr(0, slash);
    if (!part.empty()) out.push_back(base::percent_decode(part));
    if (slash == path.npos) break;
    path.remove_prefix(slash + 1);
  }
  return out;
}

std::string verb_of(std::string_view method, bool named, bool watch) {
  if (method == "POST") return "create";
  if (method == "PUT") return "update";
  if (method == "PATCH") return "patch";
  if (method == "DELETE") return named ? "delete" : "deletecollection";
  if (method != "GET" && method != "HEAD") return {};  // nothing allows it
  if (watch) return "watch";
  return named ? "get" : "list";
}

// The text of the path after its n-th segment, encoded as sent.
std::string after_segments(std::string_view path, size_t n) {
  size_t at = 0;
  for (size_t seen = 0; seen < n;) {
    while (at < path.size() && path[at] == '/') ++at;
    size_t end = path.find('/', at);
    if (end == path.npos) return {};
    at = end;
    ++seen;
  }
  return std::string(path.substr(at));
}

}  // namespace

RequestInfo parse_request(std::string_view method, std::string_view path, const base::http::Query& query) {
  RequestInfo out;
  out.parts = split(path);
  out.path = base::percent_decode(path);
  out.verb = method;
  std::transform(out.verb.begin(), out.verb.end(), out.verb.begin(), [](unsigned char c) { return std::tolower(c); });
  const std::vector<std::string>& p = out.parts;
  if (p.empty()) return out;
  size_t i = 0;
  if (p[0] == "api" && p.size() >= 3) {
    out.version = p[1];
    i = 2;
  } else if (p[0] == "apis" && p.size() >= 4) {
    out.group = p[1];
    out.version = p[2];
    i = 3;
  } else {
    return out;
  }
  out.is_resource = true;
  bool always = false;
  if (p[i] == "watch") {  // deprecated form
    always = true;
    if (++i >= p.size()) {
      out.is_resource = false;
      return out;
    }
  }
  // /namespaces/{ns}/{resource}...; but /namespaces/{name}[/status|/finalize] is the namespace itself.
  bool itself = p.size() == i + 3 && (p[i + 2] == "status" || p[i + 2] == "finalize");
  if (p[i] == "namespaces" && p.size() > i + 2 && !itself) {
    out.ns = p[i + 1];
    i += 2;
  } else if (p[i] == "namespaces" && p.size() > i + 1) {
    out.ns = p[i + 1];
  }
  out.resource = p[i];
  if (p.size() > i + 1) out.name = p[i + 1];
  if (p.size() > i + 2) out.subresource = p[i + 2];
  if (p.size() > i + 2) out.rest = after_segments(path, i + 3);
  // A GET of one object is no watch, whatever it asks for.
  out.verb = verb_of(method, !out.name.empty(), always || (out.name.empty() && query.flag("watch")));
  return out;
}

}  // namespace server
