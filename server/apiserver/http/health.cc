#include "server/apiserver/http/health.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include <fmt/format.h>

namespace server {

namespace {

enum Endpoint : unsigned { kHealthz = 1, kLivez = 2, kReadyz = 4, kAll = 7 };
constexpr std::pair<std::string_view, unsigned> kEndpoints[] = {{"healthz", kHealthz}, {"livez", kLivez}, {"readyz", kReadyz}};

}  // namespace

struct Health::Check {
  std::string_view name;
  unsigned endpoints;
  Result<> (*run)(const Health&);
};

// Requests are served once everything has been started, so that the hooks of the start are behind whoever asks.
const Health::Check Health::checks_[] = {
    {"ping", kAll, [](const Health&) -> Result<> { return {}; }},
    {"log", kAll,
     [](const Health&) -> Result<> {
       if (::fcntl(STDERR_FILENO, F_GETFD) < 0) return base::errno_error("the log");
       return {};
     }},
    // A full disk is no reason to start anew: what is there is still read.
    {"datastore", kAll & ~kReadyz,
     [](const Health& h) -> Result<> {
       auto r = h.store_.health();
       return r || r.error().code == 507 ? Result<>() : r;
     }},
    {"datastore", kReadyz, [](const Health& h) -> Result<> { return h.store_.health(); }},
    {"informer-sync", kReadyz, [](const Health&) -> Result<> { return {}; }},
    {"poststarthook/priority-and-fairness-config-consumer", kAll, [](const Health&) -> Result<> { return {}; }},
    {"poststarthook/rbac/bootstrap-roles", kAll, [](const Health&) -> Result<> { return {}; }},
    {"poststarthook/scheduling/bootstrap-system-priority-classes", kAll, [](const Health&) -> Result<> { return {}; }},
    {"shutdown", kReadyz,
     [](const Health& h) -> Result<> {
       if (!h.ready_) return base::unavailable("the server is starting or stopping");
       return {};
     }},
};

bool Health::handles(std::string_view path) {
  if (!path.starts_with('/')) return false;
  path.remove_prefix(1);
  for (const auto& [name, bit] : kEndpoints)
    if (path.starts_with(name) && (path.size() == name.size() || path[name.size()] == '/')) return true;
  return false;
}

Task<> Health::handle(Exchange& x) const {
  std::string_view path = std::string_view(x.info.path).substr(1);
  const size_t slash = std::min(path.find('/'), path.size());
  std::string_view endpoint = path.substr(0, slash), single = path.substr(std::min(slash + 1, path.size()));
  unsigned bit = 0;
  for (const auto& [name, b] : kEndpoints)
    if (name == endpoint) bit = b;
  if (!single.empty()) {
    for (const Check& c : checks_) {
      if (c.name != single || !(c.endpoints & bit)) continue;
      auto good = c.run(*this);
      std::string text = good ? "ok" : fmt::format("internal server error: {}\n", good.error().message);
      co_return co_await send_text(x, good ? 200 : 500, text);
    }
    co_return co_await send_error(x, base::fail(404, "NotFound", "the server could not find the requested resource").error());
  }
  std::vector<std::string_view> excluded;
  for (std::string_view value : x.request.query.all("exclude")) excluded.push_back(value);
  std::string text;
  bool passed = true;
  for (const Check& c : checks_) {
    if (!(c.endpoints & bit)) continue;
    if (std::erase(excluded, c.name) > 0) {
      text += fmt::format("[+]{} excluded: ok\n", c.name);
    } else if (auto good = c.run(*this)) {
      text += fmt::format("[+]{} ok\n", c.name);
    } else {
      // Why is for the log: whoever may ask for health may know no more.
      text += fmt::format("[-]{} failed: reason withheld\n", c.name);
      passed = false;
    }
  }
  for (std::string_view name : excluded) text += fmt::format("warn: some health checks cannot be excluded: no matches for \"{}\"\n", name);
  text += fmt::format("{} check {}\n", endpoint, passed ? "passed" : "failed");
  if (passed && !x.request.query.has("verbose")) text = "ok";
  co_await send_text(x, passed ? 200 : 500, text);
}

}  // namespace server
