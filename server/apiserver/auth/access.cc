#include "server/apiserver/auth/access.h"

#include <algorithm>

#include <fmt/format.h>

namespace server {
namespace {

bool has(const std::vector<std::string>& list, std::string_view wanted) {
  for (const std::string& s : list)
    if (s == "*" || s == wanted) return true;
  return false;
}

// "pods", "pods/log", "*", "*/scale".
bool resource_matches(const std::vector<std::string>& list, std::string_view resource, std::string_view subresource) {
  for (std::string_view s : list) {
    if (s == "*") return true;
    if (subresource.empty()) {
      if (s == resource) return true;
    } else if (s.ends_with(subresource) && s.size() > subresource.size() && s[s.size() - subresource.size() - 1] == '/') {
      std::string_view head = s.substr(0, s.size() - subresource.size() - 1);
      if (head == "*" || head == resource) return true;
    }
  }
  return false;
}

bool url_matches(std::string_view pattern, std::string_view path) {
  if (pattern == "*" || pattern == path) return true;
  return pattern.ends_with('*') && path.starts_with(pattern.substr(0, pattern.size() - 1));
}

}  // namespace

bool rule_allows(const PolicyRule& rule, const Access& a) {
  if (!has(rule.verbs, a.verb)) return false;
  if (a.resource.empty()) {
    return std::any_of(rule.urls.begin(), rule.urls.end(), [&](const std::string& url) { return url_matches(url, a.path); });
  }
  if (!has(rule.groups, a.group) || !resource_matches(rule.resources, a.resource, a.subresource)) return false;
  return rule.names.empty() || (!a.name.empty() && std::find(rule.names.begin(), rule.names.end(), a.name) != rule.names.end());
}

bool rules_cover(const std::vector<PolicyRule>& owned, const PolicyRule& wanted) {
  // Broken down to single facts; each must be granted by one owned rule.
  auto covered = [&](const Access& a, bool all_names) {
    return std::any_of(owned.begin(), owned.end(), [&](const PolicyRule& r) {
      if (all_names && !r.names.empty()) return false;
      return rule_allows(r, a);
    });
  };
  for (const std::string& verb : wanted.verbs) {
    for (const std::string& url : wanted.urls) {
      Access a;
      a.verb = verb;
      a.path = url;
      if (!covered(a, false)) return false;
    }
    for (const std::string& group : wanted.groups)
      for (const std::string& resource : wanted.resources) {
        Access a;
        a.verb = verb;
        a.group = group;
        size_t slash = resource.find('/');
        a.resource = resource.substr(0, slash);
        if (slash != std::string::npos) a.subresource = resource.substr(slash + 1);
        if (wanted.names.empty()) {
          if (!covered(a, true)) return false;
        }
        for (const std::string& name : wanted.names) {
          a.name = name;
          if (!covered(a, false)) return false;
        }
      }
  }
  return true;
}

std::string denial(const UserInfo& user, const Access& a, std::string_view reason) {
  std::string tail = reason.empty() ? std::string() : fmt::format(": {}", reason);
  if (a.resource.empty()) return fmt::format("forbidden: User \"{}\" cannot {} path \"{}\"{}", user.name, a.verb, a.path, tail);
  std::string resource = a.group.empty() ? a.resource : a.resource + "." + a.group;
  std::string full = a.subresource.empty() ? a.resource : a.resource + "/" + a.subresource;
  std::string subject = a.name.empty() ? resource : fmt::format("{} \"{}\"", resource, a.name);
  std::string where = a.ns.empty() ? " at the cluster scope" : fmt::format(" in the namespace \"{}\"", a.ns);
  return fmt::format("{} is forbidden: User \"{}\" cannot {} resource \"{}\" in API group \"{}\"{}{}", subject, user.name, a.verb, full,
                     a.group, where, tail);
}

}  // namespace server
