// Every kind of stored object the cluster has: the built-in ones and those of CustomResourceDefinitions. Safe from any thread.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "api/types/apiextensions_v1.h"
#include "server/controllers/controller.h"

namespace server::controllers {

struct StoredKind {
  api::Resource resource;
  std::string kind;
  bool namespaced = true;
};

class Kinds {
 public:
  explicit Kinds(Context& context);
  // One version of each resource.
  std::vector<StoredKind> all() const;
  // "apps/v1", "ReplicaSet"
  std::optional<StoredKind> find(const std::string& api_version, const std::string& kind) const;
  // Called when a CustomResourceDefinition came, changed or went.
  void on_change(std::function<void()> f);

 private:
  api::Informer<api::apiextensions::CustomResourceDefinition>& custom_;
};

}  // namespace server::controllers
