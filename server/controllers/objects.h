// What controllers ask of objects again and again: owners, deletion, readiness, conditions. All pure.
#pragma once

#include <algorithm>
#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/kind.h"
#include "api/selector.h"
#include "api/types/core_v1.h"
#include "api/types/meta_v1.h"
#include "base/time.h"

namespace server::controllers {

using PodPtr = std::shared_ptr<const api::core::Pod>;
using base::WallTime;

// The owner with controller=true; null when there is none.
const api::meta::OwnerReference* controller_of(const api::meta::ObjectMeta& m);
inline bool controlled_by(const api::meta::ObjectMeta& m, const std::string& uid) {
  const auto* o = controller_of(m);
  return o && o->uid == uid;
}
// The reference a child gets to the object that controls it.
api::meta::OwnerReference controller_reference(const api::KindInfo& kind, const api::meta::ObjectMeta& owner);
template <class T>
api::meta::OwnerReference controller_reference(const T& owner) {
  return controller_reference(T::kind_info(), owner.metadata);
}
inline bool deleting(const api::meta::ObjectMeta& m) { return !m.deletionTimestamp.empty(); }

std::string annotation(const api::meta::ObjectMeta& m, const std::string& key);
// Absent or malformed times are the epoch.
WallTime time_of(const std::string& rfc3339);

inline bool pod_finished(const api::core::Pod& p) { return p.status.phase == "Succeeded" || p.status.phase == "Failed"; }
inline bool pod_active(const api::core::Pod& p) { return !pod_finished(p) && !deleting(p.metadata); }
bool pod_ready(const api::core::Pod& p);
// When it became ready; nothing when it is not.
std::optional<WallTime> pod_ready_since(const api::core::Pod& p);
bool pod_available(const api::core::Pod& p, int32_t min_ready_seconds, WallTime now);
int32_t pod_restarts(const api::core::Pod& p);

template <class C>
const C* find_condition(const std::vector<C>& conditions, std::string_view type) {
  for (const C& c : conditions)
    if (c.type == type) return &c;
  return nullptr;
}

// Sets the condition; its lastTransitionTime moves only when the status changes. True when anything but times differs.
template <class C>
bool set_condition(std::vector<C>& conditions, std::string_view type, std::string_view status, std::string_view reason, std::string message,
                   WallTime now) {
  auto it = std::find_if(conditions.begin(), conditions.end(), [&](const C& c) { return c.type == type; });
  if (it != conditions.end() && it->status == status && it->reason == reason && it->message == message) return false;
  C c;
  if (it != conditions.end()) c = *it;
  if (c.status != status) c.lastTransitionTime = base::rfc3339(now);
  c.type = type;
  c.status = status;
  c.reason = reason;
  c.message = std::move(message);
  if constexpr (requires { c.lastUpdateTime; }) c.lastUpdateTime = base::rfc3339(now);
  if (it != conditions.end()) *it = std::move(c);
  else conditions.push_back(std::move(c));
  return true;
}
template <class C>
void remove_condition(std::vector<C>& conditions, std::string_view type) {
  std::erase_if(conditions, [&](const C& c) { return c.type == type; });
}

// A short, stable name part made of the text (letters that form no words, as in pod-template-hash).
std::string short_hash(std::string_view text);
// Of a pod template without its pod-template-hash label, with the collision count that sets equal hashes apart.
std::string template_hash(const api::core::PodTemplateSpec& t, std::optional<int32_t> collisions);
bool same_template(const api::core::PodTemplateSpec& a, const api::core::PodTemplateSpec& b);

// A pod made from a template: labels, annotations, finalizers and spec of it, owned by the reference.
api::core::Pod pod_from_template(const api::core::PodTemplateSpec& t, const std::string& ns, api::meta::OwnerReference owner);

}  // namespace server::controllers
