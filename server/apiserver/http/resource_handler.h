// Requests for resources: options from the query, verbs to Operations, watches.
#pragma once

#include "server/apiserver/http/event_cache.h"
#include "server/apiserver/http/exchange.h"
#include "server/apiserver/http/item_cache.h"

namespace server {

class ResourceHandler {
 public:
  explicit ResourceHandler(Operations& operations) : operations_(operations) {}
  // Authorised already. 404 and 405 included.
  Task<> handle(Exchange& x);

 private:
  Task<Result<Reply>> write(Exchange& x, Target target, Call& call);
  Task<> list(Exchange& x, const ResourceInfo& resource, std::string ns);
  Task<> watch(Exchange& x, const ResourceInfo& resource, std::string ns);
  Operations& operations_;
  EventCache events_;
  ItemCache items_;
};

// Query parameters of a list; a name in the path selects that one object (for watches of one).
Result<ListRequest> list_request(const Exchange& x, const ResourceInfo& resource);
Result<DeleteRequest> delete_request(const Exchange& x, Call& call, const std::string& body, Body::Form form);

constexpr size_t body_limit = 3 << 20;

}  // namespace server
