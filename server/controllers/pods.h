// Making, claiming and removing the pods of a workload: what ReplicaSet, DaemonSet, StatefulSet and Job have in common.
#pragma once

#include <functional>

#include "server/controllers/controller.h"
#include "server/controllers/expectations.h"
#include "server/controllers/objects.h"

namespace server::controllers {

// Who owns the pods, for references, events and expectations.
struct Owner {
  const api::KindInfo* kind;
  meta::ObjectMeta metadata;
  std::string component;  // source of the events
  std::string key() const { return ObjectKey{metadata.namespace_, metadata.name}.text(); }
};
template <class T>
Owner owner_of(const T& object, std::string component) {
  Owner out{&T::kind_info(), {}, std::move(component)};
  out.metadata.name = object.metadata.name;
  out.metadata.namespace_ = object.metadata.namespace_;
  out.metadata.uid = object.metadata.uid;
  out.metadata.resourceVersion = object.metadata.resourceVersion;
  return out;
}

// Takes from a pod what no controller reads, so that all pods of a cluster fit into memory.
void trim(core::Pod& pod);

class PodControl {
 public:
  explicit PodControl(Context& context);
  // Calls f with the key of the owner (of this kind) for every change of one of its pods, and meets expectations.
  // Changes of pods without owner are announced to `orphan`, which finds out whose they could be.
  void watch_pods(const api::KindInfo& kind, std::function<void(std::string key)> f,
                  std::function<void(const core::Pod&)> orphan = nullptr);

  // The pods the owner controls, after adopting orphans its selector matches and releasing pods it no longer matches.
  Task<Result<std::vector<PodPtr>>> claim(Owner owner, meta::LabelSelector selector, bool owner_deleting);
  // A pod name is given, or made from the owner's.
  Task<Result<>> create(Owner owner, core::Pod pod);
  Task<Result<>> remove(Owner owner, PodPtr pod);
  // As many at a time as have succeeded before, beginning with one (slow start); stops at the first batch with a failure. How many were made.
  Task<std::pair<size_t, Result<>>> create_many(Owner owner, std::vector<core::Pod> pods);
  Task<Result<>> remove_many(Owner owner, std::vector<PodPtr> pods);

  Expectations& expectations() { return expectations_; }
  api::Informer<core::Pod>& informer() { return pods_; }

 private:
  Context& context_;
  api::Informer<core::Pod>& pods_;
  Expectations expectations_;
};

}  // namespace server::controllers
