#include "server/scheduler/scheduler.h"

#include <deque>
#include <unordered_set>

#include "api/event_recorder.h"
#include "api/informer.h"
#include "base/log.h"
#include "base/time.h"
#include "server/scheduler/decision.h"
#include "server/scheduler/queue.h"
#include "server/scheduler/translate.h"

namespace server {
namespace scheduler {
namespace {

namespace core = api::core;

// Names and revision: all an informer needs. The rest of the metadata is dropped.
api::meta::ObjectMeta brief(const api::meta::ObjectMeta& m) {
  api::meta::ObjectMeta out;
  out.name = m.name;
  out.namespace_ = m.namespace_;
  out.uid = m.uid;
  out.resourceVersion = m.resourceVersion;
  return out;
}

// An informer that keeps only the scheduler's view of each object.
template <class T, class View>
class ViewInformer final : public api::InformerBase {
 public:
  struct Kept {
    api::meta::ObjectMeta metadata;
    std::shared_ptr<const View> view;
  };
  using Ptr = std::shared_ptr<const View>;
  ViewInformer(api::Client& client, View (*translate)(const T&))
      : InformerBase(client,
                     {api::resource_of<T>(), &decode_view,
                      [](const void* o) -> const api::meta::ObjectMeta& { return static_cast<const Kept*>(o)->metadata; }},
                     {}, {}) {
    translate_ = translate;
  }
  // Null before: an addition; null after: a deletion.
  void on_change(std::function<void(const std::string& name, const Ptr& before, const Ptr& after)> f) {
    handle([f = std::move(f)](const Object& before, const Object& after) {
      auto* b = static_cast<const Kept*>(before.get());
      auto* a = static_cast<const Kept*>(after.get());
      const auto& m = a ? a->metadata : b->metadata;
      f(m.namespace_.empty() ? m.name : m.namespace_ + "/" + m.name, b ? b->view : nullptr, a ? a->view : nullptr);
    });
  }

 private:
  static api::Result<Object> decode_view(std::string_view json) {
    auto o = api::decode<T>(json);
    if (!o) return std::unexpected(std::move(o).error());
    return std::make_shared<const Kept>(Kept{brief(o->metadata), std::make_shared<const View>(translate_(*o))});
  }
  static inline View (*translate_)(const T&) = nullptr;
};

Labels labels_of(const core::Namespace& ns) { return ns.metadata.labels; }
Pod pod_view(const core::Pod& p) {
  Pod out = translate(p);
  if (!out.node_name.empty()) {
    // What only says where it may go is of no use any more.
    out.tolerations = std::vector<Toleration>();
    out.node_selector = std::vector<Requirement>();
    out.node_terms.reset();
    out.preferred_nodes = std::vector<NodeTerm>();
    out.spread = std::vector<Spread>();
    out.images = std::vector<std::string>();
  }
  return out;
}
Node node_view(const core::Node& n) { return translate(n); }
Budget budget_view(const api::policy::PodDisruptionBudget& b) { return translate(b); }
Claim claim_view(const core::PersistentVolumeClaim& c) { return translate(c); }
Volume volume_view(const core::PersistentVolume& v) { return translate(v); }
StorageClass class_view(const api::storage::StorageClass& c) { return translate(c); }

core::ObjectReference reference(const Pod& pod) {
  core::ObjectReference out;
  out.kind = "Pod";
  out.apiVersion = "v1";
  out.namespace_ = pod.ns;
  out.name = pod.name;
  out.uid = pod.uid;
  return out;
}

}  // namespace
}  // namespace scheduler

using namespace scheduler;

// `inbox` takes changes from any strand; all else belongs to the strand of run().
struct Scheduler::Impl {
  Impl(base::Runtime& runtime, api::Client& c, SchedulerOptions o)
      : client(c), options(std::move(o)), tasks(runtime), recorder(runtime, c), pods(c, pod_view), nodes(c, node_view),
        namespaces(c, labels_of), budgets_seen(c, budget_view), claims(c, claim_view), volumes_seen(c, volume_view), classes(c, class_view),
        queue({options.initial_backoff, options.longest_backoff, options.retry_all_after}) {
    pods.on_change([this](const std::string&, const PodPtr& b, const PodPtr& a) { tell([this, b, a] { pod_changed(b, a); }); });
    nodes.on_change([this](const std::string&, const auto& b, const auto& a) { tell([this, b, a] { node_changed(b, a); }); });
    namespaces.on_change([this](const std::string& name, const auto&, const auto& a) {
      tell([this, name, a] { a ? cluster.set_namespace(name, *a) : cluster.remove_namespace(name); });
    });
    budgets_seen.on_change([this](const std::string& key, const auto&, const auto& a) {
      tell([this, key, a] { a ? (void)(budgets[key] = *a) : (void)budgets.erase(key); });
    });
    follow(claims, volumes.claims);
    follow(volumes_seen, volumes.volumes);
    follow(classes, volumes.classes);
  }

  api::Client& client;
  const SchedulerOptions options;
  base::Tasks tasks;
  api::EventRecorder recorder;
  ViewInformer<core::Pod, Pod> pods;
  ViewInformer<core::Node, Node> nodes;
  ViewInformer<core::Namespace, Labels> namespaces;
  ViewInformer<api::policy::PodDisruptionBudget, Budget> budgets_seen;
  ViewInformer<core::PersistentVolumeClaim, Claim> claims;
  ViewInformer<core::PersistentVolume, Volume> volumes_seen;
  ViewInformer<api::storage::StorageClass, StorageClass> classes;

  std::mutex inbox_mutex;
  std::vector<std::move_only_function<void()>> inbox;
  base::Event changed;

  Cluster cluster;
  Queue queue;
  std::map<std::string, Budget> budgets;
  Volumes volumes;
  struct Preparing {  // assumed, while its volumes are bound
    PodPtr pod;
    base::TimePoint give_up;
  };
  std::map<std::string, Preparing> preparing;  // by uid
  std::unordered_set<std::string> assumed;             // bound by us, not yet seen bound; uid
  std::unordered_map<std::string, std::string> told;   // what the status of a waiting pod says; by uid
  std::deque<std::pair<PodPtr, std::string>> decided;  // waiting for one of the binds in flight to end
  size_t binding = 0;
  uint32_t turn = 0;

  void tell(std::move_only_function<void()> f) {
    {
      std::scoped_lock lock(inbox_mutex);
      inbox.push_back(std::move(f));
    }
    changed.notify();
  }
  void drain() {
    std::vector<std::move_only_function<void()>> batch;
    {
      std::scoped_lock lock(inbox_mutex);
      batch.swap(inbox);
    }
    for (auto& f : batch) f();
  }

  template <class Seen, class View>
  void follow(Seen& seen, std::map<std::string, std::shared_ptr<const View>>& into) {
    seen.on_change([this, &into](const std::string& key, const auto&, const auto& a) {
      tell([this, &into, key, a] {
        a ? (void)(into[key] = a) : (void)into.erase(key);
        volumes_changed();
      });
    });
  }

  void volumes_changed() {
    auto now = base::Clock::now();
    queue.moved(wait_volumes, now);
    look_at_volumes(now);
  }

  // Pods whose volumes are ready are bound; those whose volumes will not come to that node are decided anew.
  void look_at_volumes(base::TimePoint now) {
    for (auto it = preparing.begin(); it != preparing.end();) {
      const PodPtr& pod = it->second.pod;
      bool ready = true, lost = it->second.give_up <= now;
      for (const std::string& name : pod->claims) {
        auto claim = volumes.claims.find(pod->ns + "/" + name);
        if (claim == volumes.claims.end() || claim->second->deleting) lost = true;
        else if (!claim->second->complete) ready = false;
      }
      if (!ready && !lost) {
        ++it;
        continue;
      }
      PodPtr placed = pod;
      it = preparing.erase(it);
      if (lost) unplace(placed, now);
      else decided.emplace_back(placed, placed->node_name);
    }
    start_binds();
  }

  void unplace(const PodPtr& pod, base::TimePoint now) {
    preparing.erase(pod->uid);
    if (assumed.erase(pod->uid) == 0) return;  // seen bound, or gone
    cluster.remove_pod(pod->uid);
    queue.put_back(pod->uid, now);
    queue.moved(wait_resources | wait_pods, now);
  }

  // Reserves volumes for the pod's open claims on its node, or says where they are to be provisioned.
  base::Task<> prepare(PodPtr pod, std::vector<VolumeChoice> choices) {
    for (const VolumeChoice& c : choices) {
      base::json::object meta, body;
      api::Result<api::Bytes> r;
      if (c.volume) {
        if (c.volume->claimed) continue;
        meta = {{"resourceVersion", c.volume->version}, {"annotations", base::json::object{{bound_by_controller, "yes"}}}};
        body["spec"] = base::json::object{{"claimRef", base::json::object{{"kind", "PersistentVolumeClaim"},
                                                                          {"apiVersion", "v1"},
                                                                          {"namespace", c.claim->ns},
                                                                          {"name", c.claim->name},
                                                                          {"uid", c.claim->uid}}}};
        body["metadata"] = std::move(meta);
        r = co_await client.patch(api::resource_of<core::PersistentVolume>(), {{}, c.volume->name}, api::PatchType::merge,
                                  base::to_text(body));
      } else {
        if (c.claim->selected_node == pod->node_name) continue;
        meta = {{"uid", c.claim->uid}, {"annotations", base::json::object{{selected_node, pod->node_name}}}};
        body["metadata"] = std::move(meta);
        r = co_await client.patch(api::resource_of<core::PersistentVolumeClaim>(), {c.claim->ns, c.claim->name}, api::PatchType::merge,
                                  base::to_text(body));
      }
      if (r) continue;
      recorder.record({options.name, {}}, reference(*pod), "Warning", "FailedScheduling",
                      "running PreBind plugin \"VolumeBinding\": " + r.error().message);
      tell([this, pod] { unplace(pod, base::Clock::now()); });
      co_return;
    }
  }

  bool ours(const Pod& p) const { return p.scheduler_name == options.name; }

  void pod_changed(const PodPtr& before, const PodPtr& after) {
    auto now = base::Clock::now();
    const PodPtr& any = after ? after : before;
    if (before && after && before->uid != after->uid) pod_changed(before, nullptr);  // replaced under one name
    if (!after || after->finished) {
      bool counted = cluster.pod(any->uid) != nullptr;
      cluster.remove_pod(any->uid);
      cluster.nominate(any, {});
      forget(any->uid);
      if (counted) queue.moved(wait_resources | wait_pods, now);
      return;
    }
    if (!after->node_name.empty()) {
      PodPtr known = cluster.pod(after->uid);
      cluster.add_pod(after);
      forget(after->uid);
      if (known && !(known->request == after->request)) queue.moved(wait_resources, now);  // resized
      if (!known || known->labels != after->labels || known->terminating != after->terminating) queue.moved(wait_pods, now);
      return;
    }
    if (assumed.contains(after->uid) || !ours(*after)) return;
    if (after->terminating || after->gated) return forget(after->uid);
    if (!after->told.empty()) told[after->uid] = after->told;
    if (!after->nominated_node.empty()) cluster.nominate(after, after->nominated_node);
    // Our own writes to its status are no reason to try again.
    PodPtr waiting = queue.find(after->uid);
    if (waiting && before && same_question(*before, *after)) return;
    queue.add(after, now);
  }

  static bool same_question(const Pod& a, const Pod& b) {
    return a.labels == b.labels && a.gated == b.gated && a.priority == b.priority && a.request == b.request &&
           a.tolerations.size() == b.tolerations.size();
  }

  void forget(const std::string& uid) {
    queue.remove(uid);
    assumed.erase(uid);
    preparing.erase(uid);
    told.erase(uid);
  }

  void node_changed(const std::shared_ptr<const Node>& before, const std::shared_ptr<const Node>& after) {
    if (!after) return cluster.remove_node(before->name);
    if (before && *before == *after) return;  // a heartbeat
    cluster.set_node(*after);
    queue.moved(wait_all, base::Clock::now());
  }

  base::Task<> run() {
    co_await pods.wait_synced();
    co_await nodes.wait_synced();
    co_await namespaces.wait_synced();
    co_await claims.wait_synced();
    co_await volumes_seen.wait_synced();
    co_await classes.wait_synced();
    for (;;) {
      uint64_t seen = changed.version();
      drain();
      auto now = base::Clock::now();
      if (!preparing.empty()) look_at_volumes(now);
      int batch = 0;
      bool more = false;
      while (PodPtr pod = queue.pop(now)) {
        attempt(pod, now);
        if (++batch == 256) {
          more = true;
          break;
        }
      }
      if (more) {
        co_await base::sleep_for(base::Duration::zero());  // lets others run
        continue;
      }
      auto deadline = queue.deadline();
      for (const auto& [uid, p] : preparing)
        if (!deadline || p.give_up < *deadline) deadline = p.give_up;
      co_await changed.wait(seen, deadline);
    }
  }

  void attempt(const PodPtr& pod, base::TimePoint now) {
    VolumeNeeds needs;
    if (!pod->claims.empty()) needs = volume_needs(volumes, cluster, *pod);
    PodPtr asking = pod;
    if (!needs.reach.empty()) {
      auto bounded = std::make_shared<Pod>(*pod);
      bounded->reach = std::move(needs.reach);
      asking = std::move(bounded);
    }
    Decision d;
    if (needs.refusal.empty()) {
      d = decide(cluster, *asking, turn++);
    } else {
      d.message = fmt::format("0/{} nodes are available: {}.", cluster.present(), needs.refusal);
      d.waits_for_volumes = d.waits_for_pods = true;
    }
    if (!d.node.empty()) {
      auto placed = std::make_shared<Pod>(*pod);
      placed->node_name = d.node;
      cluster.add_pod(placed);
      assumed.insert(pod->uid);
      if (!needs.open.empty()) {
        preparing[pod->uid] = {placed, now + std::chrono::minutes(10)};
        auto choices = choose_volumes(volumes, needs.open, cluster.node(d.node)->node);
        return tasks.spawn("scheduler volumes", prepare(std::move(placed), std::move(choices)));
      }
      decided.emplace_back(std::move(placed), std::move(d.node));
      return start_binds();
    }
    std::string nominated = try_preempt(*asking, d);
    if (!nominated.empty()) cluster.nominate(pod, nominated);
    uint8_t waits = uint8_t((d.waits_for_nodes ? wait_nodes : 0) | (d.waits_for_resources ? wait_resources : 0) |
                            (d.waits_for_pods ? wait_pods : 0) | (d.waits_for_volumes ? wait_volumes : 0));
    queue.park(pod->uid, waits, now);
    recorder.record({options.name, {}}, reference(*pod), "Warning", "FailedScheduling", d.message);
    std::string condition = "Unschedulable: " + d.message;
    auto& said = told[pod->uid];
    if (said == condition && nominated.empty()) return;  // an unchanged status is not written again
    bool first = said.empty();
    said = condition;
    tasks.spawn("scheduler status", write_unschedulable(pod, d.message, nominated, first));
  }

  // Chooses and evicts victims; the node that will have room, if any. Completes the message otherwise.
  std::string try_preempt(const Pod& pod, Decision& d) {
    if (cluster.present() == 0) return {};
    if (!pod.may_preempt) {
      d.message += " preemption: not eligible due to preemptionPolicy=Never.";
      return {};
    }
    // Earlier victims are still on their way out: wait for them.
    auto held = cluster.nominated().find(pod.uid);
    if (held != cluster.nominated().end()) {
      const auto& entry = cluster.nodes()[held->second.second];
      for (const PodPtr& p : entry.pods)
        if (p->terminating && p->priority < pod.priority) {
          d.message += " preemption: not eligible due to a terminating pod on the nominated node.";
          return {};
        }
    }
    std::vector<Budget> all;
    for (const auto& [key, b] : budgets) all.push_back(b);
    Preemption p = preempt(cluster, pod, d.preemptable, all);
    if (p.node.empty()) {
      d.message += " " + p.message;
      return {};
    }
    for (const PodPtr& victim : p.victims) {
      recorder.record({options.name, {}}, reference(*victim), "Normal", "Preempted",
                      fmt::format("Preempted by pod {} on node {}", pod.uid, p.node));
      tasks.spawn("scheduler preemption", evict(victim, pod.key()));
    }
    return p.node;
  }

  void start_binds() {
    while (binding < options.binds_in_flight && !decided.empty()) {
      auto [pod, node] = std::move(decided.front());
      decided.pop_front();
      ++binding;
      tasks.spawn("scheduler bind", bind(std::move(pod), std::move(node)));
    }
  }

  base::Task<> bind(PodPtr pod, std::string node) {
    core::Binding binding_body;
    binding_body.metadata.name = pod->name;
    binding_body.metadata.namespace_ = pod->ns;
    binding_body.metadata.uid = pod->uid;
    binding_body.target.kind = "Node";
    binding_body.target.apiVersion = "v1";
    binding_body.target.name = node;
    api::WriteOptions write;
    write.subresource = "binding";
    auto r = co_await client.create(api::resource_of<core::Pod>(), {pod->ns, pod->name}, api::encode(binding_body), std::move(write));
    if (r) {
      recorder.record({options.name, {}}, reference(*pod), "Normal", "Scheduled",
                      fmt::format("Successfully assigned {} to {}", pod->key(), node));
      tell([this] { bound(); });
      co_return;
    }
    base::log::debug("scheduler", "bind {} to {}: {}", pod->key(), node, r.error().message);
    std::string message = r.error().message;
    bool absent = base::is_not_found(r.error());
    if (!absent)
      recorder.record({options.name, {}}, reference(*pod), "Warning", "FailedScheduling", fmt::format("binding rejected: {}", message));
    tell([this, pod] {
      bound();
      unplace(pod, base::Clock::now());
    });
  }
  void bound() {
    --binding;
    start_binds();
  }

  base::Task<> write_unschedulable(PodPtr pod, std::string message, std::string nominated, bool first) {
    base::json::object condition{{"type", "PodScheduled"}, {"status", "False"}, {"reason", "Unschedulable"}, {"message", message}};
    if (first) condition["lastTransitionTime"] = base::now_rfc3339();
    base::json::object status{{"conditions", base::json::array{std::move(condition)}}};
    if (!nominated.empty()) status["nominatedNodeName"] = nominated;
    base::json::object body{{"metadata", base::json::object{{"uid", pod->uid}}}, {"status", std::move(status)}};
    co_await write_status(pod, base::to_text(body));
  }

  base::Task<> write_status(PodPtr pod, std::string body) {
    api::WriteOptions write;
    write.subresource = "status";
    auto r = co_await client.patch(api::resource_of<core::Pod>(), {pod->ns, pod->name}, api::PatchType::strategic, std::move(body),
                                   std::move(write));
    if (!r && !base::is_not_found(r.error())) base::log::warn("scheduler", "status of {}: {}", pod->key(), r.error().message);
  }

  base::Task<> evict(PodPtr victim, std::string by) {
    base::json::object condition{{"type", "DisruptionTarget"},
                                 {"status", "True"},
                                 {"reason", "PreemptionByScheduler"},
                                 {"message", options.name + ": preempting to accommodate a higher priority pod"},
                                 {"lastTransitionTime", base::now_rfc3339()}};
    base::json::object body{{"metadata", base::json::object{{"uid", victim->uid}}},
                            {"status", base::json::object{{"conditions", base::json::array{std::move(condition)}}}}};
    co_await write_status(victim, base::to_text(body));
    api::DeleteOptions options_delete;
    options_delete.uid = victim->uid;
    auto r = co_await client.remove(api::resource_of<core::Pod>(), {victim->ns, victim->name}, std::move(options_delete));
    if (!r && !base::is_not_found(r.error()))
      base::log::warn("scheduler", "preempting {} for {}: {}", victim->key(), by, r.error().message);
  }
};

Scheduler::Scheduler(base::Runtime& runtime, api::Client& client, SchedulerOptions options)
    : impl_(std::make_unique<Impl>(runtime, client, std::move(options))) {}
Scheduler::~Scheduler() = default;

void Scheduler::start() {
  Impl& s = *impl_;
  s.recorder.start();
  s.tasks.spawn("scheduler pods", s.pods.run());
  s.tasks.spawn("scheduler nodes", s.nodes.run());
  s.tasks.spawn("scheduler namespaces", s.namespaces.run());
  s.tasks.spawn("scheduler budgets", s.budgets_seen.run());
  s.tasks.spawn("scheduler claims", s.claims.run());
  s.tasks.spawn("scheduler volumes", s.volumes_seen.run());
  s.tasks.spawn("scheduler classes", s.classes.run());
  s.tasks.spawn("scheduler", s.run());
}

base::Task<> Scheduler::stop() {
  co_await impl_->tasks.stop();
  co_await impl_->recorder.stop();
}

}  // namespace server
