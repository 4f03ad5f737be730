// From a container of a pod to what the runtime starts. Pure.
#pragma once

#include <string>
#include <vector>

#include "agent/pods/env.h"
#include "api/types/core_v1.h"
#include "runtime/container/spec.h"
#include "runtime/images/images.h"

namespace agent {

struct ContainerInputs {
  const api::core::Pod* pod = nullptr;
  const api::core::Container* container = nullptr;
  runtime::ImagePtr image;
  std::vector<std::string> layers;
  Environment environment;
  std::vector<runtime::Mount> mounts;   // of volumes
  std::string id, log_path;
  std::string pid_of;  // a running container of the pod whose processes it is to see
  std::string hosts_file, hostname_file, resolv_conf_file, termination_file;  // on the host; empty: not mounted
  std::string seccomp_profile;          // text of a Localhost profile
  int64_t node_memory_bytes = 0;
  std::map<std::string, std::string> labels;
};

// 400 with reason CreateContainerConfigError when the pod asks for what cannot be.
Result<runtime::ContainerSpec> plan_container(ContainerInputs in);

// The profile that applies: the container's, else the pod's, else RuntimeDefault. Empty name unless Localhost.
struct SeccompChoice {
  runtime::Seccomp::Kind kind = runtime::Seccomp::Kind::runtime_default;
  std::string localhost_profile;
};
Result<SeccompChoice> seccomp_choice(const api::core::Pod& pod, const api::core::Container& container);

}  // namespace agent
