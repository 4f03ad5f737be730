#include "server/apiserver/http/metrics.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <span>

#include <fmt/format.h>

#include "server/apiserver/audit/auditor.h"
#include "server/apiserver/flow/flow_control.h"
#include "server/apiserver/http/process_metrics.h"

namespace server {
namespace {

constexpr double kBounds[] = {0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60};
constexpr double kSizes[] = {1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9};

// Verbs as they come, and as Kubernetes' metrics call them.
constexpr std::pair<std::string_view, std::string_view> kVerbs[] = {
    {"get", "GET"},    {"list", "LIST"},   {"watch", "WATCH"},   {"create", "POST"},
    {"update", "PUT"}, {"patch", "PATCH"}, {"delete", "DELETE"}, {"deletecollection", "DELETECOLLECTION"},
    {"head", "HEAD"},  {"post", "POST"},   {"put", "PUT"},       {"options", "OPTIONS"}};
constexpr std::string_view kPaths[] = {"/healthz", "/livez", "/readyz", "/version",     "/metrics", "/openapi",
                                       "/api",     "/apis",  "/openid", "/.well-known", "/"};
constexpr std::string_view kScopes[] = {"cluster", "namespace", "resource", ""};

bool connects(std::string_view subresource) {
  return subresource == "exec" || subresource == "attach" || subresource == "portforward" || subresource == "proxy";
}

}  // namespace

struct Metrics::Series {
  struct Code {
    std::atomic<int> code = 0;
    std::atomic<uint64_t> count = 0;
  };
  std::string labels;         // without braces
  Code codes[12];             // further ones are counted with the last
  std::atomic<uint64_t> microseconds = 0, bytes = 0;
  std::atomic<uint64_t> durations[std::size(kBounds) + 1] = {}, sizes[std::size(kSizes) + 1] = {};
  std::atomic<int> running = 0;  // long-running ones
  std::string kind_labels;       // group, version and resource alone
  std::atomic<uint64_t> events = 0;  // of watches

  std::atomic<uint64_t>& of(int code) {
    for (Code& c : codes) {
      int known = c.code.load(std::memory_order_relaxed);
      if (known == code) return c.count;
      if (known == 0 && c.code.compare_exchange_strong(known, code)) return c.count;
      if (known == code) return c.count;
    }
    return std::end(codes)[-1].count;
  }
};

struct Metrics::Impl {
  mutable std::shared_mutex mutex;
  std::unordered_map<uint64_t, std::unique_ptr<Series>> series;
};

Metrics::Metrics() : impl_(std::make_unique<Impl>()) {}
Metrics::~Metrics() = default;

Metrics::Series* Metrics::series(const RequestInfo& i, const ResourceInfo* r, bool dry_run) {
  size_t verb = 0, scope = 3;
  uint64_t part = 0;
  while (verb < std::size(kVerbs) && kVerbs[verb].first != i.verb) ++verb;
  if (verb == std::size(kVerbs)) return nullptr;
  if (i.is_resource) {
    if (!r) return nullptr;
    if (!i.subresource.empty()) {
      auto it = std::find(r->subresources.begin(), r->subresources.end(), i.subresource);
      if (it == r->subresources.end()) return nullptr;
      part = static_cast<uint64_t>(it - r->subresources.begin()) + 1;
    }
    scope = !i.name.empty() ? 2 : !i.ns.empty() ? 1 : 0;
  } else {
    std::string_view path = i.path;
    path = path.substr(0, path.find('/', 1));
    while (part < std::size(kPaths) && kPaths[part] != path) ++part;
    if (part == std::size(kPaths)) return nullptr;
  }
  // Rows are at stable addresses, well apart.
  const uint64_t key = reinterpret_cast<uintptr_t>(r) << 13 ^ part << 8 ^ verb << 3 ^ scope << 1 ^ (dry_run ? 1u : 0u);
  {
    std::shared_lock lock(impl_->mutex);
    if (auto it = impl_->series.find(key); it != impl_->series.end()) return it->second.get();
  }
  auto made = std::make_unique<Series>();
  std::string_view name = i.is_resource && connects(i.subresource) ? std::string_view("CONNECT") : kVerbs[verb].second;
  made->labels =
      fmt::format(R"(component="apiserver",dry_run="{}",group="{}",resource="{}",scope="{}",subresource="{}",verb="{}",version="{}")",
                  dry_run ? "All" : "", r ? r->group : "", r ? r->resource : "", kScopes[scope],
                  i.is_resource ? std::string_view(i.subresource) : kPaths[part], name, r ? r->version : "");
  if (r) made->kind_labels = fmt::format(R"(group="{}",resource="{}",version="{}")", r->group, r->resource, r->version);
  std::unique_lock lock(impl_->mutex);
  return impl_->series.try_emplace(key, std::move(made)).first->second.get();
}

std::atomic<uint64_t>* Metrics::events(Series* s) { return s ? &s->events : nullptr; }

void Metrics::begin_long(Series* s) {
  if (s) s->running.fetch_add(1, std::memory_order_relaxed);
}
void Metrics::end_long(Series* s) {
  if (s) s->running.fetch_sub(1, std::memory_order_relaxed);
}

void Metrics::count(Series* s, int code, base::Duration took, size_t sent, bool long_running) {
  if (!s) return;
  constexpr auto order = std::memory_order_relaxed;
  s->of(code).fetch_add(1, order);
  double seconds = std::chrono::duration<double>(took).count();
  size_t i = 0;
  while (i < std::size(kBounds) && seconds > kBounds[i]) ++i;
  s->durations[i].fetch_add(1, order);
  s->microseconds.fetch_add(static_cast<uint64_t>(seconds * 1e6), order);
  if (long_running) return;
  i = 0;
  while (i < std::size(kSizes) && static_cast<double>(sent) > kSizes[i]) ++i;
  s->sizes[i].fetch_add(1, order);
  s->bytes.fetch_add(sent, order);
}

void Metrics::append_requests(std::string& out) const {
  std::shared_lock lock(impl_->mutex);
  auto at = std::back_inserter(out);
  metric_head(out, "apiserver_request_total", "counter", "Requests by verb, resource and response code.");
  for (const auto& [key, s] : impl_->series)
    for (const auto& c : s->codes)
      if (uint64_t n = c.count.load(std::memory_order_relaxed))
        fmt::format_to(at, "apiserver_request_total{{code=\"{}\",{}}} {}\n", c.code.load(), s->labels, n);
  auto histogram = [&](std::string_view name, const Series& s, const auto& buckets, std::span<const double> bounds, double sum) {
    uint64_t total = 0;
    for (size_t i = 0; i <= bounds.size(); ++i) {
      total += buckets[i].load(std::memory_order_relaxed);
      if (i < bounds.size()) fmt::format_to(at, "{}_bucket{{{},le=\"{}\"}} {}\n", name, s.labels, bounds[i], total);
      else fmt::format_to(at, "{}_bucket{{{},le=\"+Inf\"}} {}\n", name, s.labels, total);
    }
    fmt::format_to(at, "{}_sum{{{}}} {}\n{}_count{{{}}} {}\n", name, s.labels, sum, name, s.labels, total);
  };
  auto watches = [](const Series& s) {
    return s.labels.find("verb=\"WATCH\"") != std::string::npos || s.labels.find("verb=\"CONNECT\"") != std::string::npos;
  };
  auto seconds = [](const Series& s) { return static_cast<double>(s.microseconds.load(std::memory_order_relaxed)) / 1e6; };
  metric_head(out, "apiserver_request_duration_seconds", "histogram", "Time from a request's header to the end of its answer.");
  for (const auto& [key, s] : impl_->series) histogram("apiserver_request_duration_seconds", *s, s->durations, kBounds, seconds(*s));
  metric_head(out, "apiserver_request_sli_duration_seconds", "histogram",
              "The same without long-running requests, as objectives of service count it.");
  for (const auto& [key, s] : impl_->series)
    if (!watches(*s)) histogram("apiserver_request_sli_duration_seconds", *s, s->durations, kBounds, seconds(*s));
  metric_head(out, "apiserver_response_sizes", "histogram", "Bytes of response bodies.");
  for (const auto& [key, s] : impl_->series)
    if (!watches(*s))
      histogram("apiserver_response_sizes", *s, s->sizes, kSizes, static_cast<double>(s->bytes.load(std::memory_order_relaxed)));
  metric_head(out, "apiserver_watch_events_total", "counter", "Events sent to watchers.");
  std::map<std::string_view, uint64_t> events;
  for (const auto& [key, s] : impl_->series)
    if (uint64_t n = s->events.load(std::memory_order_relaxed)) events[s->kind_labels] += n;
  for (const auto& [labels, n] : events) fmt::format_to(at, "apiserver_watch_events_total{{{}}} {}\n", labels, n);
  metric_head(out, "apiserver_longrunning_requests", "gauge", "Watches, logs, streams and proxied requests being served.");
  for (const auto& [key, s] : impl_->series)
    if (int n = s->running.load(std::memory_order_relaxed)) fmt::format_to(at, "apiserver_longrunning_requests{{{}}} {}\n", s->labels, n);
}

std::string Metrics::text(const Sources& sources) const {
  std::string out;
  append_requests(out);
  auto at = std::back_inserter(out);
  auto one = [&](std::string_view name, std::string_view type, std::string_view help, std::string_view labels, uint64_t n) {
    metric_head(out, name, type, help);
    fmt::format_to(at, "{}{} {}\n", name, labels, n);
  };
  auto two = [&](std::string_view name, std::string_view type, std::string_view help, std::string_view label, std::string_view a,
                 uint64_t n, std::string_view b, uint64_t m) {
    metric_head(out, name, type, help);
    fmt::format_to(at, "{0}{{{1}=\"{2}\"}} {3}\n{0}{{{1}=\"{4}\"}} {5}\n", name, label, a, n, b, m);
  };
  two("apiserver_current_inflight_requests", "gauge", "Requests being served, long-running ones apart.", "request_kind", "readOnly",
      static_cast<uint64_t>(reads.load()), "mutating", static_cast<uint64_t>(writes.load()));
  one("apiserver_request_timeout_total", "counter", "Requests that did not end in their time.", "", timeouts.load());
  two("authentication_attempts", "counter", "Requests by the outcome of authentication.", "result", "success", authenticated.load(),
      "failure", unauthenticated.load());
  two("authorization_attempts_total", "counter", "Requests by the outcome of authorisation.", "result", "allowed", allowed.load(), "denied",
      denied.load());
  sources.flow.write_metrics(out);
  if (sources.audit) {
    metric_head(out, "apiserver_audit_event_total", "counter", "Audit events, sent to the log.");
    uint64_t n = 0;
    for (auto level : {audit::Level::metadata, audit::Level::request, audit::Level::request_response}) n += sources.audit->events(level);
    fmt::format_to(at, "apiserver_audit_event_total {}\n", n);
    metric_head(out, "apiserver_audit_level_total", "counter", "Audit events by level.");
    for (auto level : {audit::Level::metadata, audit::Level::request, audit::Level::request_response})
      fmt::format_to(at, "apiserver_audit_level_total{{level=\"{}\"}} {}\n", audit::level_name(level), sources.audit->events(level));
    one("apiserver_audit_error_total", "counter", "Audit events that were dropped or could not be written.", "{plugin=\"log\"}",
        sources.audit->log().dropped());
  }
  metric_head(out, "apiserver_storage_objects", "gauge", "Objects stored, by resource.");
  for (const ResourceInfo& r : sources.resources.all())
    if (!r.is_virtual && r.stored == &r)
      fmt::format_to(at, "apiserver_storage_objects{{resource=\"{}\"}} {}\n", r.qualified, sources.store.count(r.prefix));
  one("apiserver_storage_size_bytes", "gauge", "Size of the datastore's file.", "{storage_cluster_id=\"state.db\"}",
      sources.store.size_bytes());
  const datastore::WriteTimes stored = sources.store.write_times();
  metric_head(out, "etcd_request_duration_seconds", "histogram", "Time of writes to the datastore until they are durable.");
  uint64_t total = 0;
  for (size_t i = 0; i < stored.kBuckets; ++i) {
    total += stored.buckets[i];
    fmt::format_to(at, "etcd_request_duration_seconds_bucket{{operation=\"write\",type=\"\",le=\"{}\"}} {}\n", stored.kBounds[i], total);
  }
  fmt::format_to(at,
                 "etcd_request_duration_seconds_bucket{{operation=\"write\",type=\"\",le=\"+Inf\"}} "
                 "{0}\netcd_request_duration_seconds_sum{{operation=\"write\",type=\"\"}} {1}\n"
                 "etcd_request_duration_seconds_count{{operation=\"write\",type=\"\"}} {0}\n",
                 stored.count, stored.seconds);
  append_process_metrics(out, sources.version);
  if (sources.more) sources.more(out);
  return out;
}

}  // namespace server
