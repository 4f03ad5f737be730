#include "server/controllers/pods.h"

#include <fmt/format.h>

#include "base/bytes.h"
#include "server/controllers/parallel.h"

namespace server::controllers {
namespace {

core::ObjectReference about(const Owner& owner) { return api::reference_to(*owner.kind, owner.metadata); }

std::string quoted(const std::string& s) { return base::to_text(base::json::value(s)); }

template <class T>
void drop(T& v) {
  T().swap(v);  // an assignment would keep the memory
}

void trim(std::vector<core::Container>& containers) {
  for (core::Container& c : containers) {
    for (auto* text : {&c.image, &c.workingDir, &c.terminationMessagePath, &c.terminationMessagePolicy, &c.imagePullPolicy}) drop(*text);
    drop(c.command), drop(c.args), drop(c.envFrom), drop(c.env), drop(c.volumeMounts), drop(c.volumeDevices), drop(c.resizePolicy);
    c.livenessProbe.reset(), c.readinessProbe.reset(), c.startupProbe.reset(), c.lifecycle.reset(), c.securityContext.reset();
    if (c.resources) drop(c.resources->limits);  // what is asked for is scaled by
  }
}

void trim(std::vector<core::ContainerStatus>& statuses) {
  for (core::ContainerStatus& s : statuses) drop(s.image), drop(s.imageID), drop(s.containerID), drop(s.volumeMounts);
}

}  // namespace

void trim(core::Pod& pod) {
  core::PodSpec& s = pod.spec;
  trim(s.containers), trim(s.initContainers);
  drop(s.ephemeralContainers), drop(s.imagePullSecrets), drop(s.hostAliases), drop(s.topologySpreadConstraints);
  s.securityContext.reset(), s.dnsConfig.reset();
  // Claims are protected, and made, for pods.
  std::erase_if(s.volumes, [](const core::Volume& v) { return !v.persistentVolumeClaim && !v.ephemeral; });
  s.volumes.shrink_to_fit();
  trim(pod.status.containerStatuses), trim(pod.status.initContainerStatuses);
  drop(pod.status.ephemeralContainerStatuses);
  // A Job's rules may name any condition.
  if (const auto* owner = controller_of(pod.metadata); !owner || owner->kind != "Job") {
    std::erase_if(pod.status.conditions, [](const core::PodCondition& c) { return c.type != "Ready" && c.type != "DisruptionTarget"; });
    pod.status.conditions.shrink_to_fit();
  }
  // Of annotations Kubernetes' own are read: the cost of a pod's deletion, its number in a Job.
  std::erase_if(pod.metadata.annotations,
                [](const auto& a) { return a.first.find("kubernetes.io/") == a.first.npos || a.first.starts_with("kubectl."); });
}

PodControl::PodControl(Context& context) : context_(context), pods_(context.informers.get<core::Pod>()) { index_by_owner(pods_); }

void PodControl::watch_pods(const api::KindInfo& kind, std::function<void(std::string key)> f,
                            std::function<void(const core::Pod&)> orphan) {
  const api::KindInfo* owner_kind = &kind;
  pods_.on_change([this, owner_kind, f = std::move(f), orphan = std::move(orphan)](const PodPtr& before, const PodPtr& after) {
    const core::Pod& pod = after ? *after : *before;
    if (!before) expectations_.met(pod.metadata.namespace_ + "/" + pod.metadata.name);
    if (!after || deleting(after->metadata)) expectations_.met(pod.metadata.uid);
    auto owner_key = [&](const core::Pod& p) {
      const auto* o = controller_of(p.metadata);
      return o && o->kind == owner_kind->kind ? p.metadata.namespace_ + "/" + o->name : std::string();
    };
    std::string is = owner_key(pod), was = before ? owner_key(*before) : is;
    if (!is.empty()) f(is);
    if (!was.empty() && was != is) f(was);
    if (orphan && after && !controller_of(after->metadata)) orphan(*after);
  });
}

Task<Result<std::vector<PodPtr>>> PodControl::claim(Owner owner, meta::LabelSelector selector, bool owner_deleting) {
  std::vector<PodPtr> mine;
  for (const PodPtr& p : pods_.by_index(by_owner, owner.metadata.uid)) {
    if (api::selects(selector, p->metadata.labels)) {
      mine.push_back(p);
      continue;
    }
    if (owner_deleting || deleting(p->metadata)) continue;
    std::string body = fmt::format(R"({{"metadata":{{"uid":{0},"ownerReferences":[{{"$patch":"delete","uid":{1}}}]}}}})",
                                   quoted(p->metadata.uid), quoted(owner.metadata.uid));
    auto r = co_await api::patch<core::Pod>(context_.client, {p->metadata.namespace_, p->metadata.name}, api::PatchType::strategic, body);
    if (!r && !base::is_not_found(r.error())) co_return std::unexpected(std::move(r).error());
  }
  if (owner_deleting || (selector.matchLabels.empty() && selector.matchExpressions.empty())) co_return mine;
  for (const PodPtr& p : pods_.by_index(by_owner, orphans_in(owner.metadata.namespace_))) {
    if (deleting(p->metadata) || !api::selects(selector, p->metadata.labels)) continue;
    std::string reference = api::encode(controller_reference(*owner.kind, owner.metadata));
    std::string body = fmt::format(R"({{"metadata":{{"uid":{},"ownerReferences":[{}]}}}})", quoted(p->metadata.uid), reference);
    auto r = co_await api::patch<core::Pod>(context_.client, {p->metadata.namespace_, p->metadata.name}, api::PatchType::strategic, body);
    if (r) mine.push_back(std::make_shared<const core::Pod>(std::move(*r)));
    else if (!base::is_not_found(r.error())) co_return std::unexpected(std::move(r).error());
  }
  co_return mine;
}

Task<Result<>> PodControl::create(Owner owner, core::Pod pod) {
  if (pod.metadata.name.empty()) {
    std::string prefix = pod.metadata.generateName;
    if (prefix.empty()) prefix = owner.metadata.name.substr(0, 57) + "-";
    pod.metadata.generateName = prefix;
    pod.metadata.name = prefix + base::random_suffix(5);
  }
  std::string name = pod.metadata.name, key = pod.metadata.namespace_ + "/" + name;
  expectations_.expect(owner.key(), key);
  auto r = co_await api::create(context_.client, std::move(pod));
  if (r) {
    context_.events.record({owner.component, {}}, about(owner), "Normal", "SuccessfulCreate", "Created pod: " + name);
    co_return Result<>{};
  }
  expectations_.met(key);
  base::Error error = std::move(r).error();
  if (!base::is_already_exists(error))
    context_.events.record({owner.component, {}}, about(owner), "Warning", "FailedCreate", "Error creating: " + error.message);
  co_return std::unexpected(std::move(error));
}

Task<Result<>> PodControl::remove(Owner owner, PodPtr pod) {
  const std::string uid = pod->metadata.uid;
  expectations_.expect(owner.key(), uid);
  api::DeleteOptions options;
  options.uid = uid;
  auto r = co_await api::remove<core::Pod>(context_.client, {pod->metadata.namespace_, pod->metadata.name}, std::move(options));
  if (r) {
    context_.events.record({owner.component, {}}, about(owner), "Normal", "SuccessfulDelete", "Deleted pod: " + pod->metadata.name);
    co_return Result<>{};
  }
  expectations_.met(uid);
  if (base::is_not_found(r.error()) || base::is_conflict(r.error())) co_return Result<>{};  // gone, or another of its name
  context_.events.record({owner.component, {}}, about(owner), "Warning", "FailedDelete", "Error deleting: " + r.error().message);
  co_return r;
}

Task<std::pair<size_t, Result<>>> PodControl::create_many(Owner owner, std::vector<core::Pod> pods) {
  size_t made = 0, batch = 1;
  while (made < pods.size()) {
    batch = std::min(batch, pods.size() - made);
    std::vector<Task<Result<>>> work;
    for (size_t i = 0; i < batch; ++i) work.push_back(create(owner, std::move(pods[made + i])));
    Result<> r = co_await together(context_.tasks, std::move(work));
    if (!r) co_return std::pair(made, std::move(r));
    made += batch;
    batch *= 2;
  }
  co_return std::pair(made, Result<>{});
}

Task<Result<>> PodControl::remove_many(Owner owner, std::vector<PodPtr> pods) {
  if (pods.empty()) co_return Result<>{};
  std::vector<Task<Result<>>> work;
  for (PodPtr& p : pods) work.push_back(remove(owner, std::move(p)));
  co_return co_await together(context_.tasks, std::move(work));
}

}  // namespace server::controllers
