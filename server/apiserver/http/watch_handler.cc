// A watch over HTTP: one JSON object (or protobuf frame) per event, as they happen, until the time is up or the client has gone.
#include <array>
#include <charconv>

#include <fmt/format.h>

#include "api/protobuf.h"
#include "base/bytes.h"
#include "server/apiserver/http/request_audit.h"
#include "server/apiserver/http/resource_handler.h"
#include "server/apiserver/http/status.h"

namespace server {

using base::json::object;
using base::json::value;
using namespace std::chrono_literals;

namespace {

constexpr auto bookmark_every = 60s;

std::string_view type_name(WatchItem::Type t) {
  switch (t) {
    case WatchItem::Type::added: return "ADDED";
    case WatchItem::Type::modified: return "MODIFIED";
    case WatchItem::Type::deleted: return "DELETED";
    default: return "BOOKMARK";
  }
}

// Digits of the resourceVersion in a stored value.
std::pair<size_t, size_t> revision_digits(const datastore::Record& record) {
  size_t begin = attributes_of(record).revision_offset, end = begin;
  const std::string& text = *record.value;
  while (end < text.size() && text[end] >= '0' && text[end] <= '9') ++end;
  return {begin, end};
}

// Turns items into bytes on the wire. Plain JSON is gathered from stored bytes without copying.
class EventWriter {
 public:
  EventWriter(const Registry& registry, EventCache& cache, const ResourceInfo& r, OutputForm form)
      : registry_(registry), cache_(cache), r_(r), form_(std::move(form)), partial_head_(partial_head(form_)),
        form_name_(fmt::format("{} {} {} {} {} {}", r.api_version, r.resource, static_cast<int>(form_.encoding), static_cast<int>(form_.shape), form_.beta, form_.include_object)) {}

  void add(const WatchItem& item) {
    if (item.type == WatchItem::Type::bookmark) {
      add_bookmark(item);
    } else if (form_.encoding == OutputForm::Encoding::json && form_.shape != OutputForm::Shape::table && !r_.conversion) {
      static constexpr std::string_view heads[] = {R"({"type":"ADDED","object":)", R"({"type":"MODIFIED","object":)",
                                                   R"({"type":"DELETED","object":)"};
      keep_.push_back(item.record->value);
      const bool partial = form_.shape == OutputForm::Shape::partial;
      std::string_view whole = *item.record->value, text = partial ? metadata_text(whole) : whole;
      parts_.push_back(heads[static_cast<size_t>(item.type)]);
      if (partial) parts_.push_back(partial_head_);
      if (item.type == WatchItem::Type::deleted) {
        auto [begin, end] = revision_digits(*item.record);
        parts_.push_back(text.substr(0, begin - static_cast<size_t>(text.data() - whole.data())));
        parts_.push_back(own(std::to_string(item.revision)));
        parts_.push_back(text.substr(end - static_cast<size_t>(text.data() - whole.data())));
      } else {
        parts_.push_back(text);
      }
      parts_.push_back(partial ? "}}\n" : "}\n");
    } else {
      // The first row of a table comes with its columns.
      const bool columns = form_.shape == OutputForm::Shape::table && first_;
      first_ = false;
      keep_.push_back(columns ? std::make_shared<const std::string>(encode(item, true))
                              : cache_.get(item, form_name_, [&] { return encode(item, false); }));
      if (!keep_.back()->empty()) parts_.push_back(*keep_.back());
    }
  }

  void add_error(const base::Error& e) { add_value("ERROR", status_object(e)); }

  std::span<const std::string_view> parts() const { return parts_; }
  bool empty() const { return parts_.empty(); }
  void clear() {
    parts_.clear();
    keep_.clear();
    owned_.clear();
  }

 private:
  void add_bookmark(const WatchItem& item) {
    object meta{{"resourceVersion", std::to_string(item.revision)}, {"creationTimestamp", nullptr}};
    if (item.initial_events_end) meta["annotations"] = object{{"k8s.io/initial-events-end", "true"}};
    value o = object{{"kind", r_.kind->kind}, {"apiVersion", r_.api_version}, {"metadata", meta}};
    if (form_.shape == OutputForm::Shape::table) {
      o = object{{"kind", "Table"},
                 {"apiVersion", std::string(form_.meta_version())},
                 {"metadata", object{{"resourceVersion", std::to_string(item.revision)}}},
                 {"columnDefinitions", base::json::array{}},
                 {"rows", base::json::array{}}};
      if (item.initial_events_end)
        o.as_object()["rows"] = base::json::array{object{
            {"cells", base::json::array{}},
            {"object", object{{"kind", "PartialObjectMetadata"}, {"apiVersion", std::string(form_.meta_version())}, {"metadata", meta}}}}};
    } else if (form_.shape == OutputForm::Shape::partial) {
      o = partial_metadata(form_, o);
    }
    add_value("BOOKMARK", o);
  }

  // Empty when there is no such form.
  std::string encode(const WatchItem& item, bool columns) const {
    base::JsonArena arena;
    auto v = registry_.decode(r_, *item.record, arena);
    if (!v) return {};
    if (item.type == WatchItem::Type::deleted) metadata_of(v->as_object())["resourceVersion"] = std::to_string(item.revision);
    return encode(type_name(item.type), shaped(form_, r_, std::move(*v), columns));
  }

  std::string encode(std::string_view type, const value& o) const {
    if (form_.encoding != OutputForm::Encoding::protobuf) return fmt::format("{{\"type\":\"{}\",\"object\":{}}}\n", type, base::to_text(o));
    auto bytes = api::to_protobuf(o);
    return bytes ? api::protobuf_watch_frame(type, *bytes) : std::string();
  }

  void add_value(std::string_view type, const value& o) {
    std::string text = encode(type, o);
    if (!text.empty()) parts_.push_back(own(std::move(text)));
  }

  std::string_view own(std::string s) {
    owned_.push_back(std::make_unique<std::string>(std::move(s)));
    return *owned_.back();
  }

  const Registry& registry_;
  EventCache& cache_;
  const ResourceInfo& r_;
  const OutputForm form_;
  const std::string partial_head_, form_name_;
  bool first_ = true;
  std::vector<std::string_view> parts_;
  std::vector<Bytes> keep_;
  std::vector<std::unique_ptr<std::string>> owned_;
};

// 30 to 60 minutes, so that many watches do not end at once.
base::Duration default_timeout() {
  std::string b = base::random_bytes(2);
  auto n = static_cast<unsigned>(static_cast<unsigned char>(b[0])) * 256 + static_cast<unsigned char>(b[1]);
  return 1800s + std::chrono::seconds(n % 1800);
}

Task<> pump(Exchange& x, WatchSession& session, EventWriter& writer, base::TimePoint deadline) {
  Revision told = session.progress();
  auto next_bookmark = base::Clock::now() + bookmark_every;
  for (;;) {
    auto items = co_await session.next(session.bookmarks() ? std::min(deadline, next_bookmark) : deadline);
    writer.clear();
    if (!items) {
      writer.add_error(items.error());
      co_await x.response.write(writer.parts());
      co_await x.response.end();
      co_return;
    }
    for (const WatchItem& item : *items) {
      writer.add(item);
      told = item.revision;
    }
    if (x.events) x.events->fetch_add(items->size(), std::memory_order_relaxed);
    auto now = base::Clock::now();
    bool last = now >= deadline;
    if (session.bookmarks() && (now >= next_bookmark || last)) {
      next_bookmark = now + bookmark_every;
      if (session.progress() > told || last) {
        told = std::max(told, session.progress());
        writer.add({WatchItem::Type::bookmark, nullptr, told, false});
      }
    }
    if (!writer.empty()) {
      auto written = co_await x.response.write(writer.parts());
      if (!written) co_return;
    }
    if (last) co_return;
  }
}

}  // namespace

Task<> ResourceHandler::watch(Exchange& x, const ResourceInfo& r, std::string ns) {
  const base::http::Query& q = x.request.query;
  auto list = list_request(x, r);
  if (!list) co_return co_await send_error(x, list.error());
  WatchRequest request;
  request.selection = std::move(list->selection);
  request.resource_version = list->resource_version;
  request.version_match = list->version_match;
  request.bookmarks = q.flag("allowWatchBookmarks");
  request.initial_events = list->initial_events;
  base::Duration time = default_timeout();
  if (std::string_view text = q.get("timeoutSeconds"); !text.empty()) {
    int64_t seconds = 0;
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
    if (error != std::errc() || end != text.data() + text.size())
      co_return co_await send_error(x, base::bad_request("timeoutSeconds is not a number").error());
    if (seconds > 0) time = std::chrono::seconds(std::min<int64_t>(seconds, 86400));
  }
  const base::TimePoint deadline = base::Clock::now() + time;
  // An unsuitable form of output for a stream of events.
  if (x.output.encoding == OutputForm::Encoding::yaml)
    co_return co_await send_error(x, base::fail(406, "NotAcceptable",
                                                "only the following media types are accepted: application/json;stream=watch, "
                                                "application/vnd.kubernetes.protobuf;stream=watch")
                                         .error());
  x.output.pretty = false;

  auto session = co_await operations_.registry().watch(&r, std::move(ns), std::move(request));
  EventWriter writer(operations_.registry(), events_, r, x.output);
  const bool protobuf = x.output.encoding == OutputForm::Encoding::protobuf;
  if (!session && session.error().code != 410) co_return co_await send_error(x, session.error());
  x.response.status = 200;
  x.response.headers.set("Content-Type", protobuf ? "application/vnd.kubernetes.protobuf;stream=watch" : "application/json");
  x.response.headers.set("Cache-Control", "no-cache, private");
  auto begun = co_await x.response.begin();
  if (!begun) co_return;
  audit_stage(x, audit::kStarted);
  if (x.seat) x.seat->release();
  if (!session) {
    // As Kubernetes does: the stream opens, then says that it cannot go on.
    writer.add_error(session.error());
    co_await x.response.write(writer.parts());
    co_await x.response.end();
    co_return;
  }
  // Events and bookmarks until the time is up; the client's going away ends it at once, even when nothing happens.
  co_await base::race(pump(x, **session, writer, deadline), x.response.client_gone(), x.stopping);
  if (base::Clock::now() >= deadline || (x.stopping && x.stopping->fired())) co_await x.response.end();
}

}  // namespace server
