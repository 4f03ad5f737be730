// The API's verbs over request bodies: what HTTP requests and the in-process client have in common. Authorisation has been done.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "api/client.h"
#include "server/apiserver/auth/authenticator.h"
#include "server/apiserver/registry/registry.h"

namespace server {

struct Body {
  enum class Form { json, yaml, protobuf };
  std::string text;
  Form form = Form::json;
};

// An answer that is one object.
struct Reply {
  int status = 200;
  Bytes body;                                // JSON text with apiVersion and kind
  const ResourceInfo* resource = nullptr;    // set when it is an object of that resource: it can become a Table
};

class Operations {
 public:
  Operations(Registry& registry, const Authorizer& authorizer, const Authenticator& authenticator, const ServiceAccountTokens& tokens)
      : registry_(registry), authorizer_(authorizer), authenticator_(authenticator), tokens_(tokens) {}

  Task<Result<Reply>> get(Target target);
  // resource_version: of a GET with one ("0" or empty: now).
  Task<Result<Reply>> create(Target target, Call& call, Body body);
  Task<Result<Reply>> update(Target target, Call& call, Body body);
  Task<Result<Reply>> patch(Target target, Call& call, api::PatchType type, Body body);
  Task<Result<Reply>> remove(Target target, Call& call, DeleteRequest request);
  // Deletes what is selected; the list of what was.
  Task<Result<Reply>> remove_collection(Target target, Call& call, DeleteRequest request, ListRequest selected);

  // Lists of what is not stored but asked for (metrics.k8s.io), for clients in this process.
  using Gather =
      std::function<Task<Result<std::vector<base::json::value>>>(const ResourceInfo* resource, std::string ns, Selection selection)>;
  void set_gather(Gather gather) { gather_ = std::move(gather); }
  const Gather& gather() const { return gather_; }

  Registry& registry() { return registry_; }
  const Authorizer& authorizer() const { return authorizer_; }

 private:
  Result<base::json::value> decode(const Body& body, const Call& call, std::vector<std::string>& problems,
                                   base::json::storage_ptr storage) const;
  Reply reply(const ResourceInfo* resource, const RecordPtr& record, int status = 200) const;
  Task<Result<Reply>> store_new(Target target, Call& call, base::json::value object);
  Task<Result<Reply>> apply(Target target, Call& call, Body body);
  Registry::Change adopting(Target target, Call& call, std::function<Result<base::json::value>(const base::json::value& live)> change,
                            std::vector<std::string> problems, std::function<std::string()> shown) const;

  // Subresources and virtual resources, each in its own file.
  Task<Result<Reply>> get_scale(Target target);
  Task<Result<Reply>> put_scale(Target target, Call& call, std::function<Result<base::json::value>(base::json::value scale)> change);
  Task<Result<Reply>> apply_scale(Target target, Call& call, base::json::value scale);
  Task<Result<Reply>> bind(Target target, Call& call, base::json::value binding);
  Task<Result<Reply>> evict(Target target, Call& call, base::json::value eviction);
  Task<Result<Reply>> request_token(Target target, Call& call, base::json::value request);
  Result<base::json::value> bind_token(const Target& target, const base::json::value& request, TokenGrant& grant) const;
  Task<Result<>> check_node_token(std::string node, TokenGrant grant, base::json::value pod, Call& call) const;
  Task<Result<Reply>> review(Target target, Call& call, base::json::value review);
  Task<Result<Reply>> review_token(base::json::value review);
  Task<Result<Reply>> review_access(Target target, Call& call, base::json::value review);
  Result<Reply> review_rules(Call& call, base::json::value review);
  // Subresources that are the whole object with only a part that may change: finalize, approval, ephemeralcontainers, resize.
  static bool restrict_change(const std::string& subresource, base::json::object& now, const base::json::object& before);

  Registry& registry_;
  Gather gather_;
  const Authorizer& authorizer_;
  const Authenticator& authenticator_;
  const ServiceAccountTokens& tokens_;
};

}  // namespace server
