#include "server/apiserver/flow/schema.h"

#include <algorithm>

namespace server::flow {
namespace {

using namespace api::flowcontrol;

bool has(const std::vector<std::string>& list, std::string_view wanted) {
  for (const std::string& s : list)
    if (s == "*" || s == wanted) return true;
  return false;
}

bool is_account(std::string_view user, const ServiceAccountSubject& account) {
  constexpr std::string_view head = "system:serviceaccount:";
  if (!user.starts_with(head)) return false;
  user.remove_prefix(head.size());
  size_t colon = user.find(':');
  return colon != user.npos && user.substr(0, colon) == account.namespace_ &&
         (account.name == "*" || user.substr(colon + 1) == account.name);
}

bool is_subject(const Subject& s, const UserInfo& user) {
  if (s.kind == "User") return s.user && (s.user->name == "*" || s.user->name == user.name);
  if (s.kind == "Group") return s.group && (s.group->name == "*" || user.in_group(s.group->name));
  return s.kind == "ServiceAccount" && s.serviceAccount && is_account(user.name, *s.serviceAccount);
}

bool has_resource(const std::vector<std::string>& list, const RequestView& r) {
  for (const std::string& s : list) {
    if (s == "*") return true;
    if (r.subresource.empty()) {
      if (s == r.resource) return true;
    } else if (s.size() == r.resource.size() + 1 + r.subresource.size() && s.starts_with(r.resource) && s[r.resource.size()] == '/' &&
               s.ends_with(r.subresource)) {
      return true;
    }
  }
  return false;
}

bool rule_matches(const ResourcePolicyRule& rule, const RequestView& r) {
  if (!has(rule.verbs, r.verb) || !has(rule.apiGroups, r.group) || !has_resource(rule.resources, r)) return false;
  return r.ns.empty() ? rule.clusterScope.value_or(false) : has(rule.namespaces, r.ns);
}

bool rule_matches(const NonResourcePolicyRule& rule, const RequestView& r) {
  if (!has(rule.verbs, r.verb)) return false;
  for (const std::string& url : rule.nonResourceURLs) {
    if (url == "*" || url == r.path) return true;
    if (url.ends_with("*") && r.path.starts_with(std::string_view(url).substr(0, url.size() - 1))) return true;
  }
  return false;
}

}  // namespace

bool matches(const PolicyRulesWithSubjects& rules, const RequestView& r) {
  if (std::none_of(rules.subjects.begin(), rules.subjects.end(), [&](const Subject& s) { return is_subject(s, r.user); })) return false;
  if (r.is_resource)
    return std::any_of(rules.resourceRules.begin(), rules.resourceRules.end(), [&](const auto& rule) { return rule_matches(rule, r); });
  return std::any_of(rules.nonResourceRules.begin(), rules.nonResourceRules.end(), [&](const auto& rule) { return rule_matches(rule, r); });
}

bool matches(const FlowSchema& schema, const RequestView& r) {
  return std::any_of(schema.spec.rules.begin(), schema.spec.rules.end(), [&](const auto& rules) { return matches(rules, r); });
}

Distinguisher distinguisher_of(const FlowSchema& schema) {
  if (!schema.spec.distinguisherMethod) return Distinguisher::none;
  return schema.spec.distinguisherMethod->type == "ByNamespace" ? Distinguisher::ns : Distinguisher::user;
}

std::string_view distinguish(Distinguisher by, const RequestView& r) {
  return by == Distinguisher::user ? std::string_view(r.user.name) : by == Distinguisher::ns ? r.ns : std::string_view();
}

uint64_t flow_hash(std::string_view schema, std::string_view distinguisher) {
  // FNV-1a, then mixed: neighbours in name are strangers in the deck.
  uint64_t h = 14695981039346656037ull;
  auto add = [&](std::string_view s) {
    for (unsigned char c : s) h = (h ^ c) * 1099511628211ull;
    h = (h ^ 0xff) * 1099511628211ull;
  };
  add(schema);
  add(distinguisher);
  h ^= h >> 33;
  h *= 0xff51afd7ed558ccdull;
  h ^= h >> 33;
  h *= 0xc4ceb9fe1a85ec53ull;
  return h ^ h >> 33;
}

std::vector<uint32_t> deal(uint64_t hash, uint32_t queues, uint32_t hand) {
  std::vector<uint32_t> out;
  hand = std::min(hand, queues);
  // The i-th card is one of those left; cards dealt before and not above it push it up.
  for (uint32_t i = 0; i < hand; ++i) {
    auto card = static_cast<uint32_t>(hash % (queues - i));
    hash /= queues - i;
    std::vector<uint32_t> sorted(out);
    std::sort(sorted.begin(), sorted.end());
    for (uint32_t taken : sorted)
      if (taken <= card) ++card;
    out.push_back(card);
  }
  return out;
}

}  // namespace server::flow
