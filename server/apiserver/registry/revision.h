// resourceVersion as clients write it.
#pragma once

#include "base/io.h"
#include "datastore/store.h"

namespace server {

base::Result<datastore::Revision> parse_revision(std::string_view text);
// Waits up to 3 s for a revision that a client has seen elsewhere; then 504 "Too large resource version".
base::Task<base::Result<>> wait_for_revision(const datastore::Store& store, datastore::Revision wanted);

}  // namespace server
