// What `appliance secrets` asks: GET and POST /v1-appliance/encryption. For those who may everything.
#pragma once

#include "datastore/keyring.h"
#include "server/apiserver/http/exchange.h"

namespace server {

inline constexpr std::string_view kEncryptionPath = "/v1-appliance/encryption";

// GET: the keys and how many rows each has sealed. POST ?action=rotate-key or reencrypt. `keyring` may be null: nothing is encrypted.
Task<> serve_encryption(Exchange& x, datastore::Store& store, const datastore::Keyring* keyring);

}  // namespace server
