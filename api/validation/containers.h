// Rules of the containers of a pod, for those that check pods.
#pragma once

#include <set>

#include "api/validation/checker.h"

namespace api::validation {

enum class Role { regular, init, ephemeral };

// What the rules of a container need to know of its pod.
struct PodView {
  const object& spec;
  std::set<std::string_view> volumes, claims, resource_claims;  // names; `claims`: volumes made of claims
  bool is_template = false;
  bool restart_rules = true;                // init containers may say Never and OnFailure as well
  mutable std::set<std::string> host_ports;  // taken by containers seen so far
};

void check_container(Checker& c, const object& container, const std::string& path, Role role, const PodView& pod);
// A field of a pod as the value of a variable or file; `paths` are the ones without subscript that are known.
void check_field_ref(Checker& c, const object& ref, const std::string& path, std::vector<std::string_view> paths);
void check_resource_ref(Checker& c, const object& ref, const std::string& path, bool for_volume);

}  // namespace api::validation
