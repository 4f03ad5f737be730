// ConfigMaps and Secrets that pods of this node refer to, read one by one: a node may read only these. And ClusterTrustBundles, which are few.
//
// get() asks the API (or a watch that is open); watch() keeps one object current for as long as the handle lives. Thread-safe.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "api/client.h"
#include "api/types/certificates_v1beta1.h"
#include "api/types/core_v1.h"
#include "base/io.h"

namespace agent {

using base::Result;
using base::Task;

class Objects {
 public:
  Objects(base::Runtime& runtime, api::Client& client);
  ~Objects();

  using ConfigMapPtr = std::shared_ptr<const api::core::ConfigMap>;
  using SecretPtr = std::shared_ptr<const api::core::Secret>;
  // 404 when it does not exist.
  Task<Result<ConfigMapPtr>> config_map(std::string ns, std::string name);
  Task<Result<SecretPtr>> secret(std::string ns, std::string name);

  using TrustBundlePtr = std::shared_ptr<const api::certificatesv1beta1::ClusterTrustBundle>;
  Task<Result<std::vector<TrustBundlePtr>>> trust_bundles();

  // Calls back on some strand whenever the object appears, changes or goes. Dropping the handle ends it.
  using Handle = std::shared_ptr<void>;
  Handle watch_config_map(const std::string& ns, const std::string& name, std::function<void()> changed);
  Handle watch_secret(const std::string& ns, const std::string& name, std::function<void()> changed);
  Handle watch_trust_bundles(std::function<void()> changed);

  Task<> stop();

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace agent
