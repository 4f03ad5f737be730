#include "agent/pods/resources.h"

#include <algorithm>
#include <set>

#include "agent/pods/status.h"
#include "api/quantity.h"

namespace agent {

namespace {

using Amounts = std::map<std::string, std::string>;

std::optional<api::Quantity> amount(const Amounts& from, const std::string& name) {
  auto it = from.find(name);
  if (it == from.end()) return std::nullopt;
  auto q = api::Quantity::parse(it->second);
  if (!q) return std::nullopt;
  return *q;
}

const Amounts& limits(const api::core::Container& c) {
  static const Amounts none;
  return c.resources ? c.resources->limits : none;
}
const Amounts& requests(const api::core::Container& c) {
  static const Amounts none;
  return c.resources ? c.resources->requests : none;
}
// A limit is also the request where none is given (the API server defaults it, too).
std::optional<api::Quantity> request_of(const api::core::Container& c, const std::string& name) {
  if (auto q = amount(requests(c), name)) return q;
  return amount(limits(c), name);
}

constexpr int64_t kPeriod = 100'000;  // microseconds
int64_t quota(int64_t milli) { return std::max<int64_t>(milli * kPeriod / 1000, 1000); }

}  // namespace

uint64_t cpu_shares(int64_t milli) { return static_cast<uint64_t>(std::clamp<int64_t>(milli * 1024 / 1000, 2, 262144)); }

Qos qos_class(const api::core::Pod& pod) {
  // status.qosClass never changes once it is set.
  if (pod.status.qosClass == "Guaranteed") return Qos::guaranteed;
  if (pod.status.qosClass == "Burstable") return Qos::burstable;
  if (pod.status.qosClass == "BestEffort") return Qos::best_effort;
  bool any = false, all_guaranteed = true;
  auto look = [&](const Amounts& req, const Amounts& lim) {
    for (const char* name : {"cpu", "memory"}) {
      auto r = amount(req, name), l = amount(lim, name);
      if ((r && !r->is_zero()) || (l && !l->is_zero())) any = true;
      if (!l || l->is_zero() || (r && *r != *l)) all_guaranteed = false;
    }
  };
  if (pod.spec.resources && (!pod.spec.resources->limits.empty() || !pod.spec.resources->requests.empty())) {
    look(pod.spec.resources->requests, pod.spec.resources->limits);
  } else {
    for (const auto& c : pod.spec.initContainers) look(requests(c), limits(c));
    for (const auto& c : pod.spec.containers) look(requests(c), limits(c));
  }
  if (!any) return Qos::best_effort;
  return all_guaranteed ? Qos::guaranteed : Qos::burstable;
}

std::string_view qos_name(Qos qos) {
  switch (qos) {
    case Qos::guaranteed: return "Guaranteed";
    case Qos::burstable: return "Burstable";
    default: return "BestEffort";
  }
}

std::string pod_cgroup(const api::core::Pod& pod) {
  std::string parent = "/kubepods";
  switch (qos_class(pod)) {
    case Qos::guaranteed: break;
    case Qos::burstable: parent += "/burstable"; break;
    case Qos::best_effort: parent += "/besteffort"; break;
  }
  return parent + "/pod" + pod.metadata.uid;
}

runtime::Resources container_resources(const api::core::Container& c) {
  runtime::Resources r;
  auto cpu_request = request_of(c, "cpu"), cpu_limit = amount(limits(c), "cpu"), memory = amount(limits(c), "memory");
  r.cpu_shares = cpu_shares(cpu_request ? cpu_request->milli_value() : 0);
  if (cpu_limit && cpu_limit->sign() > 0) {
    r.cpu_quota_us = quota(cpu_limit->milli_value());
    r.cpu_period_us = kPeriod;
  }
  if (memory && memory->sign() > 0) r.memory_bytes = memory->value();
  for (const auto& [name, value] : limits(c)) {
    if (!name.starts_with("hugepages-")) continue;
    std::string size = name.substr(10);  // "2Mi" -> "2MB", the kernel's word
    if (size.ends_with("i")) size.back() = 'B';
    r.hugepage_bytes[size] = api::Quantity::of(value).value();
  }
  return r;
}

PodRequest pod_request(const api::core::Pod& pod) {
  auto of = [](const api::core::Container& c) {
    PodRequest r;
    if (auto q = request_of(c, "cpu")) r.cpu_milli = q->milli_value();
    if (auto q = request_of(c, "memory")) r.memory_bytes = q->value();
    if (auto q = request_of(c, "ephemeral-storage")) r.ephemeral_bytes = q->value();
    return r;
  };
  auto plus = [](PodRequest a, const PodRequest& b) {
    return PodRequest{a.cpu_milli + b.cpu_milli, a.memory_bytes + b.memory_bytes, a.ephemeral_bytes + b.ephemeral_bytes};
  };
  auto larger = [](const PodRequest& a, const PodRequest& b) {
    return PodRequest{std::max(a.cpu_milli, b.cpu_milli), std::max(a.memory_bytes, b.memory_bytes),
                      std::max(a.ephemeral_bytes, b.ephemeral_bytes)};
  };
  PodRequest sum, sidecars, init;
  for (const auto& c : pod.spec.containers) sum = plus(sum, of(c));
  for (const auto& c : pod.spec.initContainers) {
    if (is_sidecar(c)) {
      sidecars = plus(sidecars, of(c));
      sum = plus(sum, of(c));
      init = larger(init, sidecars);
    } else {
      init = larger(init, plus(sidecars, of(c)));
    }
  }
  PodRequest total = larger(sum, init);
  if (pod.spec.resources) {
    if (auto q = amount(pod.spec.resources->requests, "cpu")) total.cpu_milli = q->milli_value();
    if (auto q = amount(pod.spec.resources->requests, "memory")) total.memory_bytes = q->value();
  }
  if (auto q = amount(pod.spec.overhead, "cpu")) total.cpu_milli += q->milli_value();
  if (auto q = amount(pod.spec.overhead, "memory")) total.memory_bytes += q->value();
  return total;
}

runtime::Resources pod_resources(const api::core::Pod& pod) {
  runtime::Resources r;
  PodRequest request = pod_request(pod);
  r.cpu_shares = cpu_shares(request.cpu_milli);
  int64_t cpu = 0, memory = 0, cpu_init = 0, memory_init = 0;
  bool all_cpu = true, all_memory = true;
  auto add = [&](const api::core::Container& c, bool one_at_a_time) {
    auto cl = amount(limits(c), "cpu"), ml = amount(limits(c), "memory");
    if (cl && cl->sign() > 0) {
      if (one_at_a_time) cpu_init = std::max(cpu_init, cl->milli_value());
      else cpu += cl->milli_value();
    } else {
      all_cpu = false;
    }
    if (ml && ml->sign() > 0) {
      if (one_at_a_time) memory_init = std::max(memory_init, ml->value());
      else memory += ml->value();
    } else {
      all_memory = false;
    }
  };
  for (const auto& c : pod.spec.containers) add(c, false);
  for (const auto& c : pod.spec.initContainers) add(c, !is_sidecar(c));
  cpu = std::max(cpu, cpu_init);
  memory = std::max(memory, memory_init);
  if (pod.spec.resources) {
    if (auto q = amount(pod.spec.resources->limits, "cpu")) cpu = q->milli_value(), all_cpu = true;
    if (auto q = amount(pod.spec.resources->limits, "memory")) memory = q->value(), all_memory = true;
  }
  if (auto q = amount(pod.spec.overhead, "cpu")) cpu += q->milli_value();
  if (auto q = amount(pod.spec.overhead, "memory")) memory += q->value();
  if (all_cpu && cpu > 0) {
    r.cpu_quota_us = quota(cpu);
    r.cpu_period_us = kPeriod;
  }
  if (all_memory && memory > 0) r.memory_bytes = memory;
  return r;
}

int oom_score_adj(const api::core::Pod& pod, const api::core::Container& c, int64_t node_memory_bytes) {
  if (pod.spec.priorityClassName == "system-node-critical") return -997;
  switch (qos_class(pod)) {
    case Qos::guaranteed: return -997;
    case Qos::best_effort: return 1000;
    default: break;
  }
  auto memory = request_of(c, "memory");
  int64_t requested = memory ? memory->value() : 0;
  if (node_memory_bytes <= 0) return 999;
  auto score = static_cast<int>(1000 - 1000 * static_cast<double>(requested) / static_cast<double>(node_memory_bytes));
  return std::clamp(score, 3, 999);
}

}  // namespace agent
