// api::Client over HTTPS.
#pragma once

#include <memory>
#include <string>

#include "api/client.h"
#include "base/http/client.h"

namespace api {

// server: "https://host:6443". Credentials are the client's TLS identity, or the bearer token when one is given.
std::shared_ptr<Client> make_remote_client(std::shared_ptr<base::http::Client> http, std::string server, std::string bearer_token = {});

// The path under which a server has the object, or without a name the collection.
std::string path_of(const Resource& resource, const ObjectKey& key, std::string_view subresource);

}  // namespace api
