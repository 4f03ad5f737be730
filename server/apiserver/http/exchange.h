// One request on its way through the server, and how its answer is written.
#pragma once

#include <atomic>
#include <span>

#include "base/http/server.h"
#include "base/interrupt.h"
#include "server/apiserver/auth/authenticator.h"
#include "server/apiserver/flow/flow_control.h"
#include "server/apiserver/http/negotiation.h"
#include "server/apiserver/http/request_info.h"

namespace server {

namespace audit {
class Auditor;
struct Entry;
}

class ItemCache;

struct Exchange {
  base::http::Request& request;
  base::http::Response& response;
  RequestInfo info;
  UserPtr user;
  OutputForm output;
  const ResourceInfo* resource = nullptr;  // null when it is not served, and for other paths
  size_t sent = 0;                         // bytes of the body of the answer
  std::atomic<uint64_t>* events = nullptr;  // counts what a watch sends
  flow::Ticket* seat = nullptr;            // given back when a watch has begun
  base::Interrupt* stopping = nullptr;     // the server ends
  audit::Auditor* auditor = nullptr;       // null: no audit
  audit::Entry* audit = nullptr;           // null: not this request
};

// A Status, in the encoding the client takes.
Task<> send_error(Exchange& x, const base::Error& e);
Task<> send_json(Exchange& x, int status, std::string_view text);
Task<> send_text(Exchange& x, int status, std::string_view text);
// An object: as it is, or as Table, metadata only, YAML, protobuf.
Task<> send_reply(Exchange& x, const Reply& reply);
// A list as gathered stored bytes, or transformed.
Task<> send_list(Exchange& x, const Registry& registry, ItemCache& items, const ResourceInfo& resource, const ListAnswer& list);
void add_warnings(base::http::Response& response, const std::vector<std::string>& warnings);
// The object in the shape the client asked for.
base::json::value shaped(const OutputForm& form, const ResourceInfo& resource, base::json::value object, bool with_columns = true);
base::json::object partial_metadata(const OutputForm& form, const base::json::value& object);
// The text of metadata in a stored value, its braces included.
std::string_view metadata_text(std::string_view stored);
// What stands before it when only metadata is sent; "}" follows.
std::string partial_head(const OutputForm& form);

}  // namespace server
