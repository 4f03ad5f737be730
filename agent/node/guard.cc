#include "agent/node/guard.h"

#include <algorithm>
#include <set>

#include <fmt/format.h>

#include "agent/node/local_storage.h"
#include "agent/pods/resources.h"
#include "base/log.h"

namespace agent {

using namespace std::chrono_literals;

namespace {
constexpr auto kEvery = 10s;
// A condition stays for so long after the pressure has gone, as kubelet's does.
constexpr auto kTransition = 5min;
constexpr auto kBetweenEvictions = 30s;
// An image that came or was used just now is about to be needed.
constexpr auto kImageMinAge = 2min;
}  // namespace

std::string choose_victim(const std::vector<EvictionCandidate>& candidates) {
  const EvictionCandidate* worst = nullptr;
  auto before = [](const EvictionCandidate& a, const EvictionCandidate& b) {
    bool over_a = a.usage > a.request, over_b = b.usage > b.request;
    if (over_a != over_b) return over_a;
    if (a.priority != b.priority) return a.priority < b.priority;
    return a.usage - a.request > b.usage - b.request;
  };
  for (const auto& c : candidates) {
    if (c.critical) continue;
    if (!worst || before(c, *worst)) worst = &c;
  }
  return worst ? worst->uid : std::string();
}

Guard::Guard(NodeObject& node, PodManager& pods, runtime::Images& images, std::string data_dir, GuardLimits limits)
    : node_(node), pods_(pods), images_(images), data_dir_(std::move(data_dir)), limits_(limits) {}

Pressure Guard::look() {
  Pressure p;
  MemoryUse memory = read_memory();
  p.memory = memory.total > 0 && memory.available < limits_.memory_available;
  if (auto d = read_disk(data_dir_)) {
    disk_ = *d;
    p.disk = static_cast<double>(d->available) < limits_.disk_available * static_cast<double>(d->total) ||
             (d->inodes > 0 && static_cast<double>(d->inodes_free) < limits_.inodes_available * static_cast<double>(d->inodes));
  }
  PidUse pids = read_pids();
  p.pids = pids.max > 0 && pids.running > pids.max / 10 * 9;
  return p;
}

Task<> Guard::run() {
  for (;;) {
    Pressure now = look();
    auto t = base::Clock::now();
    if (now.memory) memory_since_ = t;
    if (now.disk) disk_since_ = t;
    double used = disk_.total ? 1 - static_cast<double>(disk_.available) / static_cast<double>(disk_.total) : 0;
    if (used > limits_.image_high || now.disk) co_await collect_images(used);
    if (now.memory && t > last_eviction_ + kBetweenEvictions) evict_for_memory();
    if (now.disk && look().disk && t > last_eviction_ + kBetweenEvictions) co_await evict_for_disk();
    co_await evict_over_limit();
    Pressure shown = now;
    auto recently = [&](base::TimePoint at) { return at != base::TimePoint{} && t < at + kTransition; };
    shown.memory = recently(memory_since_);
    shown.disk = recently(disk_since_);
    if (!(node_.facts().pressure == shown)) {
      node_.set_facts([&](NodeFacts& f) { f.pressure = shown; });
    }
    co_await base::sleep_for(kEvery);
  }
}

Task<> Guard::collect_images(double used) {
  std::set<std::string> in_use;
  for (const auto& view : pods_.all()) {
    for (const auto* list : {&view.pod->spec.containers, &view.pod->spec.initContainers}) {
      for (const auto& c : *list) {
        if (auto image = images_.find(c.image)) in_use.insert(image->id);
      }
    }
    for (const auto& v : view.pod->spec.volumes) {
      auto image = v.image ? images_.find(v.image->reference) : nullptr;
      if (image) in_use.insert(image->id);
    }
    for (const auto& s : view.status.containerStatuses) {
      if (auto image = images_.find(s.imageID)) in_use.insert(image->id);
    }
  }
  auto images = images_.list();
  std::sort(images.begin(), images.end(), [](const auto& a, const auto& b) { return a->last_used < b->last_used; });
  auto now = base::WallClock::now();
  for (const auto& image : images) {
    if (used <= limits_.image_low) break;
    if (image->pinned || in_use.contains(image->id) || now - image->last_used < kImageMinAge || now - image->created < kImageMinAge)
      continue;
    base::log::info("agent", "the disk is {:.0f}% full: removing the unused image {}", used * 100,
                    image->reference.empty() ? image->id : image->reference);
    auto r = co_await images_.remove(image->id);
    if (!r) base::log::warn("agent", "removing image {}: {}", image->id, r.error().message);
    if (auto d = read_disk(data_dir_); d && d->total) used = 1 - static_cast<double>(d->available) / static_cast<double>(d->total);
  }
}

void Guard::evict_for_memory() {
  std::vector<EvictionCandidate> candidates;
  for (const auto& view : pods_.all()) {
    if (!view.sandbox || view.status.phase != "Running") continue;
    EvictionCandidate c;
    c.uid = view.pod->metadata.uid;
    c.name = view.pod->metadata.namespace_ + "/" + view.pod->metadata.name;
    c.priority = view.pod->spec.priority.value_or(0);
    c.critical = c.priority >= 2'000'000'000;
    c.request = pod_request(*view.pod).memory_bytes;
    if (auto s = view.sandbox->pod_stats()) c.usage = static_cast<int64_t>(s->memory_working_set_bytes);
    candidates.push_back(std::move(c));
  }
  std::string victim = choose_victim(candidates);
  if (victim.empty()) return;
  last_eviction_ = base::Clock::now();
  pods_.evict(victim,
              fmt::format("The node was low on resource: memory. Threshold quantity: {}Mi, available: {}Mi.",
                          limits_.memory_available >> 20, read_memory().available >> 20),
              true);
}

Task<> Guard::evict_over_limit() {
  for (const auto& view : pods_.all()) {
    if (!view.sandbox || view.status.phase == "Succeeded" || view.status.phase == "Failed" || !limits_storage(*view.pod)) continue;
    auto why = co_await base::offload([view, dir = data_dir_ + "/agent/pods"] { return exceeded_storage(view, dir); });
    if (why) pods_.evict(view.pod->metadata.uid, std::move(*why), false);
  }
}

Task<> Guard::evict_for_disk() {
  std::vector<EvictionCandidate> candidates;
  for (const auto& view : pods_.all()) {
    if (!view.sandbox || view.status.phase != "Running") continue;
    EvictionCandidate c;
    c.uid = view.pod->metadata.uid;
    c.priority = view.pod->spec.priority.value_or(0);
    c.critical = c.priority >= 2'000'000'000;
    c.request = pod_request(*view.pod).ephemeral_bytes;
    c.usage = static_cast<int64_t>(co_await base::offload([view, dir = data_dir_ + "/agent/pods"] { return storage_usage(view, dir); }));
    candidates.push_back(std::move(c));
  }
  std::string victim = choose_victim(candidates);
  if (victim.empty()) co_return;
  last_eviction_ = base::Clock::now();
  pods_.evict(victim, "The node was low on resource: ephemeral-storage.", true);
}

}  // namespace agent
