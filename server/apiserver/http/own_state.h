// Kinds whose objects say how this server itself is doing and are nowhere stored: ComponentStatus, and APIService for the groups served here.
#pragma once

#include "server/apiserver/http/exchange.h"

namespace server {

bool is_own_state(const RequestInfo& info);
// get and list; anything else is refused.
Task<> serve_own_state(Exchange& x, const Registry& registry);

}  // namespace server
