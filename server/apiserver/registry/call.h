// Who calls the registry, and how.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "api/prune.h"
#include "server/apiserver/identity.h"

namespace server {

struct Call {
  std::shared_ptr<const UserInfo> user;
  std::string field_manager;  // as asked for, else the first word of the user agent
  bool dry_run = false;
  bool force = false;       // server-side apply
  bool from_apply = false;  // managedFields are kept by apply
  api::FieldValidation validation = api::FieldValidation::warn;
  std::vector<std::string> warnings;  // out: Warning headers
  std::vector<std::pair<std::string, std::string>> audit;  // out: annotations of the audit event
};

}  // namespace server
