// What is written to the audit log: audit.k8s.io/v1 Policy. Immutable once parsed.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "server/apiserver/identity.h"

namespace server::audit {

using base::Result;

enum class Level { none, metadata, request, request_response };
enum Stage : unsigned { kReceived = 1, kStarted = 2, kComplete = 4, kPanic = 8 };
std::string_view level_name(Level level);

struct Decision {
  Level level = Level::none;
  unsigned omitted = 0;  // stages
  bool omit_managed_fields = false;
};

// What rules look at.
struct Subject {
  const UserInfo& user;
  std::string_view verb;
  bool is_resource;
  std::string_view group, resource, subresource, ns, name, path;
};

class Policy {
 public:
  // 400 names the rule and the field.
  static Result<Policy> parse(std::string_view yaml);
  // Without a file: who did what, at Metadata; not what the system says to itself all the time (leases, events, what nodes read and how they are, health).
  static const Policy& standard();
  // The first rule that matches; none: nothing is logged.
  Decision decide(const Subject& subject) const;

 private:
  struct GroupResources {
    std::string group;
    std::vector<std::string> resources, names;
  };
  struct Rule {
    Decision decision;
    std::vector<std::string> users, groups, verbs, namespaces, urls;
    std::vector<GroupResources> resources;
  };
  static bool matches(const Rule& rule, const Subject& s);
  std::vector<Rule> rules_;
};

}  // namespace server::audit
