#include "server/controllers/controllers.h"
#include "server/controllers/objects.h"

namespace server::controllers {
namespace {

// Converges: Events older than their time to live to gone. Reads them when the oldest one expires, and keeps none in memory.
class EventCleaner final : public Controller {
 public:
  using Controller::Controller;
  std::string_view name() const override { return "event-cleaner"; }
  int workers() const override { return 1; }
  void started() override { queue().add("all"); }

  Task<Result<Requeue>> reconcile(ObjectKey) override {
    const auto ttl = context_.options.event_ttl;
    const auto now = base::WallClock::now();
    base::WallTime next = now + ttl;
    api::ListOptions options;
    options.limit = 500;
    for (;;) {
      auto page = co_await client_.list(api::resource_of<core::Event>(), {}, options);
      if (!page) co_return std::unexpected(std::move(page).error());
      for (const api::Bytes& b : page->items) {
        auto e = api::decode<core::Event>(std::string_view(*b));
        if (!e) continue;
        auto last = std::max(time_of(e->metadata.creationTimestamp), time_of(e->lastTimestamp));
        if (e->series) last = std::max(last, time_of(e->series->lastObservedTime));
        if (last + ttl > now) {
          next = std::min(next, last + ttl);
          continue;
        }
        auto r = co_await api::remove<core::Event>(client_, {e->metadata.namespace_, e->metadata.name});
        if (!r && !base::is_not_found(r.error())) co_return std::unexpected(std::move(r).error());
      }
      if (page->continue_token.empty()) break;
      options.continue_token = page->continue_token;
    }
    // Some minutes more do not matter, many small reads would.
    co_return Requeue{std::max(std::chrono::duration_cast<Duration>(next - now), ttl / 12)};
  }
};

}  // namespace

Made make_event_cleaner(Context& c) { return std::make_unique<EventCleaner>(c); }

}  // namespace server::controllers
