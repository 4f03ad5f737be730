// Where audit events get their content from: an exchange.
#pragma once

#include <optional>

#include "server/apiserver/audit/auditor.h"
#include "server/apiserver/http/exchange.h"

namespace server {

// Decides by the policy; from then on x.audit is the entry, or null when nothing is to be written. After authentication (x.user).
void begin_audit(Exchange& x, std::optional<audit::Entry>& entry);
// Writes the event of a stage, unless the policy leaves it out.
void audit_stage(const Exchange& x, audit::Stage stage);

// Keep what the level asks for.
void audit_request_body(Exchange& x, const Body& body);
void audit_response(Exchange& x, std::span<const std::string_view> json);
void audit_reply(Exchange& x, const Reply& reply);

}  // namespace server
