// One audit.k8s.io/v1 Event as a line of JSON, put together by hand: it is made for most requests.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/time.h"
#include "server/apiserver/audit/policy.h"

namespace server::audit {

// All views; empty ones are left out. The objects are JSON texts.
struct Event {
  Level level = Level::metadata;
  Stage stage = kComplete;
  std::string_view id, uri, verb, source, agent;
  const UserInfo* user = nullptr;
  const UserInfo* impersonated = nullptr;
  bool is_resource = false;
  std::string_view group, version, resource, subresource, ns, name, uid;
  int status = 0;                     // 0: no response yet
  std::string_view reason, message;   // of a failure
  std::string_view request_object, response_object;
  base::WallTime received, at;
  std::string_view decision;          // allow, forbid, or empty
  const std::vector<std::pair<std::string, std::string>>* annotations = nullptr;  // of admission
};

// Appends the event and a line feed.
void append_event(std::string& out, const Event& e);

void append_json_text(std::string& out, std::string_view text);
// With six digits of a second, as metav1.MicroTime.
void append_micro_time(std::string& out, base::WallTime t);

}  // namespace server::audit
