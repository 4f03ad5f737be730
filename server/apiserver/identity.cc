#include "server/apiserver/identity.h"

namespace server {

UserInfo UserInfo::admin() { return {"system:admin", "", {"system:masters", "system:authenticated"}, {}}; }

UserInfo UserInfo::apiserver() { return {"system:apiserver", "", {"system:masters", "system:authenticated"}, {}}; }

UserInfo UserInfo::component(std::string name) { return {std::move(name), "", {"system:authenticated"}, {}}; }

UserInfo UserInfo::controller(std::string name) {
  return {"system:serviceaccount:kube-system:" + name,
          "",
          {"system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"},
          {}};
}

UserInfo UserInfo::node(std::string name) { return {"system:node:" + name, "", {"system:nodes", "system:authenticated"}, {}}; }

UserInfo UserInfo::anonymous() { return {"system:anonymous", "", {"system:unauthenticated"}, {}}; }

}  // namespace server
