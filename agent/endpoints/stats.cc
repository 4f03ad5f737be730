// /stats/summary, /metrics/resource, /metrics/cadvisor: what metrics-server and Prometheus read.
#include <fmt/format.h>

#include "agent/endpoints/node_api.h"
#include "agent/node/machine.h"
#include "network/pods.h"

namespace agent {

namespace http = base::http;

namespace {

base::json::object cpu_of(const runtime::CgroupStats& s, const std::string& time) {
  return {{"time", time}, {"usageCoreNanoSeconds", s.cpu_usage_ns}};
}

base::json::object memory_of(const runtime::CgroupStats& s, const std::string& time) {
  base::json::object m{{"time", time},
                       {"usageBytes", s.memory_usage_bytes},
                       {"workingSetBytes", s.memory_working_set_bytes},
                       {"rssBytes", s.memory_rss_bytes},
                       {"pageFaults", s.memory_page_faults},
                       {"majorPageFaults", s.memory_major_page_faults}};
  if (s.memory_limit_bytes > s.memory_working_set_bytes) m["availableBytes"] = s.memory_limit_bytes - s.memory_working_set_bytes;
  return m;
}

std::string seconds(uint64_t ns) { return fmt::format("{}.{:09}", ns / 1'000'000'000, ns % 1'000'000'000); }
int64_t millis(base::WallTime t) { return std::chrono::duration_cast<std::chrono::milliseconds>(t.time_since_epoch()).count(); }

}  // namespace

Task<> NodeApi::stats_summary(http::Response& response) {
  const std::string now = base::now_rfc3339();
  auto body = co_await base::offload([this, now] {
    base::json::object node{{"nodeName", context_.node_name}, {"startTime", now}};
    if (auto s = context_.sandboxes.cgroup_stats("/")) {
      node["cpu"] = cpu_of(*s, now);
      node["memory"] = memory_of(*s, now);
    }
    MemoryUse memory = read_memory();
    auto& m = node["memory"];
    if (!m.is_object()) m = base::json::object{{"time", now}};
    m.as_object()["availableBytes"] = memory.available;
    m.as_object()["workingSetBytes"] = memory.total - memory.available;
    if (auto d = read_disk(context_.data_dir)) {
      base::json::object fs{
          {"time", now},         {"capacityBytes", d->total},   {"availableBytes", d->available}, {"usedBytes", d->total - d->available},
          {"inodes", d->inodes}, {"inodesFree", d->inodes_free}};
      node["fs"] = fs;
      fs["usedBytes"] = context_.images.usage().bytes;
      node["runtime"] = base::json::object{{"imageFs", fs}};
    }
    base::json::array pods;
    for (const auto& view : context_.pods.all()) {
      if (!view.sandbox) continue;
      const auto& meta = view.pod->metadata;
      base::json::object pod{{"podRef", base::json::object{{"name", meta.name}, {"namespace", meta.namespace_}, {"uid", meta.uid}}},
                             {"startTime", view.status.startTime}};
      base::json::array containers;
      for (const auto& c : view.containers) {
        if (!c.running) continue;
        auto s = view.sandbox->stats(c.id);
        if (!s) continue;
        std::string started = view.status.startTime;
        containers.push_back(
            base::json::object{{"name", c.name}, {"startTime", started}, {"cpu", cpu_of(*s, now)}, {"memory", memory_of(*s, now)}});
      }
      pod["containers"] = std::move(containers);
      if (auto s = view.sandbox->pod_stats()) {
        pod["cpu"] = cpu_of(*s, now);
        pod["memory"] = memory_of(*s, now);
        pod["process_stats"] = base::json::object{{"process_count", s->pids}};
      }
      if (!view.host_link.empty()) {
        if (auto n = network::pod_counters(view.host_link)) {
          base::json::object eth{
              {"name", "eth0"}, {"rxBytes", n->rx_bytes}, {"rxErrors", n->rx_errors}, {"txBytes", n->tx_bytes}, {"txErrors", n->tx_errors}};
          base::json::object net = eth;
          net["time"] = now;
          net["interfaces"] = base::json::array{eth};
          pod["network"] = std::move(net);
        }
      }
      pods.push_back(std::move(pod));
    }
    return base::to_text(base::json::object{{"node", std::move(node)}, {"pods", std::move(pods)}});
  });
  co_await answer(response, 200, std::move(body), "application/json");
}

Task<> NodeApi::metrics_resource(http::Response& response) {
  auto body = co_await base::offload([this] {
    int64_t now = millis(base::WallClock::now());
    std::string cpu = "# TYPE container_cpu_usage_seconds_total counter\n", memory = "# TYPE container_memory_working_set_bytes gauge\n",
                start = "# TYPE container_start_time_seconds gauge\n", pod_cpu = "# TYPE pod_cpu_usage_seconds_total counter\n",
                pod_memory = "# TYPE pod_memory_working_set_bytes gauge\n", node;
    if (auto s = context_.sandboxes.cgroup_stats("/")) {
      node +=
          fmt::format("# TYPE node_cpu_usage_seconds_total counter\nnode_cpu_usage_seconds_total {} {}\n", seconds(s->cpu_usage_ns), now);
    }
    MemoryUse m = read_memory();
    node += fmt::format("# TYPE node_memory_working_set_bytes gauge\nnode_memory_working_set_bytes {} {}\n", m.total - m.available, now);
    for (const auto& view : context_.pods.all()) {
      if (!view.sandbox) continue;
      const auto& meta = view.pod->metadata;
      for (const auto& c : view.containers) {
        if (!c.running) continue;
        auto s = view.sandbox->stats(c.id);
        if (!s) continue;
        std::string labels = fmt::format("{{container=\"{}\",namespace=\"{}\",pod=\"{}\"}}", c.name, meta.namespace_, meta.name);
        cpu += fmt::format("container_cpu_usage_seconds_total{} {} {}\n", labels, seconds(s->cpu_usage_ns), now);
        memory += fmt::format("container_memory_working_set_bytes{} {} {}\n", labels, s->memory_working_set_bytes, now);
        if (auto status = view.sandbox->container(c.id)) {
          start += fmt::format("container_start_time_seconds{} {:.3f}\n", labels, static_cast<double>(millis(status->started)) / 1000);
        }
      }
      if (auto s = view.sandbox->pod_stats()) {
        std::string labels = fmt::format("{{namespace=\"{}\",pod=\"{}\"}}", meta.namespace_, meta.name);
        pod_cpu += fmt::format("pod_cpu_usage_seconds_total{} {} {}\n", labels, seconds(s->cpu_usage_ns), now);
        pod_memory += fmt::format("pod_memory_working_set_bytes{} {} {}\n", labels, s->memory_working_set_bytes, now);
      }
    }
    return cpu + memory + start + node + pod_cpu + pod_memory + "# TYPE resource_scrape_error gauge\nresource_scrape_error 0\n";
  });
  co_await answer(response, 200, std::move(body), "text/plain; version=0.0.4");
}

Task<> NodeApi::metrics_cadvisor(http::Response& response) {
  auto body = co_await base::offload([this] {
    std::string cpu = "# TYPE container_cpu_usage_seconds_total counter\n", memory = "# TYPE container_memory_working_set_bytes gauge\n",
                usage = "# TYPE container_memory_usage_bytes gauge\n", rss = "# TYPE container_memory_rss gauge\n",
                rx = "# TYPE container_network_receive_bytes_total counter\n",
                tx = "# TYPE container_network_transmit_bytes_total counter\n",
                throttled = "# TYPE container_cpu_cfs_throttled_periods_total counter\n";
    for (const auto& view : context_.pods.all()) {
      if (!view.sandbox) continue;
      const auto& meta = view.pod->metadata;
      for (const auto& c : view.containers) {
        auto s = c.running ? view.sandbox->stats(c.id) : base::Result<runtime::CgroupStats>(base::internal(""));
        if (!s) continue;
        std::string labels =
            fmt::format("{{container=\"{}\",namespace=\"{}\",pod=\"{}\",id=\"{}\"}}", c.name, meta.namespace_, meta.name, c.id);
        cpu += fmt::format("container_cpu_usage_seconds_total{} {}\n", labels, seconds(s->cpu_usage_ns));
        memory += fmt::format("container_memory_working_set_bytes{} {}\n", labels, s->memory_working_set_bytes);
        usage += fmt::format("container_memory_usage_bytes{} {}\n", labels, s->memory_usage_bytes);
        rss += fmt::format("container_memory_rss{} {}\n", labels, s->memory_rss_bytes);
        throttled += fmt::format("container_cpu_cfs_throttled_periods_total{} {}\n", labels, s->throttled_periods);
      }
      if (view.host_link.empty()) continue;
      if (auto n = network::pod_counters(view.host_link)) {
        std::string labels = fmt::format("{{namespace=\"{}\",pod=\"{}\",interface=\"eth0\"}}", meta.namespace_, meta.name);
        rx += fmt::format("container_network_receive_bytes_total{} {}\n", labels, n->rx_bytes);
        tx += fmt::format("container_network_transmit_bytes_total{} {}\n", labels, n->tx_bytes);
      }
    }
    return cpu + memory + usage + rss + rx + tx + throttled;
  });
  co_await answer(response, 200, std::move(body), "text/plain; version=0.0.4");
}

}  // namespace agent
