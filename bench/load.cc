// A load generator for HTTP APIs: N clients, each with one kept-alive connection and one request under way at a time.
//
//   load --mode create|get|list|etcd-put --server URL [--ca F --cert F --key F] [--clients N] [--seconds S] [--size BYTES] [--path P]
// Prints one JSON object: operations, rate, latencies in milliseconds, errors, the generator's own CPU seconds.
#include <sys/resource.h>

#include <algorithm>
#include <cstdlib>
#include <mutex>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "base/bytes.h"
#include "base/files.h"
#include "base/http/client.h"
#include "base/io.h"

namespace {

using base::Clock;
using base::Task;

struct Settings {
  std::string mode = "create", server, ca, cert, key, path;
  int clients = 1;
  double seconds = 5;
  size_t size = 1024;
};

struct Totals {
  std::mutex mutex;
  std::vector<double> milliseconds;
  size_t errors = 0;
  std::string first_error;
  uint64_t bytes = 0;
};

base::http::ClientRequest request(const Settings& s, const std::string& run, int client, size_t n) {
  base::http::ClientRequest r;
  std::string name = fmt::format("load-{}-{}-{}", run, client, n);
  if (s.mode == "create") {
    r.method = "POST";
    r.url = s.server + "/api/v1/namespaces/default/configmaps";
    r.body = fmt::format(R"({{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{}"}},"data":{{"k":"{}"}}}})", name, std::string(s.size, 'x'));
    r.headers.set("Content-Type", "application/json");
  } else if (s.mode == "etcd-put") {
    r.method = "POST";
    r.url = s.server + "/v3/kv/put";
    r.body = fmt::format(R"({{"key":"{}","value":"{}"}})", base::base64_encode(name), base::base64_encode(std::string(s.size, 'x')));
    r.headers.set("Content-Type", "application/json");
  } else {
    r.url = s.server + s.path;
    r.headers.set("Accept", "application/json");
  }
  return r;
}

Task<> client(const Settings& s, base::http::TlsContextPtr tls, const std::string& run, int number, base::TimePoint end, Totals& totals) {
  base::http::ClientOptions options;
  options.tls = tls;
  options.idle_per_host = 1;
  base::http::Client http(std::move(options));
  std::vector<double> times;
  size_t errors = 0;
  uint64_t bytes = 0;
  std::string first;
  for (size_t n = 0; Clock::now() < end; ++n) {
    auto begin = Clock::now();
    auto response = co_await http.send(request(s, run, number, n));
    if (!response) {
      ++errors;
      first = response.error().message;
      co_await base::sleep_for(std::chrono::milliseconds(10));
      continue;
    }
    auto body = co_await (*response)->body();
    if (!body || (*response)->status >= 300) {
      ++errors;
      first = body ? *body : body.error().message;
      continue;
    }
    bytes += body->size();
    times.push_back(std::chrono::duration<double, std::milli>(Clock::now() - begin).count());
  }
  std::scoped_lock lock(totals.mutex);
  totals.milliseconds.insert(totals.milliseconds.end(), times.begin(), times.end());
  totals.errors += errors;
  totals.bytes += bytes;
  if (totals.first_error.empty()) totals.first_error = first;
}

std::string read(const std::string& path) { return path.empty() ? std::string() : base::read_file(path).value_or(""); }

}  // namespace

int main(int argc, char** argv) {
  Settings s;
  for (int i = 1; i + 1 < argc; i += 2) {
    std::string_view flag = argv[i];
    std::string value = argv[i + 1];
    if (flag == "--mode") s.mode = value;
    else if (flag == "--server") s.server = value;
    else if (flag == "--ca") s.ca = value;
    else if (flag == "--cert") s.cert = value;
    else if (flag == "--key") s.key = value;
    else if (flag == "--path") s.path = value;
    else if (flag == "--clients") s.clients = std::atoi(value.c_str());
    else if (flag == "--seconds") s.seconds = std::atof(value.c_str());
    else if (flag == "--size") s.size = static_cast<size_t>(std::atol(value.c_str()));
    else return fmt::print(stderr, "load: unknown flag {}\n", flag), 2;
  }
  base::http::TlsContextPtr tls;
  if (s.server.starts_with("https")) {
    base::http::TlsClientOptions t;
    t.ca_pem = read(s.ca);
    t.verify = !t.ca_pem.empty();
    if (!s.cert.empty()) t.identity = base::http::KeyPair{read(s.cert), read(s.key)};
    auto made = base::http::make_client_context(t);
    if (!made) return fmt::print(stderr, "load: {}\n", made.error().message), 1;
    tls = *made;
  }
  base::Runtime runtime(1);
  Totals totals;
  std::string run = base::random_suffix(6);
  auto begin = Clock::now();
  auto end = begin + std::chrono::duration_cast<base::Duration>(std::chrono::duration<double>(s.seconds));
  base::run_to_end(runtime, [](base::Runtime& r, const Settings& settings, base::http::TlsContextPtr t, const std::string& id, base::TimePoint e, Totals& out) -> Task<> {
    base::Tasks tasks(r);
    for (int i = 0; i < settings.clients; ++i) tasks.spawn("client", client(settings, t, id, i, e, out));
    while (tasks.running() > 0) co_await base::sleep_for(std::chrono::milliseconds(5));
    co_await tasks.stop();
  }(runtime, s, tls, run, end, totals));
  double elapsed = std::chrono::duration<double>(Clock::now() - begin).count();
  auto& t = totals.milliseconds;
  std::sort(t.begin(), t.end());
  auto at = [&](double q) { return t.empty() ? 0.0 : t[std::min(t.size() - 1, static_cast<size_t>(q * static_cast<double>(t.size())))]; };
  rusage u{};
  getrusage(RUSAGE_SELF, &u);
  double cpu = static_cast<double>(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + static_cast<double>(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
  std::string first = totals.first_error.substr(0, 200);
  std::erase_if(first, [](char c) { return c == '"' || c == '\\' || c < ' '; });
  fmt::print(R"({{"operations":{},"rate":{:.1f},"p50":{:.3f},"p99":{:.3f},"max":{:.3f},"errors":{},"bytes":{},"cpu":{:.3f},"error":"{}"}})" "\n", t.size(),
             static_cast<double>(t.size()) / elapsed, at(0.5), at(0.99), t.empty() ? 0.0 : t.back(), totals.errors, totals.bytes, cpu, first);
}
