// A load generator for HTTP APIs: N clients, each with one kept-alive connection and one request under way at a time; and M watchers.
//
//   load --mode MODE --server URL [--ca F --cert F --key F] [--clients N] [--seconds S | --count N] [--rate R] [--size N] [--path P] [--spread N] [--accept TYPE] [--cpu-of PID,PID...]
//   create, update, patch, apply   ConfigMaps (--path secrets: Secrets) of --size bytes, PodTemplates
//   pods, status                   pods of a cluster at work (--path: prefix of the names of their 100 nodes), what the kubelet says of them
//   get                            GET of --path, lists too
//   watch                          --watchers follow --path from now on while the clients change --size pods; {} in it: a watcher's number below --spread
// Prints one JSON object: operations, rate, latencies in milliseconds, errors, events, the generator's own CPU seconds, and those that each process of --cpu-of
// spent from the first operation (the watchers are connected) to the last.
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/bytes.h"
#include "base/files.h"
#include "base/io.h"
#include "bench/load.h"

namespace {

using base::Clock;
using base::Task;
using base::http::TlsContextPtr;
using bench::Settings;

struct Totals {
  std::mutex mutex;
  std::vector<double> milliseconds;
  size_t errors = 0;
  std::string first_error;
  uint64_t bytes = 0;
  std::atomic<uint64_t> events = 0, watching = 0, lost = 0, next = 0;
};

struct Run {
  const Settings& settings;
  TlsContextPtr tls;
  std::string id;
  base::TimePoint begin, end;
  Totals totals;
  std::vector<double> cpu;  // of the processes asked for
};

base::http::ClientOptions client_options(const Run& run) {
  base::http::ClientOptions options;
  options.tls = run.tls;
  options.idle_per_host = 1;
  return options;
}

// Sends one request; empty when all is well.
Task<std::string> send(base::http::Client& http, base::http::ClientRequest request, uint64_t& bytes) {
  auto response = co_await http.send(std::move(request));
  if (!response) co_return response.error().message;
  auto body = co_await (*response)->body();
  if (!body) co_return body.error().message;
  if ((*response)->status >= 300) co_return *body;
  bytes += body->size();
  co_return std::string();
}

Task<> client(Run& run, int number) {
  const Settings& s = run.settings;
  base::http::Client http(client_options(run));
  std::vector<double> times;
  size_t errors = 0;
  uint64_t bytes = 0;
  std::string first;
  if (auto before = bench::preparation(s, run.id, number); !before.method.empty()) first = co_await send(http, std::move(before), bytes);
  const auto pause = s.rate > 0 ? std::chrono::duration_cast<base::Duration>(std::chrono::duration<double>(s.clients / s.rate)) : base::Duration(0);
  auto due = Clock::now() + pause * number / s.clients;
  for (size_t n = 0; Clock::now() < run.end; ++n) {
    if (s.count > 0 && static_cast<size_t>(number) + n * static_cast<size_t>(s.clients) >= s.count) break;
    if (pause.count() > 0) {
      co_await base::sleep_until(due);
      due += pause;
    }
    auto begin = Clock::now();
    std::string error = co_await send(http, bench::operation(s, run.id, number, n), bytes);
    if (!error.empty()) {
      ++errors;
      first = error;
      co_await base::sleep_for(std::chrono::milliseconds(10));
      continue;
    }
    times.push_back(std::chrono::duration<double, std::milli>(Clock::now() - begin).count());
  }
  std::scoped_lock lock(run.totals.mutex);
  run.totals.milliseconds.insert(run.totals.milliseconds.end(), times.begin(), times.end());
  run.totals.errors += errors;
  run.totals.bytes += bytes;
  if (run.totals.first_error.empty()) run.totals.first_error = first;
}

// Counts events: lines, or frames with their length in front.
class EventCounter {
 public:
  explicit EventCounter(bool framed) : framed_(framed) {}
  uint64_t add(std::string_view data) {
    if (!framed_) return static_cast<uint64_t>(std::count(data.begin(), data.end(), '\n'));
    uint64_t frames = 0;
    for (size_t at = 0; at < data.size();) {
      if (left_ > 0) {
        size_t take = std::min<size_t>(left_, data.size() - at);
        left_ -= take;
        at += take;
        continue;
      }
      length_ = length_ << 8 | static_cast<unsigned char>(data[at++]);
      if (++digits_ < 4) continue;
      left_ = length_;
      length_ = 0;
      digits_ = 0;
      ++frames;
    }
    return frames;
  }

 private:
  bool framed_;
  uint32_t length_ = 0, left_ = 0;
  int digits_ = 0;
};

Task<> watcher(Run& run, std::string path) {
  base::http::Client http(client_options(run));
  base::http::ClientRequest request;
  request.url = run.settings.server + path;
  request.headers.set("Accept", run.settings.accept);
  auto response = co_await http.send(std::move(request));
  if (!response || (*response)->status != 200) {
    ++run.totals.lost;
    co_return;
  }
  ++run.totals.watching;
  EventCounter count(run.settings.accept.find("protobuf") != std::string::npos);
  std::string buffer(64 << 10, '\0');
  for (;;) {
    auto n = co_await (*response)->read(std::span<char>(buffer.data(), buffer.size()));
    if (!n || *n == 0) break;
    run.totals.events += count.add(std::string_view(buffer.data(), *n));
  }
  ++run.totals.lost;
}

// User and system time of processes and their threads.
std::vector<double> cpu_seconds(const std::vector<int>& pids) {
  std::vector<double> out;
  for (int pid : pids) {
    std::string stat = base::read_file(fmt::format("/proc/{}/stat", pid)).value_or("");
    unsigned long user = 0, system = 0;
    if (size_t name = stat.rfind(')'); name != std::string::npos) std::sscanf(stat.c_str() + name + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system);
    out.push_back(static_cast<double>(user + system) / static_cast<double>(::sysconf(_SC_CLK_TCK)));
  }
  return out;
}

Task<> drive(base::Runtime& runtime, Run& run) {
  const Settings& s = run.settings;
  base::Tasks tasks(runtime), watchers(runtime);
  if (s.watchers > 0) {
    base::http::Client http(client_options(run));
    base::http::ClientRequest request;
    request.url = s.server + s.path.substr(0, s.path.find('?')) + "?limit=1";
    auto response = co_await http.send(std::move(request));
    std::string body;
    if (response) body = (co_await (*response)->body()).value_or("");
    size_t at = body.find("\"resourceVersion\":\"");
    std::string version = at == std::string::npos ? "0" : body.substr(at + 19, body.find('"', at + 19) - at - 19);
    for (int i = 0; i < s.watchers; ++i) {
      std::string path = s.path + (s.path.find('?') == std::string::npos ? '?' : '&') + "watch=true&resourceVersion=" + version;
      if (size_t number = path.find("{}"); number != std::string::npos) path.replace(number, 2, std::to_string(i % s.spread));
      watchers.spawn("watcher", watcher(run, std::move(path)));
    }
    while (run.totals.watching + run.totals.lost < static_cast<uint64_t>(s.watchers)) co_await base::sleep_for(std::chrono::milliseconds(5));
  }
  run.cpu = cpu_seconds(s.pids);
  run.begin = Clock::now();
  run.end = run.begin + std::chrono::duration_cast<base::Duration>(std::chrono::duration<double>(s.seconds));
  for (int i = 0; i < s.clients; ++i) tasks.spawn("client", client(run, i));
  while (tasks.running() > 0) co_await base::sleep_for(std::chrono::milliseconds(5));
  co_await tasks.stop();
  if (s.watchers > 0) {
    // What is on its way arrives.
    uint64_t wanted = run.totals.milliseconds.size() * static_cast<uint64_t>(s.watchers / s.spread);
    for (int i = 0; i < 1000 && run.totals.events < wanted && run.totals.lost == 0; ++i) co_await base::sleep_for(std::chrono::milliseconds(5));
  }
  run.end = Clock::now();
  auto spent = cpu_seconds(s.pids);
  for (size_t i = 0; i < spent.size(); ++i) run.cpu[i] = spent[i] - run.cpu[i];
  co_await watchers.stop();
}

std::string read(const std::string& path) { return path.empty() ? std::string() : base::read_file(path).value_or(""); }

bool parse(Settings& s, int argc, char** argv) {
  for (int i = 1; i + 1 < argc; i += 2) {
    std::string_view flag = argv[i];
    std::string value = argv[i + 1];
    if (flag == "--mode") s.mode = value;
    else if (flag == "--server") s.server = value;
    else if (flag == "--ca") s.ca = value;
    else if (flag == "--cert") s.cert = value;
    else if (flag == "--key") s.key = value;
    else if (flag == "--path") s.path = value;
    else if (flag == "--accept") s.accept = value;
    else if (flag == "--clients") s.clients = std::atoi(value.c_str());
    else if (flag == "--watchers") s.watchers = std::atoi(value.c_str());
    else if (flag == "--spread") s.spread = std::max(1, std::atoi(value.c_str()));
    else if (flag == "--cpu-of") {
      for (const char* at = value.c_str(); *at; at += *at == ',') {
        char* end = nullptr;
        s.pids.push_back(static_cast<int>(std::strtol(at, &end, 10)));
        if (end == at) return false;
        at = end;
      }
    } else if (flag == "--seconds") s.seconds = std::atof(value.c_str());
    else if (flag == "--rate") s.rate = std::atof(value.c_str());
    else if (flag == "--size") s.size = static_cast<size_t>(std::atol(value.c_str()));
    else if (flag == "--count") s.count = static_cast<size_t>(std::atol(value.c_str()));
    else return fmt::print(stderr, "load: unknown flag {}\n", flag), false;
  }
  if (s.count > 0) s.seconds = 600;
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  Settings s;
  if (!parse(s, argc, argv)) return 2;
  TlsContextPtr tls;
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
  Run run{s, tls, base::random_suffix(6), {}, {}, {}, {}};
  base::run_to_end(runtime, drive(runtime, run));
  const Totals& totals = run.totals;
  double elapsed = std::chrono::duration<double>(run.end - run.begin).count();
  auto& t = run.totals.milliseconds;
  std::sort(t.begin(), t.end());
  auto at = [&](double q) { return t.empty() ? 0.0 : t[std::min(t.size() - 1, static_cast<size_t>(q * static_cast<double>(t.size())))]; };
  rusage u{};
  getrusage(RUSAGE_SELF, &u);
  double cpu = static_cast<double>(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + static_cast<double>(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
  std::string first = totals.first_error.substr(0, 200);
  std::erase_if(first, [](char c) { return c == '"' || c == '\\' || c < ' '; });
  fmt::print(R"({{"operations":{},"rate":{:.1f},"p50":{:.3f},"p99":{:.3f},"max":{:.3f},"errors":{},"bytes":{},"events":{},"lost":{},"cpu":{:.3f},"cpu_of":[{:.3f}],"error":"{}"}})" "\n",
             t.size(), static_cast<double>(t.size()) / elapsed, at(0.5), at(0.99), t.empty() ? 0.0 : t.back(), totals.errors, totals.bytes, totals.events.load(),
             totals.lost.load(), cpu, fmt::join(run.cpu, ","), first);
}
