#include "server/apiserver/http/status.h"

namespace server {

base::json::object status_object(const base::Error& e) {
  base::json::object out{
      {"kind", "Status"}, {"apiVersion", "v1"}, {"metadata", base::json::object{}}, {"status", "Failure"}, {"message", e.message}};
  if (!e.reason.empty()) out["reason"] = e.reason;
  base::json::object details;
  if (!e.name.empty()) details["name"] = e.name;
  // "deployments.apps" is the group behind the first dot; a kind ("Deployment") has none.
  std::string kind = e.kind, group = e.group;
  if (size_t dot = kind.find('.'); dot != kind.npos && group.empty()) {
    group = kind.substr(dot + 1);
    kind.resize(dot);
  }
  if (!group.empty()) details["group"] = group;
  if (!kind.empty()) details["kind"] = kind;
  if (!e.causes.empty()) {
    base::json::array causes;
    for (const base::Cause& c : e.causes) {
      base::json::object one;
      if (!c.reason.empty()) one["reason"] = c.reason;
      if (!c.message.empty()) one["message"] = c.message;
      if (!c.field.empty()) one["field"] = c.field;
      causes.push_back(std::move(one));
    }
    details["causes"] = std::move(causes);
  }
  if (e.retry_after_seconds > 0) details["retryAfterSeconds"] = e.retry_after_seconds;
  if (!details.empty()) out["details"] = std::move(details);
  out["code"] = e.code;
  return out;
}

std::string status_text(const base::Error& e) { return base::to_text(status_object(e)); }

std::string deleted_text(std::string_view group, std::string_view resource, std::string_view name, std::string_view uid) {
  base::json::object details{{"name", name}};
  if (!group.empty()) details["group"] = group;
  details["kind"] = resource;
  if (!uid.empty()) details["uid"] = uid;
  return base::to_text(base::json::object{{"kind", "Status"},
                                          {"apiVersion", "v1"},
                                          {"metadata", base::json::object{}},
                                          {"status", "Success"},
                                          {"details", std::move(details)}});
}

}  // namespace server
