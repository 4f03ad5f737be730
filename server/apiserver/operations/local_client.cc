#include "server/apiserver/operations/local_client.h"

#include <fmt/format.h>

#include "api/remote_client.h"
#include "server/apiserver/auth/access.h"

namespace server {
namespace {

using api::ObjectKey;
using api::Resource;

class LocalWatch final : public api::Watch {
 public:
  LocalWatch(std::unique_ptr<WatchSession> session, const Registry& registry, const ResourceInfo& resource)
      : session_(std::move(session)), registry_(registry), resource_(resource) {}

  Task<Result<std::optional<api::WatchEvent>>> next() override {
    while (at_ == items_.size()) {
      auto more = co_await session_->next(base::Clock::now() + std::chrono::hours(24));
      if (!more) co_return std::unexpected(std::move(more).error());
      items_ = std::move(*more);
      at_ = 0;
    }
    WatchItem& item = items_[at_++];
    api::WatchEvent out;
    out.type = item.type == WatchItem::Type::added      ? api::WatchEvent::Type::added
               : item.type == WatchItem::Type::modified ? api::WatchEvent::Type::modified
               : item.type == WatchItem::Type::deleted  ? api::WatchEvent::Type::deleted
                                                        : api::WatchEvent::Type::bookmark;
    if (item.type == WatchItem::Type::bookmark) {
      out.object = base::make_bytes(fmt::format(R"({{"kind":"{}","apiVersion":"{}","metadata":{{"resourceVersion":"{}"}}}})",
                                                resource_.kind->kind, resource_.api_version, item.revision));
    } else {
      out.object = registry_.present(resource_, item.record);
      if (item.type == WatchItem::Type::deleted) out.object = with_revision(*out.object, item.revision);
    }
    item.record.reset();
    co_return std::optional(std::move(out));
  }

 private:
  static Bytes with_revision(const std::string& text, Revision revision) {
    constexpr std::string_view mark = "\"resourceVersion\":\"";
    size_t begin = text.find(mark);
    if (begin == text.npos) return base::make_bytes(text);
    begin += mark.size();
    size_t end = text.find('"', begin);
    return base::make_bytes(text.substr(0, begin) + std::to_string(revision) + text.substr(end));
  }

  std::unique_ptr<WatchSession> session_;
  const Registry& registry_;
  const ResourceInfo& resource_;
  std::vector<WatchItem> items_;
  size_t at_ = 0;
};

class LocalClient final : public api::Client {
 public:
  LocalClient(Operations& operations, UserInfo identity, std::string manager, audit::Auditor* auditor)
      : operations_(operations),
        user_(std::make_shared<const UserInfo>(std::move(identity))),
        manager_(std::move(manager)),
        auditor_(auditor) {}

  Task<Result<Bytes>> get(Resource resource, ObjectKey key, std::string subresource) override {
    CO_TRY(Target t, co_await target("get", std::move(resource), std::move(key), std::move(subresource)));
    co_return body_of(co_await operations_.get(std::move(t)));
  }

  Task<Result<api::ListPage>> list(Resource resource, std::string ns, api::ListOptions options) override {
    CO_TRY(Target t, co_await target("list", std::move(resource), ObjectKey{ns, {}}, {}, selected_name(options.field_selector)));
    ListRequest request;
    CO_TRY(request.selection, parse_selection(*t.resource, options.label_selector, options.field_selector));
    if (t.resource->group == "metrics.k8s.io" && operations_.gather()) {
      CO_TRY(auto items, co_await operations_.gather()(t.resource, t.ns, std::move(request.selection)));
      api::ListPage figures;
      for (const auto& v : items) figures.items.push_back(base::make_bytes(base::to_text(v)));
      co_return figures;
    }
    request.limit = options.limit;
    request.continue_token = std::move(options.continue_token);
    request.resource_version = std::move(options.resource_version);
    CO_TRY(ListAnswer answer, co_await operations_.registry().list(t.resource, t.ns, std::move(request)));
    api::ListPage page;
    page.items.reserve(answer.records.size());
    for (const RecordPtr& r : answer.records) page.items.push_back(operations_.registry().present(*t.resource, r));
    page.resource_version = std::to_string(answer.revision);
    page.continue_token = std::move(answer.continue_token);
    co_return page;
  }

  Task<Result<std::unique_ptr<api::Watch>>> watch(Resource resource, std::string ns, api::WatchOptions options) override {
    CO_TRY(Target t, co_await target("watch", std::move(resource), ObjectKey{ns, {}}, {}, selected_name(options.field_selector)));
    WatchRequest request;
    CO_TRY(request.selection, parse_selection(*t.resource, options.label_selector, options.field_selector));
    request.resource_version = std::move(options.resource_version);
    CO_TRY(auto session, co_await operations_.registry().watch(t.resource, t.ns, std::move(request)));
    std::unique_ptr<api::Watch> out = std::make_unique<LocalWatch>(std::move(session), operations_.registry(), *t.resource);
    co_return out;
  }

  Task<Result<Bytes>> create(Resource resource, ObjectKey key, std::string body, api::WriteOptions options) override {
    // A name in the key is part of the address only for subresources; otherwise the body names the object.
    if (options.subresource.empty()) key.name.clear();
    return write({"create", std::move(resource), std::move(key), std::move(options), Body{std::move(body)}, {}, {}});
  }

  Task<Result<Bytes>> update(Resource resource, ObjectKey key, std::string body, api::WriteOptions options) override {
    return write({"update", std::move(resource), std::move(key), std::move(options), Body{std::move(body)}, {}, {}});
  }

  Task<Result<Bytes>> patch(Resource resource, ObjectKey key, api::PatchType type, std::string body, api::WriteOptions options) override {
    Body b{std::move(body), type == api::PatchType::apply ? Body::Form::yaml : Body::Form::json};
    return write({"patch", std::move(resource), std::move(key), std::move(options), std::move(b), type, {}});
  }

  Task<Result<Bytes>> remove(Resource resource, ObjectKey key, api::DeleteOptions options) override {
    DeleteRequest request;
    request.grace_seconds = options.grace_period_seconds;
    request.propagation = std::move(options.propagation_policy);
    request.uid = std::move(options.uid);
    request.resource_version = std::move(options.resource_version);
    return write({"delete", std::move(resource), std::move(key), {}, {}, {}, std::move(request)});
  }

 private:
  struct Write {
    std::string verb;
    Resource resource;
    ObjectKey key;
    api::WriteOptions options;
    Body body;
    api::PatchType type;
    DeleteRequest removal;
  };

  Task<Result<Bytes>> write(Write w) {
    audit::Decision decision;
    if (auditor_)
      decision =
          auditor_->decide({*user_, w.verb, true, w.resource.group, w.resource.resource, w.options.subresource, w.key.ns, w.key.name, {}});
    if (decision.level == audit::Level::none) {
      Call call = call_of(w.options);
      co_return body_of(co_await carry_out(std::move(w), call));
    }
    audit::Event e;
    e.level = decision.level;
    e.received = base::WallClock::now();
    Write described{w.verb, w.resource, w.key, w.options, {}, {}, {}};
    if (decision.level >= audit::Level::request) described.body = w.body;
    Call call = call_of(w.options);
    Result<Reply> reply = co_await carry_out(std::move(w), call);
    if (!(decision.omitted & audit::kComplete)) write_event(e, decision, described, call, reply);
    co_return body_of(std::move(reply));
  }

  Task<Result<Reply>> carry_out(Write w, Call& call) {
    CO_TRY(Target t, co_await target(w.verb, std::move(w.resource), std::move(w.key), w.options.subresource));
    if (w.verb == "create") co_return co_await operations_.create(std::move(t), call, std::move(w.body));
    if (w.verb == "update") co_return co_await operations_.update(std::move(t), call, std::move(w.body));
    if (w.verb == "patch") co_return co_await operations_.patch(std::move(t), call, w.type, std::move(w.body));
    co_return co_await operations_.remove(std::move(t), call, std::move(w.removal));
  }

  void write_event(audit::Event& e, const audit::Decision& decision, const Write& w, const Call& call, const Result<Reply>& reply) const {
    const std::string id = base::uuid4(), uri = api::path_of(w.resource, w.key, w.options.subresource);
    const std::string request = audit::kept_text(decision, w.body.text);
    std::string response;
    e.id = id;
    e.uri = uri;
    e.verb = w.verb;
    e.source = "127.0.0.1";
    e.agent = manager_;
    e.user = user_.get();
    e.is_resource = true;
    e.group = w.resource.group;
    e.version = w.resource.version;
    e.resource = w.resource.resource;
    e.subresource = w.options.subresource;
    e.ns = w.key.ns;
    e.name = w.key.name;
    e.at = base::WallClock::now();
    e.request_object = request;
    e.annotations = &call.audit;
    e.status = reply ? reply->status : reply.error().code;
    e.decision = e.status == 403 ? "forbid" : "allow";
    if (!reply) {
      e.reason = reply.error().reason;
      e.message = reply.error().message;
    } else {
      if (w.key.name.empty() && reply->resource) {
        const audit::Named made = audit::named_in(*reply->body);
        e.name = made.name;
        e.uid = made.uid;
      }
      if (decision.level == audit::Level::request_response) response = audit::kept_text(decision, *reply->body);
      e.response_object = response;
    }
    auditor_->write(e);
  }

  static std::string selected_name(const std::string& fields) {
    if (fields.find("metadata.name=") == std::string::npos) return {};
    auto parsed = api::FieldSelector::parse(fields);
    return parsed ? parsed->required_value("metadata.name").value_or(std::string()) : std::string();
  }

  Call call_of(const api::WriteOptions& options) const {
    Call call;
    call.user = user_;
    call.field_manager = options.field_manager.empty() ? manager_ : options.field_manager;
    call.dry_run = options.dry_run;
    call.force = options.force;
    call.validation = api::FieldValidation::ignore;
    return call;
  }

  static Result<Bytes> body_of(Result<Reply> reply) {
    if (!reply) return std::unexpected(std::move(reply).error());
    return std::move(reply->body);
  }

  Task<Result<Target>> target(std::string verb, Resource resource, ObjectKey key, std::string subresource, std::string selected = {}) {
    const ResourceInfo* r = operations_.registry().resources().find(resource);
    if (!r)
      co_return base::fail(
          404, "NotFound",
          fmt::format("the server could not find the requested resource ({}.{}/{})", resource.resource, resource.group, resource.version));
    Access a;
    a.verb = std::move(verb);
    a.group = std::move(resource.group);
    a.version = std::move(resource.version);
    a.resource = std::move(resource.resource);
    a.subresource = subresource;
    a.ns = r->namespaced ? key.ns : r->resource == "namespaces" && r->group.empty() ? key.name : std::string();
    a.name = key.name;
    a.selected_name = std::move(selected);
    CO_CHECK_OK(co_await operations_.authorizer().check(*user_, std::move(a)));
    co_return Target{r, r->namespaced ? std::move(key.ns) : std::string(), std::move(key.name), std::move(subresource)};
  }

  Operations& operations_;
  const UserPtr user_;
  const std::string manager_;
  audit::Auditor* const auditor_;
};

}  // namespace

std::shared_ptr<api::Client> make_local_client(Operations& operations, UserInfo identity, std::string manager, audit::Auditor* auditor) {
  return std::make_shared<LocalClient>(operations, std::move(identity), std::move(manager), auditor);
}

}  // namespace server
