// Defends the node: removes unused images when the disk fills, ends pods when memory or disk run out, or when they exceed a limit of local
// storage. Thresholds are kubelet's for memory and PIDs, and 5% of the disk for storage, so that small disks can be used.
#pragma once

#include <string>
#include <vector>

#include "agent/node/node_object.h"
#include "agent/pods/manager.h"

namespace agent {

struct GuardLimits {
  uint64_t memory_available = 100u << 20;
  double disk_available = 0.05;      // of the file system with images and pods
  double inodes_available = 0.05;
  double image_high = 0.85, image_low = 0.80;  // used share of the disk at which collection of images begins, and where it ends
};

struct EvictionCandidate {
  std::string uid, name;
  int32_t priority = 0;
  int64_t usage = 0, request = 0;  // bytes of what is scarce
  bool critical = false;           // never evicted
};
// Who goes first: those above their request, by priority, then by how far above. Empty: nobody can. Pure.
std::string choose_victim(const std::vector<EvictionCandidate>& candidates);

class Guard {
 public:
  Guard(NodeObject& node, PodManager& pods, runtime::Images& images, std::string data_dir, GuardLimits limits = {});
  // Looks every 10 s (three small reads, and through the files of pods with limits); until cancelled.
  Task<> run();

 private:
  Pressure look();
  Task<> collect_images(double used);
  void evict_for_memory();
  Task<> evict_for_disk();
  Task<> evict_over_limit();

  NodeObject& node_;
  PodManager& pods_;
  runtime::Images& images_;
  const std::string data_dir_;
  const GuardLimits limits_;
  DiskUse disk_;
  base::TimePoint memory_since_{}, disk_since_{}, last_eviction_{};
};

}  // namespace agent
