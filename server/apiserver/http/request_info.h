// What a request path asks for, by Kubernetes' rules: /api/v1/..., /apis/<group>/<version>/..., anything else is a non-resource path.
#pragma once

#include <string>
#include <vector>

#include "base/http/message.h"

namespace server {

struct RequestInfo {
  bool is_resource = false;
  std::string verb;  // get list watch create update patch delete deletecollection; lower-case method for non-resource paths
  std::string group, version, resource, subresource, ns, name;
  std::string rest;  // of a proxy path, after the subresource, with its leading slash when there was one
  std::string path;  // decoded, for non-resource rules
  std::vector<std::string> parts;
};

// `path` is still percent-encoded. A malformed one gives a non-resource request that nothing serves.
RequestInfo parse_request(std::string_view method, std::string_view path, const base::http::Query& query);

}  // namespace server
