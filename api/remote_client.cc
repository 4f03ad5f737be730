#include "api/remote_client.h"

#include <fmt/format.h>

#include "base/json.h"

namespace api {
namespace {

using base::http::ClientRequest;
using base::http::ClientResponse;

void add_query(std::string& path, std::string_view name, std::string_view value) {
  if (value.empty()) return;
  path += path.find('?') == std::string::npos ? '?' : '&';
  path += fmt::format("{}={}", name, base::percent_encode(value));
}

// A Status body as an error; any other body by its HTTP status.
base::Error error_of(int code, std::string_view body) {
  base::Error e;
  e.code = code;
  e.reason = code == 404 ? "NotFound" : code == 409 ? "Conflict" : code == 410 ? "Expired" : "InternalError";
  e.message = fmt::format("the server answered {} {}", code, base::http::status_text(code));
  auto v = base::parse_json(body);
  if (!v || base::get_string(*v, "kind") != "Status") return e;
  e.code = static_cast<int>(base::get_int(*v, "code", code));
  e.reason = base::get_string(*v, "reason", e.reason);
  e.message = base::get_string(*v, "message", e.message);
  e.group = base::get_string(*v, "details.group");
  e.kind = base::get_string(*v, "details.kind");
  e.name = base::get_string(*v, "details.name");
  e.retry_after_seconds = static_cast<int>(base::get_int(*v, "details.retryAfterSeconds"));
  if (const auto* causes = base::find_array(*v, "details.causes")) {
    for (const auto& c : *causes) {
      e.causes.push_back({std::string(base::get_string(c, "reason")), std::string(base::get_string(c, "message")),
                          std::string(base::get_string(c, "field"))});
    }
  }
  return e;
}

// Splits a watch response into lines of JSON.
class RemoteWatch final : public Watch {
 public:
  explicit RemoteWatch(std::unique_ptr<ClientResponse> response) : response_(std::move(response)) {}

  Task<Result<std::optional<WatchEvent>>> next() override {
    for (;;) {
      size_t end = buffer_.find('\n', scanned_);
      if (end != std::string::npos) {
        auto v = base::parse_json(std::string_view(buffer_).substr(0, end), 200);
        buffer_.erase(0, end + 1);
        scanned_ = 0;
        if (!v) co_return std::unexpected(std::move(v).error());
        co_return event_of(*v);
      }
      scanned_ = buffer_.size();
      if (buffer_.size() > kMaxLine) co_return base::too_large("a watch event is too large");
      char chunk[8192];
      auto n = co_await response_->read(chunk);
      if (!n) co_return std::unexpected(std::move(n).error());
      if (*n == 0) co_return std::optional<WatchEvent>();
      buffer_.append(chunk, *n);
    }
  }

 private:
  static constexpr size_t kMaxLine = 16u << 20;

  static Result<std::optional<WatchEvent>> event_of(const base::json::value& v) {
    const auto* object = base::find(v, "object");
    if (!object) return base::internal("a watch event has no object");
    auto type = base::get_string(v, "type");
    if (type == "ERROR") return std::unexpected(error_of(static_cast<int>(base::get_int(*object, "code", 500)), base::to_text(*object)));
    WatchEvent e;
    e.type = type == "ADDED" ? WatchEvent::Type::added
           : type == "DELETED" ? WatchEvent::Type::deleted
           : type == "BOOKMARK" ? WatchEvent::Type::bookmark
                                : WatchEvent::Type::modified;
    e.object = base::make_bytes(base::to_text(*object));
    return e;
  }

  std::unique_ptr<ClientResponse> response_;
  std::string buffer_;
  size_t scanned_ = 0;  // no newline before this offset
};

class RemoteClient final : public Client {
 public:
  RemoteClient(std::shared_ptr<base::http::Client> http, std::string server, std::string token)
      : http_(std::move(http)), server_(std::move(server)), token_(std::move(token)) {}

  Task<Result<Bytes>> get(Resource r, ObjectKey key, std::string subresource) override {
    return send("GET", path_of(r, key, subresource), {}, {});
  }

  Task<Result<ListPage>> list(Resource r, std::string ns, ListOptions o) override {
    std::string path = path_of(r, {ns, {}}, {});
    add_query(path, "labelSelector", o.label_selector);
    add_query(path, "fieldSelector", o.field_selector);
    add_query(path, "resourceVersion", o.resource_version);
    add_query(path, "continue", o.continue_token);
    if (o.limit) add_query(path, "limit", std::to_string(o.limit));
    auto body = co_await send("GET", std::move(path), {}, {});
    if (!body) co_return std::unexpected(std::move(body).error());
    auto v = base::parse_json(**body, 200);
    if (!v) co_return std::unexpected(std::move(v).error());
    ListPage page;
    page.resource_version = base::get_string(*v, "metadata.resourceVersion");
    page.continue_token = base::get_string(*v, "metadata.continue");
    auto kind = base::get_string(*v, "kind");
    if (kind.ends_with("List")) kind.remove_suffix(4);
    auto api_version = base::get_string(*v, "apiVersion");
    if (const auto* items = base::find_array(*v, "items")) {
      for (const auto& item : *items) {
        base::json::value copy = item;
        if (auto* object = copy.if_object()) {
          if (!object->contains("kind")) (*object)["kind"] = kind;
          if (!object->contains("apiVersion")) (*object)["apiVersion"] = api_version;
        }
        page.items.push_back(base::make_bytes(base::to_text(copy)));
      }
    }
    co_return page;
  }

  Task<Result<std::unique_ptr<Watch>>> watch(Resource r, std::string ns, WatchOptions o) override {
    std::string path = path_of(r, {ns, {}}, {});
    add_query(path, "watch", "true");
    add_query(path, "allowWatchBookmarks", "true");
    add_query(path, "labelSelector", o.label_selector);
    add_query(path, "fieldSelector", o.field_selector);
    add_query(path, "resourceVersion", o.resource_version);
    auto response = co_await request("GET", std::move(path), {}, {});
    if (!response) co_return std::unexpected(std::move(response).error());
    if ((*response)->status != 200) co_return std::unexpected(co_await failure(**response));
    co_return std::make_unique<RemoteWatch>(std::move(*response));
  }

  Task<Result<Bytes>> create(Resource r, ObjectKey key, std::string body, WriteOptions o) override {
    if (o.subresource.empty()) key.name.clear();
    std::string path = path_of(r, key, o.subresource);
    add_options(path, o);
    return send("POST", std::move(path), std::move(body), "application/json");
  }

  Task<Result<Bytes>> update(Resource r, ObjectKey key, std::string body, WriteOptions o) override {
    std::string path = path_of(r, key, o.subresource);
    add_options(path, o);
    return send("PUT", std::move(path), std::move(body), "application/json");
  }

  Task<Result<Bytes>> patch(Resource r, ObjectKey key, PatchType type, std::string body, WriteOptions o) override {
    static constexpr std::string_view types[] = {"application/json-patch+json", "application/merge-patch+json",
                                                 "application/strategic-merge-patch+json", "application/apply-patch+yaml"};
    std::string path = path_of(r, key, o.subresource);
    if (type == PatchType::apply && o.field_manager.empty()) o.field_manager = "appliance";
    add_options(path, o);
    return send("PATCH", std::move(path), std::move(body), types[static_cast<int>(type)]);
  }

  Task<Result<Bytes>> remove(Resource r, ObjectKey key, DeleteOptions o) override {
    base::json::object body{{"apiVersion", "v1"}, {"kind", "DeleteOptions"}};
    if (o.grace_period_seconds) body["gracePeriodSeconds"] = *o.grace_period_seconds;
    if (!o.propagation_policy.empty()) body["propagationPolicy"] = o.propagation_policy;
    base::json::object preconditions;
    if (!o.uid.empty()) preconditions["uid"] = o.uid;
    if (!o.resource_version.empty()) preconditions["resourceVersion"] = o.resource_version;
    if (!preconditions.empty()) body["preconditions"] = preconditions;
    return send("DELETE", path_of(r, key, {}), base::to_text(body), "application/json");
  }

 private:
  static void add_options(std::string& path, const WriteOptions& o) {
    add_query(path, "fieldManager", o.field_manager);
    if (o.dry_run) add_query(path, "dryRun", "All");
    if (o.force) add_query(path, "force", "true");
  }

  Task<Result<std::unique_ptr<ClientResponse>>> request(std::string method, std::string path, std::string body, std::string_view type) {
    ClientRequest q;
    q.method = std::move(method);
    q.url = server_ + path;
    q.headers.set("Accept", "application/json");
    if (!type.empty()) q.headers.set("Content-Type", type);
    if (!token_.empty()) q.headers.set("Authorization", "Bearer " + token_);
    q.body = std::move(body);
    return http_->send(std::move(q));
  }

  static Task<base::Error> failure(ClientResponse& response) {
    auto body = co_await response.body(1u << 20);
    co_return error_of(response.status, body ? std::string_view(*body) : std::string_view());
  }

  Task<Result<Bytes>> send(std::string method, std::string path, std::string body, std::string_view type) {
    auto response = co_await request(std::move(method), std::move(path), std::move(body), type);
    if (!response) co_return std::unexpected(std::move(response).error());
    if ((*response)->status >= 300) co_return std::unexpected(co_await failure(**response));
    auto text = co_await (*response)->body();
    if (!text) co_return std::unexpected(std::move(text).error());
    co_return base::make_bytes(std::move(*text));
  }

  std::shared_ptr<base::http::Client> http_;
  std::string server_, token_;
};

}  // namespace

std::string path_of(const Resource& r, const ObjectKey& key, std::string_view subresource) {
  std::string path = r.group.empty() ? "/api/" + r.version : "/apis/" + r.group + "/" + r.version;
  if (!key.ns.empty()) path += "/namespaces/" + base::percent_encode(key.ns);
  path += "/" + r.resource;
  if (!key.name.empty()) path += "/" + base::percent_encode(key.name);
  if (!subresource.empty()) path += "/" + std::string(subresource);
  return path;
}

std::shared_ptr<Client> make_remote_client(std::shared_ptr<base::http::Client> http, std::string server, std::string bearer_token) {
  return std::make_shared<RemoteClient>(std::move(http), std::move(server), std::move(bearer_token));
}

}  // namespace api
