// One question of authorisation: may this user do this?
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/io.h"
#include "server/apiserver/identity.h"

namespace server {

struct Access {
  std::string verb;
  std::string group, version, resource, subresource, ns, name;
  std::string path;  // of a non-resource request; resource is empty then
  // metadata.name of a list or watch's field selector, where there is one (a node may list one named secret).
  std::string selected_name;
};

struct Decision {
  bool allowed = false;
  std::string reason;  // of the permission, or of what went wrong in looking for one
};

// "pods is forbidden: User "x" cannot list resource "pods" in API group "" in the namespace "default"", as Kubernetes words it.
std::string denial(const UserInfo& user, const Access& access, std::string_view reason);

struct PolicyRule {
  std::vector<std::string> verbs, groups, resources, names, urls;
};

bool rule_allows(const PolicyRule& rule, const Access& access);
// Whether `owned` together grant everything `wanted` does: the check against escalation.
bool rules_cover(const std::vector<PolicyRule>& owned, const PolicyRule& wanted);

}  // namespace server
