// Events live for an hour after their last change. Sleeps until the next one is due; an idle cluster is not touched.
#pragma once

#include "base/io.h"
#include "datastore/store.h"

namespace server {

base::Task<> expire_events(datastore::Store& store, std::chrono::seconds lifetime = std::chrono::hours(1));

}  // namespace server
