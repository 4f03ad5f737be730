// What a browser gets through a proxy subresource: links that stay behind the proxy. A page or redirect of the proxied server speaks of paths
// at its own root; here they begin with the path under which it was asked for. Rules as in Kubernetes' proxy.
#pragma once

#include <string>
#include <string_view>

namespace server {

struct ProxiedAt {
  std::string prefix;   // /api/v1/namespaces/default/services/web/proxy
  std::string backend;  // host:port that was dialled
  std::string host;     // the Host that the client asked for
};

// Absolute paths, with or without one of the two hosts before them, get the prefix. Other URLs stay as they are.
std::string rewrite_url(std::string_view url, const ProxiedAt& at);
// The URL attributes of HTML elements; everything else byte by byte.
std::string rewrite_links(std::string_view html, const ProxiedAt& at);

}  // namespace server
