#include "server/controllers/objects.h"

#include "api/codec.h"
#include "server/controllers/controller.h"

namespace server::controllers {

const meta::OwnerReference* controller_of(const meta::ObjectMeta& m) {
  for (const auto& o : m.ownerReferences)
    if (o.controller.value_or(false)) return &o;
  return nullptr;
}

meta::OwnerReference controller_reference(const api::KindInfo& kind, const meta::ObjectMeta& owner) {
  meta::OwnerReference out;
  out.apiVersion = kind.group.empty() ? std::string(kind.version) : std::string(kind.group) + "/" + std::string(kind.version);
  out.kind = kind.kind;
  out.name = owner.name;
  out.uid = owner.uid;
  out.controller = true;
  out.blockOwnerDeletion = true;
  return out;
}

std::string orphans_in(const std::string& ns) { return "orphans in " + ns; }

std::vector<std::string> owner_index(const meta::ObjectMeta& m) {
  const auto* o = controller_of(m);
  return {o ? o->uid : orphans_in(m.namespace_)};
}

std::string annotation(const meta::ObjectMeta& m, const std::string& key) {
  auto it = m.annotations.find(key);
  return it == m.annotations.end() ? std::string() : it->second;
}

WallTime time_of(const std::string& rfc3339) {
  if (rfc3339.empty()) return {};
  return base::parse_rfc3339(rfc3339).value_or(WallTime{});
}

bool pod_ready(const core::Pod& p) {
  const auto* c = find_condition(p.status.conditions, "Ready");
  return c && c->status == "True";
}

std::optional<WallTime> pod_ready_since(const core::Pod& p) {
  const auto* c = find_condition(p.status.conditions, "Ready");
  if (!c || c->status != "True") return std::nullopt;
  return time_of(c->lastTransitionTime);
}

bool pod_available(const core::Pod& p, int32_t min_ready_seconds, WallTime now) {
  auto since = pod_ready_since(p);
  return since && (min_ready_seconds == 0 || *since + std::chrono::seconds(min_ready_seconds) <= now);
}

int32_t pod_restarts(const core::Pod& p) {
  int32_t n = 0;
  for (const auto& c : p.status.containerStatuses) n = std::max(n, c.restartCount);
  return n;
}

std::string short_hash(std::string_view text) {
  static constexpr std::string_view letters = "bcdfghjklmnpqrstvwxz2456789";
  uint64_t h = 0xcbf29ce484222325;  // FNV-1a
  for (char c : text) h = (h ^ uint8_t(c)) * 0x100000001b3;
  std::string out;
  for (int i = 0; i < 10; ++i, h /= letters.size()) out += letters[h % letters.size()];
  return out;
}

namespace {

core::PodTemplateSpec without_hash(core::PodTemplateSpec t) {
  t.metadata.labels.erase("pod-template-hash");
  return t;
}

}  // namespace

std::string template_hash(const core::PodTemplateSpec& t, std::optional<int32_t> collisions) {
  std::string text = api::encode(without_hash(t));
  if (collisions) text += std::to_string(*collisions);
  return short_hash(text);
}

bool same_template(const core::PodTemplateSpec& a, const core::PodTemplateSpec& b) { return without_hash(a) == without_hash(b); }

core::Pod pod_from_template(const core::PodTemplateSpec& t, const std::string& ns, meta::OwnerReference owner) {
  core::Pod pod;
  pod.metadata.namespace_ = ns;
  pod.metadata.labels = t.metadata.labels;
  pod.metadata.annotations = t.metadata.annotations;
  pod.metadata.finalizers = t.metadata.finalizers;
  pod.metadata.ownerReferences.push_back(std::move(owner));
  pod.spec = t.spec;
  return pod;
}

}  // namespace server::controllers
