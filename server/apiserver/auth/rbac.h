// Role-based access control: evaluates Roles and bindings kept decoded and indexed by subject. A role or binding is decoded once per change.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/io.h"
#include "base/json.h"
#include "datastore/store.h"
#include "server/apiserver/auth/access.h"

namespace server {

class Rbac {
 public:
  explicit Rbac(datastore::Store& store);
  // Loads everything; authorize() answers from then on.
  base::Task<base::Result<>> load();
  // Follows changes until cancelled. Begun after load().
  base::Task<> run();

  Decision authorize(const UserInfo& user, const Access& access) const;
  // All rules that apply to the user in the namespace (empty: cluster-wide ones only). `problems`: roles that are bound but do not exist, "; " between them.
  std::vector<PolicyRule> rules_for(const UserInfo& user, const std::string& ns, std::string* problems = nullptr) const;
  // Rules of a role by reference; nullopt when it does not exist. `ns` empty: ClusterRole.
  std::optional<std::vector<PolicyRule>> role_rules(const std::string& ns, const std::string& name) const;
  static std::vector<PolicyRule> parse_rules(const base::json::array* rules);

 private:
  using Rules = std::shared_ptr<const std::vector<PolicyRule>>;
  struct Role {
    Rules rules;
    std::vector<std::pair<std::string, std::string>> labels;
    base::json::array selectors;  // aggregationRule.clusterRoleSelectors
  };
  struct Binding {
    std::string ns, name;       // ns empty: ClusterRoleBinding
    std::string role_ns, role;  // role_ns empty: ClusterRole
    std::vector<std::string> subjects;  // "U:<user>" or "G:<group>"
  };
  struct Grant {
    std::string ns, binding, role;
    Rules rules;  // null: there is no such role
    bool of_cluster = false;
  };
  static std::string problem(const Grant& grant);
  struct Snapshot {
    std::unordered_map<std::string, std::vector<Grant>> by_subject;
    std::map<std::pair<std::string, std::string>, Rules> roles;
  };
  void put(const datastore::Record& record);
  void publish();
  void gather(const Role& role, std::vector<PolicyRule>& into, std::set<const Role*>& seen) const;
  std::shared_ptr<const Snapshot> snapshot() const;
  template <class F>
  void each_grant(const UserInfo& user, const std::string& ns, F f) const;

  datastore::Store& store_;
  datastore::Revision loaded_ = 0;
  // Strand of load() and run().
  std::map<std::pair<std::string, std::string>, Role> roles_;
  std::map<std::pair<std::string, std::string>, Binding> bindings_;
  mutable std::mutex mutex_;  // guards snapshot_
  std::shared_ptr<const Snapshot> snapshot_;
};

}  // namespace server
