#include "agent/pods/manager.h"

#include <dirent.h>

#include <algorithm>
#include <set>

#include "base/files.h"
#include "base/log.h"

namespace agent {

namespace {

std::vector<std::string> directories(const std::string& parent) {
  std::vector<std::string> out;
  DIR* d = ::opendir(parent.c_str());
  if (!d) return out;
  while (dirent* e = ::readdir(d)) {
    std::string name = e->d_name;
    if (name != "." && name != "..") out.push_back(name);
  }
  ::closedir(d);
  return out;
}

}  // namespace

struct PodManager::State : std::enable_shared_from_this<PodManager::State> {
  PodContext& context;
  api::Informer<api::core::Pod>& pods;
  base::Tasks tasks;
  mutable std::mutex mutex;  // guards what follows
  bool started = false;
  std::map<std::string, std::shared_ptr<PodWorker>> workers;  // by uid
  std::map<std::string, std::string> names;                   // "ns/name" -> uid of the latest
  std::map<std::string, runtime::SandboxPtr> survivors;       // by uid, not yet adopted

  State(PodContext& c, api::Informer<api::core::Pod>& p) : context(c), pods(p), tasks(c.runtime) {}

  static bool ended(const PodPtr& pod) { return pod->status.phase == "Succeeded" || pod->status.phase == "Failed"; }

  void changed(const PodPtr& before, const PodPtr& after) {
    std::shared_ptr<PodWorker> update, gone;
    std::vector<std::shared_ptr<PodWorker>> others;
    {
      std::scoped_lock lock(mutex);
      if (!started) return;
      // As the scheduler sees it: room is free when the API says so.
      bool left = before && (!after || after->metadata.uid != before->metadata.uid || (ended(after) && !ended(before)));
      if (left) {
        context.room.release(before->metadata.uid);
        for (const auto& [uid, w] : workers) others.push_back(w);
      }
      if (before && (!after || after->metadata.uid != before->metadata.uid)) {
        if (auto it = workers.find(before->metadata.uid); it != workers.end()) gone = it->second;
      }
      if (after) {
        if (auto it = workers.find(after->metadata.uid); it != workers.end()) {
          update = it->second;
        } else {
          begin(after);
        }
      }
    }
    if (gone) gone->removed();
    if (update) update->update(after);
    for (const auto& w : others) w->room_changed();
  }

  // With the mutex held.
  void begin(const PodPtr& pod) {
    std::optional<Refusal> refusal;
    if (!pod->status.startTime.empty() || !pod->metadata.deletionTimestamp.empty() || survivors.contains(pod->metadata.uid)) {
      if (!ended(pod)) context.room.keep(*pod);
    } else if (!ended(pod)) {
      refusal = context.room.take(*pod, context.node().get());
    }
    auto worker = std::make_shared<PodWorker>(context, pod, std::move(refusal));
    const std::string& uid = pod->metadata.uid;
    if (auto it = survivors.find(uid); it != survivors.end()) {
      worker->adopt(it->second);
      survivors.erase(it);
    }
    workers[uid] = worker;
    names[pod->metadata.namespace_ + "/" + pod->metadata.name] = uid;
    tasks.spawn("pod " + pod->metadata.namespace_ + "/" + pod->metadata.name, worker->strand(),
                [](std::shared_ptr<State> self, std::shared_ptr<PodWorker> w) -> Task<> {
                  co_await w->run();
                  co_await w->stop();
                  self->forget(w);
                }(shared_from_this(), worker));
  }

  void forget(const std::shared_ptr<PodWorker>& w) {
    std::scoped_lock lock(mutex);
    workers.erase(w->uid());
    std::erase_if(names, [&](const auto& n) { return n.second == w->uid(); });
  }

  // Ends a sandbox whose pod is no longer wanted.
  static Task<> remove_orphan(std::shared_ptr<State> self, runtime::SandboxPtr sandbox, std::string uid) {
    base::log::info("agent", "removing what is left of pod {}", uid);
    for (const auto& c : sandbox->containers()) {
      if (c.phase != runtime::ContainerPhase::running) continue;
      auto r = co_await sandbox->stop(c.id, std::chrono::seconds(2));
      (void)r;
    }
    auto gone = co_await sandbox->destroy();
    if (!gone) base::log::warn("agent", "removing sandbox {}: {}", uid, gone.error().message);
    if (network::Pods* network = self->context.network()) {
      auto detached = co_await base::offload([network, uid] { return network->detach(uid); });
      (void)detached;
    }
    VolumeSettings settings{self->context.pods_dir + "/" + uid, self->context.memory_dir + "/" + uid, self->context.storage_dir};
    auto removed = co_await PodVolumes::remove(settings);
    if (!removed) base::log::warn("agent", "removing the volumes of pod {}: {}", uid, removed.error().message);
  }

  // Directories of pods that neither the API nor the runtime knows.
  static Task<> remove_leftovers(std::shared_ptr<State> self, std::set<std::string> keep) {
    // Pods that arrive meanwhile have a worker before they have a directory.
    auto kept = [&](const std::string& uid) {
      std::scoped_lock lock(self->mutex);
      return keep.contains(uid) || self->workers.contains(uid);
    };
    auto dirs = co_await base::offload([self] { return directories(self->context.pods_dir); });
    for (const auto& uid : dirs) {
      if (kept(uid)) continue;
      VolumeSettings settings{self->context.pods_dir + "/" + uid, self->context.memory_dir + "/" + uid, self->context.storage_dir};
      auto removed = co_await PodVolumes::remove(settings);
      (void)removed;
    }
    auto logs = co_await base::offload([self] { return directories(self->context.logs_dir); });
    for (const auto& name : logs) {
      std::string uid = name.substr(name.rfind('_') + 1);
      if (kept(uid)) continue;
      auto removed = co_await base::offload([path = self->context.logs_dir + "/" + name] { return base::remove_all(path); });
      (void)removed;
    }
    if (network::Pods* network = self->context.network()) {
      {
        std::scoped_lock lock(self->mutex);
        for (const auto& [uid, w] : self->workers) keep.insert(uid);
      }
      std::vector<std::string> ids(keep.begin(), keep.end());
      auto collected = co_await base::offload([network, ids] { return network->collect(ids); });
      if (!collected) base::log::warn("agent", "collecting pod links: {}", collected.error().message);
    }
  }
};

PodManager::PodManager(PodContext& context, api::Informer<api::core::Pod>& pods) : state_(std::make_shared<State>(context, pods)) {
  pods.on_change([weak = std::weak_ptr(state_)](const PodPtr& before, const PodPtr& after) {
    if (auto state = weak.lock()) state->changed(before, after);
  });
}

PodManager::~PodManager() = default;

Task<> PodManager::start(std::vector<runtime::SandboxPtr> survivors) {
  std::set<std::string> wanted;
  std::vector<std::pair<std::string, runtime::SandboxPtr>> orphans;
  {
    std::scoped_lock lock(state_->mutex);
    for (auto& s : survivors) {
      auto it = s->spec().labels.find("uid");
      std::string uid = it == s->spec().labels.end() ? s->spec().id : it->second;
      auto& slot = state_->survivors[uid];
      if (slot) orphans.emplace_back(uid, slot);
      slot = s;
    }
    state_->started = true;
    // Those that have begun before those that may not fit beside them.
    for (bool begun : {true, false}) {
      for (const auto& pod : state_->pods.list()) {
        if (begun == pod->status.startTime.empty()) continue;
        wanted.insert(pod->metadata.uid);
        if (!state_->workers.contains(pod->metadata.uid)) state_->begin(pod);
      }
    }
    for (auto& [uid, s] : state_->survivors) orphans.emplace_back(uid, s);
    state_->survivors.clear();
  }
  for (auto& [uid, s] : orphans) state_->tasks.spawn("remains of pod " + uid, State::remove_orphan(state_, s, uid));
  std::set<std::string> keep = wanted;
  for (auto& [uid, s] : orphans) keep.insert(uid);
  co_await State::remove_leftovers(state_, std::move(keep));
}

Task<> PodManager::stop() {
  co_await state_->tasks.stop();
  std::map<std::string, std::shared_ptr<PodWorker>> workers;
  {
    std::scoped_lock lock(state_->mutex);
    state_->started = false;
    workers.swap(state_->workers);
  }
  for (auto& [uid, w] : workers) co_await w->stop();
}

void PodManager::runtime_event(const runtime::SandboxEvent& event) {
  std::shared_ptr<PodWorker> worker;
  {
    std::scoped_lock lock(state_->mutex);
    // The id of a sandbox is the uid, with "-<n>" from the second one on.
    auto it = state_->workers.find(event.sandbox.substr(0, 36));
    if (it == state_->workers.end()) it = state_->workers.find(event.sandbox);
    if (it == state_->workers.end()) it = state_->workers.find(event.sandbox.substr(0, event.sandbox.rfind('-')));
    if (it != state_->workers.end()) worker = it->second;
  }
  if (worker) worker->runtime_event(event);
}

std::optional<PodView> PodManager::find(const std::string& ns, const std::string& name) const {
  std::shared_ptr<PodWorker> worker;
  {
    std::scoped_lock lock(state_->mutex);
    auto n = state_->names.find(ns + "/" + name);
    if (n == state_->names.end()) return std::nullopt;
    auto it = state_->workers.find(n->second);
    if (it == state_->workers.end()) return std::nullopt;
    worker = it->second;
  }
  return worker->view();
}

std::vector<PodView> PodManager::all() const {
  std::vector<std::shared_ptr<PodWorker>> workers;
  {
    std::scoped_lock lock(state_->mutex);
    for (const auto& [uid, w] : state_->workers) workers.push_back(w);
  }
  std::vector<PodView> out;
  for (const auto& w : workers) out.push_back(w->view());
  return out;
}

std::optional<PodView> PodManager::find_by_ip(const std::string& ip) const {
  for (auto& v : all()) {
    if (v.status.phase == "Succeeded" || v.status.phase == "Failed") continue;
    if (std::find(v.ips.begin(), v.ips.end(), ip) != v.ips.end()) return v;
  }
  return std::nullopt;
}

bool PodManager::evict(const std::string& uid, std::string message, bool pressure) {
  std::shared_ptr<PodWorker> worker;
  {
    std::scoped_lock lock(state_->mutex);
    auto it = state_->workers.find(uid);
    if (it == state_->workers.end()) return false;
    worker = it->second;
  }
  worker->evict(std::move(message), pressure);
  return true;
}

}  // namespace agent
