// Follows the FlowSchema and PriorityLevelConfiguration objects: configures, puts back mandatory ones, tells which schemas dangle.
#pragma once

#include "api/client.h"
#include "datastore/store.h"
#include "server/apiserver/flow/flow_control.h"

namespace server::flow {

// Takes the objects as they are now; for the start, after the bootstrap has written them.
Task<Result<>> load(datastore::Store& store, FlowControl& control);
// Until cancelled.
Task<> follow(datastore::Store& store, std::shared_ptr<api::Client> client, FlowControl& control);

}  // namespace server::flow
