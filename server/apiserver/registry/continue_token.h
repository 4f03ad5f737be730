// The opaque token that continues a paged list: the revision all pages show and the last key handed out.
#pragma once

#include <string>

#include "datastore/store.h"

namespace server {

struct ContinueToken {
  datastore::Revision revision = 0;  // 0: now, after the first snapshot has expired
  std::string start;                 // key below the collection's prefix
};

std::string encode_continue(const ContinueToken& token);
base::Result<ContinueToken> decode_continue(std::string_view text);

}  // namespace server
