// Environment variables of a container, in the order and with the expansion rules of the Kubernetes API reference (Container.env, envFrom,
// "$(VAR_NAME)" references, service variables).
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/types/core_v1.h"
#include "base/error.h"

namespace agent {

using base::Result;

using Variables = std::map<std::string, std::string>;

// Replaces $(NAME) by its value; a reference to what is not there stays as it is; $$ is one dollar sign.
std::string expand_references(std::string_view text, const Variables& variables);

// As above, but references to what is not there are an error (subPathExpr).
Result<std::string> expand_strictly(std::string_view text, const Variables& variables);

// What a pod sees of services: {NAME}_SERVICE_HOST, {NAME}_SERVICE_PORT and the Docker link variables. Headless ones give none.
void add_service_variables(const api::core::Service& service, Variables& to);

// Any printable ASCII but '=' (relaxed validation, the rule since 1.34).
bool is_variable_name(std::string_view name);

// The ConfigMap and Secret data and the pod's own fields that a container's env refers to. Implemented over objects already fetched.
class EnvSource {
 public:
  virtual ~EnvSource() = default;
  // Null when the object (or the key) does not exist. Secret values are decoded.
  virtual const std::map<std::string, std::string>* config_map(const std::string& name) const = 0;
  virtual const std::map<std::string, std::string>* secret(const std::string& name) const = 0;
  virtual Result<std::string> field(const std::string& path) const = 0;
  virtual Result<std::string> resource(const api::core::ResourceFieldSelector& selector, const std::string& container) const = 0;
};

struct Environment {
  std::vector<std::pair<std::string, std::string>> variables;  // in order, each name once
  std::vector<std::string> skipped;                            // names in envFrom that are no variable names: "ConfigMap ns/name: key"
  Variables as_map() const;
};

// 400 CreateContainerConfigError with the kubelet's words when something required is missing.
Result<Environment> make_environment(const api::core::Container& container, const EnvSource& source, const Variables& services);

}  // namespace agent
