#include "server/controllers/rollout.h"

#include <charconv>
#include <cmath>

namespace server::controllers {

namespace apps = api::apps;

int32_t size_of(const apps::ReplicaSet& s) { return s.spec.replicas.value_or(1); }

std::optional<int32_t> noted(const apps::ReplicaSet& s, const char* key) {
  std::string text = annotation(s.metadata, key);
  int32_t n = 0;
  if (text.empty() || std::from_chars(text.data(), text.data() + text.size(), n).ec != std::errc()) return std::nullopt;
  return n;
}

int32_t next_size_of_new(const apps::Deployment& d, int32_t new_size, int32_t total, int32_t surge) {
  const int32_t want = d.spec.replicas.value_or(1);
  if (new_size >= want) return want;
  if (total >= want + surge) return new_size;
  return new_size + std::min(want + surge - total, want - new_size);
}

std::vector<Scale> shrink_old(const apps::Deployment& d, const SetPtr& current, const std::vector<SetPtr>& old) {
  const int32_t floor = d.spec.replicas.value_or(1) - fenceposts(d).unavailable;
  int32_t total = current ? size_of(*current) : 0;
  int32_t available = current ? current->status.availableReplicas.value_or(0) : 0;
  const int32_t new_unavailable = total - available;
  std::vector<Scale> out;
  for (const SetPtr& s : old) {
    total += size_of(*s);
    available += s->status.availableReplicas.value_or(0);
    if (size_of(*s) > 0) out.push_back({s, size_of(*s)});
  }
  int32_t unhealthy_budget = total - floor - new_unavailable;
  if (out.empty() || unhealthy_budget <= 0) return {};
  std::sort(out.begin(), out.end(), [](const Scale& a, const Scale& b) {
    return std::tie(a.set->metadata.creationTimestamp, a.set->metadata.name) <
           std::tie(b.set->metadata.creationTimestamp, b.set->metadata.name);
  });
  for (Scale& s : out) {
    int32_t unhealthy = s.replicas - s.set->status.availableReplicas.value_or(0);
    int32_t n = std::clamp(unhealthy, 0, unhealthy_budget);
    s.replicas -= n;
    unhealthy_budget -= n;
  }
  int32_t healthy_budget = available - floor;
  for (Scale& s : out) {
    int32_t n = std::clamp(healthy_budget, 0, s.replicas);
    s.replicas -= n;
    healthy_budget -= n;
  }
  std::erase_if(out, [](const Scale& s) { return s.replicas == size_of(*s.set); });
  return out;
}

std::vector<Scale> share_replicas(const apps::Deployment& d, const SetPtr& current, const std::vector<SetPtr>& sets) {
  const int32_t want = d.spec.replicas.value_or(1);
  std::vector<SetPtr> active;
  for (const SetPtr& s : sets)
    if (size_of(*s) > 0) active.push_back(s);
  auto changed = [](const SetPtr& s, int32_t n) { return size_of(*s) == n ? std::vector<Scale>{} : std::vector<Scale>{{s, n}}; };
  if (active.size() <= 1) {
    SetPtr one = !active.empty() ? active.front() : current;
    if (!one)
      for (const SetPtr& s : sets)
        if (!one || s->metadata.creationTimestamp > one->metadata.creationTimestamp) one = s;
    return one ? changed(one, want) : std::vector<Scale>{};
  }
  std::vector<Scale> out;
  bool saturated = current && size_of(*current) == want && noted(*current, desired_annotation) == want &&
                   current->status.availableReplicas.value_or(0) == want;
  if (saturated) {
    for (const SetPtr& s : active)
      if (s != current) out.push_back({s, 0});
    return out;
  }
  if (d.spec.strategy && d.spec.strategy->type == "Recreate") return {};
  int32_t total = 0;
  for (const SetPtr& s : active) total += size_of(*s);
  const int32_t surge = fenceposts(d).surge, allowed = want > 0 ? want + surge : 0;
  int32_t left = allowed - total;
  // The largest takes the rounding error; between equals the newer one grows and the older one shrinks.
  std::sort(active.begin(), active.end(), [&](const SetPtr& a, const SetPtr& b) {
    if (size_of(*a) != size_of(*b)) return size_of(*a) > size_of(*b);
    const std::string &x = a->metadata.creationTimestamp, &y = b->metadata.creationTimestamp;
    return left > 0 ? x > y : x < y;
  });
  for (const SetPtr& s : active) {
    int32_t n = size_of(*s);
    if (left != 0) {
      double before = noted(*s, most_annotation).value_or(d.status.replicas.value_or(0));
      if (before == 0) before = total;
      auto share = want == 0 ? -n : int32_t(std::lround(n * (want + surge) / before)) - n;
      share = left > 0 ? std::clamp(share, 0, left) : std::clamp(share, left, 0);
      n += share;
      left -= share;
    }
    out.push_back({s, n});
  }
  if (!out.empty() && left != 0) out.front().replicas = std::max(0, out.front().replicas + left);
  return out;  // those that keep their size too: their annotations change
}

}  // namespace server::controllers
