// EventRateLimit: Events a broken component floods the API with are refused with 429 before they cost anything (Kubernetes' plugin of that name).
#include <charconv>
#include <list>
#include <mutex>
#include <unordered_map>

#include <fmt/format.h>

#include "server/apiserver/admission/all.h"

namespace server {
namespace {

struct Limit {
  std::string_view type;  // as Kubernetes calls it
  double rate = 0, burst = 0;
};

constexpr std::pair<std::string_view, std::string_view> kTypes[] = {
    {"server", "Server"}, {"namespace", "Namespace"}, {"user", "User"}, {"source-and-object", "SourceAndObject"}};

Result<std::vector<Limit>> parse(std::string_view text) {
  std::vector<Limit> out;
  while (!text.empty()) {
    size_t comma = std::min(text.find(','), text.size());
    std::string_view one = text.substr(0, comma);
    text.remove_prefix(std::min(comma + 1, text.size()));
    if (one.empty()) continue;
    size_t equals = one.find('='), colon = one.find(':');
    Limit limit;
    unsigned rate = 0, burst = 0;
    auto number = [](std::string_view s, unsigned& n) {
      auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), n);
      return error == std::errc() && end == s.data() + s.size() && n > 0;
    };
    for (const auto& [name, type] : kTypes)
      if (equals != one.npos && one.substr(0, equals) == name) limit.type = type;
    if (limit.type.empty() || colon == one.npos || colon < equals || !number(one.substr(equals + 1, colon - equals - 1), rate) ||
        !number(one.substr(colon + 1), burst))
      return base::bad_request(fmt::format(
          "\"{}\": server, namespace, user or source-and-object, = events a second : burst is expected, such as namespace=100:2000", one));
    limit.rate = rate;
    limit.burst = burst;
    out.push_back(limit);
  }
  return out;
}

// Token buckets by key; the one unused for longest goes when there are too many.
class Buckets {
 public:
  explicit Buckets(Limit limit) : limit_(limit) {}
  std::string_view type() const { return limit_.type; }

  bool take(const std::string& key, base::TimePoint now) {
    std::scoped_lock lock(mutex_);
    auto it = index_.find(key);
    if (it == index_.end()) {
      constexpr size_t most = 4096;
      if (index_.size() >= most) {
        index_.erase(order_.back().key);
        order_.pop_back();
      }
      order_.push_front({key, limit_.burst, now});
      it = index_.emplace(key, order_.begin()).first;
    } else {
      order_.splice(order_.begin(), order_, it->second);
    }
    Bucket& b = *it->second;
    b.tokens = std::min(limit_.burst, b.tokens + std::chrono::duration<double>(now - b.at).count() * limit_.rate);
    b.at = now;
    if (b.tokens < 1) return false;
    b.tokens -= 1;
    return true;
  }

 private:
  struct Bucket {
    std::string key;
    double tokens;
    base::TimePoint at;
  };
  const Limit limit_;
  std::mutex mutex_;
  std::list<Bucket> order_;  // used last first
  std::unordered_map<std::string, std::list<Bucket>::iterator> index_;
};

class EventRateLimit final : public AdmissionPlugin {
 public:
  explicit EventRateLimit(const std::vector<Limit>& limits) {
    for (const Limit& l : limits) buckets_.push_back(std::make_unique<Buckets>(l));
  }
  std::string_view name() const override { return "EventRateLimit"; }

  bool handles(const Admit& a) const override {
    return (a.operation == Operation::create || a.operation == Operation::update) && !a.attempt.call.dry_run &&
           a.attempt.resource.resource == "events" && (a.attempt.resource.group.empty() || a.attempt.resource.group == "events.k8s.io");
  }

  base::Task<Result<>> mutate(Admit a) override {
    if (a.attempt.number > 0) co_return Result<>{};  // counted already
    auto now = base::Clock::now();
    for (const auto& b : buckets_) {
      std::string key = key_of(b->type(), a);
      if (!b->take(key, now))
        co_return base::too_many_requests(fmt::format("limit reached on type {} for key {}", b->type(), key), 1);
    }
    co_return Result<>{};
  }

 private:
  static std::string key_of(std::string_view type, const Admit& a) {
    if (type == "Namespace") return a.attempt.ns;
    if (type == "User") return a.attempt.call.user ? a.attempt.call.user->name : std::string();
    if (type == "Server" || !a.object) return {};
    auto text = [&](std::string_view path) { return base::get_string(*a.object, path); };
    std::string_view object = base::find(*a.object, "regarding") ? "regarding" : "involvedObject";
    std::string out(text("source.component"));
    out.append(text("reportingController")).append(text("source.host")).append(text("reportingInstance"));
    for (std::string_view field : {".kind", ".namespace", ".name", ".uid", ".apiVersion"})
      out.append(text(std::string(object).append(field)));
    return out;
  }

  std::vector<std::unique_ptr<Buckets>> buckets_;
};

}  // namespace

Result<> check_event_rate_limit(const std::string& limits) {
  auto parsed = parse(limits);
  if (!parsed) return std::unexpected(parsed.error());
  return {};
}

Plugin make_event_rate_limit_admission(const std::string& limits) {
  return std::make_unique<EventRateLimit>(parse(limits).value_or(std::vector<Limit>()));
}

}  // namespace server
