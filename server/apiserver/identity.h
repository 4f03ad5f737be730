// Who makes a request, as authentication found it and authorisation sees it.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace server {

struct UserInfo {
  std::string name, uid;
  std::vector<std::string> groups;
  std::map<std::string, std::vector<std::string>> extra;

  bool in_group(std::string_view group) const {
    for (const std::string& g : groups)
      if (g == group) return true;
    return false;
  }

  // CN=system:admin, O=system:masters: allowed everything.
  static UserInfo admin();
  // This server itself (system:apiserver), allowed everything.
  static UserInfo apiserver();
  // A part of the control plane (system:kube-scheduler): allowed what its ClusterRole says.
  static UserInfo component(std::string name);
  // system:serviceaccount:kube-system:<name>: a controller, allowed what its ClusterRole says.
  static UserInfo controller(std::string name);
  // The agent of a node: system:node:<name>, group system:nodes.
  static UserInfo node(std::string name);
  static UserInfo anonymous();
};

}  // namespace server
