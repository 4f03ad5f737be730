// What all pod workers of a node share. Outlives them.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "agent/pods/env.h"
#include "agent/pods/image_puller.h"
#include "agent/pods/network_files.h"
#include "agent/pods/room.h"
#include "agent/volumes/objects.h"
#include "api/client.h"
#include "api/event_recorder.h"
#include "network/pods.h"
#include "runtime/images/images.h"
#include "runtime/sandbox/sandbox.h"

namespace agent {

struct PodContext {
  base::Runtime& runtime;
  api::Client& client;
  api::EventRecorder& events;
  runtime::Sandboxes& sandboxes;
  runtime::Images& images;
  ImagePuller& puller;
  Objects& objects;
  Room& room;  // who is admitted to this node

  std::string node_name;
  std::string pods_dir;     // <data>/agent/pods: one directory per uid
  std::string memory_dir;   // <run>/agent/volumes: on tmpfs
  std::string storage_dir;  // <data>/storage: PersistentVolumes that are directories of this node
  std::string logs_dir;     // <data>/agent/logs
  std::string seccomp_dir;  // <data>/agent/seccomp: Localhost profiles
  std::string cluster_dns, cluster_domain;
  int64_t memory_bytes = 0;
  std::map<std::string, std::string> allocatable;

  // Thread-safe.
  std::function<std::shared_ptr<const api::core::Node>()> node;                       // null when the API has none
  std::function<network::Pods*()> network;                                            // null while the node has no pod prefix
  std::function<std::vector<std::string>()> host_ips;
  std::function<Task<Result<>>(std::shared_ptr<const api::core::Pod>, std::vector<std::string> ips)> policies;  // returns when they hold
  std::function<Variables(const std::string& ns, bool links)> service_variables;
};

}  // namespace agent
