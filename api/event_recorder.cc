#include "api/event_recorder.h"

#include <list>
#include <map>
#include <set>

#include "base/channel.h"
#include "base/log.h"
#include "base/time.h"

namespace api {
namespace {

using namespace std::chrono_literals;

constexpr size_t most_waiting = 1000, most_remembered = 1024, most_messages = 10;
constexpr base::Duration aggregation_window = 10min, refill_every = 5min;
constexpr int burst = 25;

struct Pending {
  EventRecorder::Source source;
  core::ObjectReference about;
  std::string type, reason, message;
  base::WallTime at;
};

std::string escaped(const std::string& message) {
  base::json::value v(message);
  return base::to_text(v);
}

}  // namespace

core::ObjectReference reference_to(const KindInfo& kind, const meta::ObjectMeta& metadata) {
  core::ObjectReference out;
  out.kind = kind.kind;
  out.apiVersion = kind.group.empty() ? std::string(kind.version) : std::string(kind.group) + "/" + std::string(kind.version);
  out.namespace_ = metadata.namespace_;
  out.name = metadata.name;
  out.uid = metadata.uid;
  out.resourceVersion = metadata.resourceVersion;
  return out;
}

// Everything but `queue` belongs to the writing coroutine.
struct EventRecorder::Impl {
  Impl(base::Runtime& runtime, Client& c) : client(c), tasks(runtime) {}

  struct Written {  // an event that exists
    ObjectKey key;
    int32_t count = 1;
    std::list<std::string>::iterator age;
  };
  struct Similar {  // messages seen for one reason of one object
    base::TimePoint since;
    std::set<size_t> messages;
  };
  struct Bucket {
    double tokens = burst;
    base::TimePoint at;
  };

  Client& client;
  base::Tasks tasks;
  base::Channel<Pending> queue{most_waiting};
  std::map<std::string, Written> written;
  std::list<std::string> oldest_first;
  std::map<std::string, Similar> similar;
  std::map<std::string, Bucket> buckets;

  bool spam(const std::string& object) {
    auto now = base::Clock::now();
    if (buckets.size() > most_remembered) buckets.clear();
    auto [it, fresh] = buckets.try_emplace(object);
    Bucket& b = it->second;
    if (!fresh)
      b.tokens =
          std::min<double>(burst, b.tokens + std::chrono::duration<double>(now - b.at) / std::chrono::duration<double>(refill_every));
    b.at = now;
    if (b.tokens < 1) return true;
    b.tokens -= 1;
    return false;
  }

  // Whether the message is one of too many different ones.
  bool combined(const std::string& group, const std::string& message) {
    auto now = base::Clock::now();
    if (similar.size() > most_remembered) similar.clear();
    auto [it, fresh] = similar.try_emplace(group);
    Similar& s = it->second;
    if (fresh || now - s.since > aggregation_window) s = {now, {}};
    if (s.messages.size() <= most_messages) s.messages.insert(std::hash<std::string>{}(message));
    return s.messages.size() > most_messages;
  }

  void remember(const std::string& id, ObjectKey key) {
    forget(id);
    if (written.size() >= most_remembered) forget(std::string(oldest_first.front()));
    oldest_first.push_back(id);
    written[id] = {std::move(key), 1, std::prev(oldest_first.end())};
  }
  void forget(const std::string& id) {
    auto it = written.find(id);
    if (it == written.end()) return;
    oldest_first.erase(it->second.age);
    written.erase(it);
  }

  core::Event make(const Pending& p, const std::string& message) {
    core::Event e;
    auto nanos = std::chrono::duration_cast<std::chrono::nanoseconds>(p.at.time_since_epoch()).count();
    e.metadata.name = fmt::format("{}.{:x}", p.about.name, nanos);
    e.metadata.namespace_ = p.about.namespace_.empty() ? "default" : p.about.namespace_;
    e.involvedObject = p.about;
    e.reason = p.reason;
    e.message = message;
    e.type = p.type;
    e.source = core::EventSource{p.source.component, p.source.host};
    e.reportingComponent = p.source.component;
    e.reportingInstance = p.source.host;
    e.firstTimestamp = e.lastTimestamp = base::rfc3339(p.at);
    e.count = 1;
    return e;
  }

  Task<> write(Pending p) {
    std::string object = p.source.component + "|" + p.about.kind + "|" + p.about.namespace_ + "|" + p.about.name + "|" + p.about.uid + "|" +
                         p.about.fieldPath;
    std::string group = object + "|" + p.type + "|" + p.reason;
    bool many = combined(group, p.message);
    std::string message = many ? "(combined from similar events): " + p.message : p.message;
    std::string id = many ? group : group + "|" + p.message;
    if (spam(object)) co_return;
    if (auto it = written.find(id); it != written.end()) {
      ObjectKey key = it->second.key;
      int32_t count = ++it->second.count;
      std::string body = fmt::format(R"({{"count":{},"lastTimestamp":"{}","message":{}}})", count, base::rfc3339(p.at), escaped(message));
      auto r = co_await patch<core::Event>(client, key, PatchType::merge, body);
      if (r || !base::is_not_found(r.error())) co_return;
      forget(id);  // expired: begin a new one
    }
    core::Event event = make(p, message);
    ObjectKey key{event.metadata.namespace_, event.metadata.name};
    auto r = co_await create(client, std::move(event));
    if (r) remember(id, std::move(key));
    else base::log::debug("events", "{} {}: {}", p.about.name, p.reason, r.error().message);
  }

  Task<> run() {
    for (;;) {
      auto p = co_await queue.pop();
      if (!p) co_return;
      co_await write(std::move(*p));
    }
  }
};

EventRecorder::EventRecorder(base::Runtime& runtime, Client& client) : impl_(std::make_unique<Impl>(runtime, client)) {}
EventRecorder::~EventRecorder() = default;

void EventRecorder::record(Source source, core::ObjectReference about, std::string_view type, std::string_view reason,
                           std::string message) {
  if (message.size() > 1024) message.resize(1024);
  bool queued = impl_->queue.push(
      {std::move(source), std::move(about), std::string(type), std::string(reason), std::move(message), base::WallClock::now()});
  if (!queued) base::log::debug("events", "dropped {}: too many wait", reason);
}

void EventRecorder::start() { impl_->tasks.spawn("events", impl_->run()); }

Task<> EventRecorder::stop() {
  impl_->queue.close();
  co_await impl_->tasks.stop();
}

}  // namespace api
