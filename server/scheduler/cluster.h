// The table decisions are taken on: nodes with what is free on them, and the pods that occupy them.
//
// Numbers that every decision reads stand in arrays by node index (lanes), the rest beside them. A pod counts from the moment it is
// assumed, before its binding is written. Not thread-safe: belongs to the scheduler's strand.
#pragma once

#include <unordered_map>
#include <vector>

#include "server/scheduler/model.h"

namespace server::scheduler {

class Cluster {
 public:
  struct Entry {
    Node node;
    bool present = false;  // false: pods are bound to a node that is not (or no longer) known
    Resources requested;
    std::vector<PodPtr> pods;
    int host_port_pods = 0;
  };
  // free = allocatable - requested; negative on an absent node, so that nothing fits there.
  struct Lanes {
    std::vector<int64_t> free_cpu, free_memory, free_ephemeral, free_pods;
    std::vector<double> cpu_share, memory_share;  // 1 / allocatable; 0: nothing is allocatable
    std::vector<double> scored_cpu, scored_memory;
    std::vector<uint32_t> taints;     // index into taint_sets()
    std::vector<uint8_t> present, schedulable;  // schedulable: and not cordoned
  };
  struct Image {
    int64_t size = 0;
    std::vector<uint32_t> nodes;
  };

  void set_node(Node node);
  void remove_node(const std::string& name);
  // Counts the pod on pod->node_name; one of the same uid is replaced.
  void add_pod(PodPtr pod);
  void remove_pod(const std::string& uid);
  void set_namespace(const std::string& name, Labels labels) { namespaces_[name] = std::move(labels); }
  void remove_namespace(const std::string& name) { namespaces_.erase(name); }
  // Room is kept for a pod that waits for its victims to go; empty node: no longer.
  void nominate(PodPtr pod, const std::string& node);

  const std::vector<Entry>& nodes() const { return nodes_; }
  const Lanes& lanes() const { return lanes_; }
  const std::vector<std::vector<Taint>>& taint_sets() const { return taint_sets_; }
  size_t present() const { return present_; }
  const Entry* node(const std::string& name) const;
  PodPtr pod(const std::string& uid) const;
  const std::vector<PodPtr>& with_pod_terms() const { return with_pod_terms_; }
  const std::unordered_map<std::string, std::pair<PodPtr, uint32_t>>& nominated() const { return nominated_; }
  const Image* image(const std::string& name) const;
  // How many pods of one owner each node has; null: none.
  const std::unordered_map<uint32_t, int>* owned(const std::string& owner_uid) const;
  uint32_t index_of(const std::string& node) const { return index_.at(node); }
  bool term_covers(const PodTerm& term, const Pod& pod) const;  // namespace and labels match

 private:
  uint32_t slot(const std::string& name);
  uint32_t taint_set(const std::vector<Taint>& taints);
  void refresh(uint32_t i);
  void set_images(uint32_t i, const std::map<std::string, int64_t>& before, const std::map<std::string, int64_t>& after);

  std::vector<Entry> nodes_;
  Lanes lanes_;
  std::vector<std::vector<Taint>> taint_sets_{{}};
  std::unordered_map<std::string, uint32_t> index_;
  std::vector<uint32_t> vacant_;
  std::unordered_map<std::string, PodPtr> pods_;  // by uid
  std::vector<PodPtr> with_pod_terms_;
  std::unordered_map<std::string, std::unordered_map<uint32_t, int>> owners_;
  std::unordered_map<std::string, std::pair<PodPtr, uint32_t>> nominated_;
  std::unordered_map<std::string, Image> images_;
  std::map<std::string, Labels> namespaces_;
  size_t present_ = 0;
};

}  // namespace server::scheduler
