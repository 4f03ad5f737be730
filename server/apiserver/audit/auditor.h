// The audit of requests: the policy decides when a request comes, and what happened is written when it ends.
#pragma once

#include <atomic>
#include <memory>

#include "server/apiserver/audit/event.h"
#include "server/apiserver/audit/log.h"

namespace server::audit {

// What is kept of a request while it runs.
struct Entry {
  Decision decision;
  base::WallTime received;
  std::string request_object, response_object;  // JSON, from level Request and RequestResponse on
  std::string name, uid;                        // of a created object
  std::string reason, message;                  // of a failure
  std::vector<std::pair<std::string, std::string>> annotations;  // what admission found worth noting
  std::shared_ptr<const UserInfo> user;         // as authenticated; the exchange has who it acts as
  std::string_view authorized;                  // allow, forbid, or empty: not decided
  bool keeps_request() const { return decision.level >= Level::request; }
  bool keeps_response() const { return decision.level >= Level::request_response; }
};

class Auditor {
 public:
  Auditor(Policy policy, std::unique_ptr<Log> log) : policy_(std::move(policy)), log_(std::move(log)) {}
  Decision decide(const Subject& subject) const { return policy_.decide(subject); }
  void write(const Event& event);
  void stop() { log_->stop(); }
  const Log& log() const { return *log_; }
  // Events by level, for metrics.
  uint64_t events(Level level) const { return by_level_[static_cast<size_t>(level)].load(std::memory_order_relaxed); }

 private:
  const Policy policy_;
  const std::unique_ptr<Log> log_;
  std::atomic<uint64_t> by_level_[4] = {};
};

struct AuditOptions {
  std::string policy_file;  // empty: Policy::standard()
  LogOptions log;           // path "off": no audit
};
// Null when it is off. Starts the log.
Result<std::unique_ptr<Auditor>> make_auditor(const AuditOptions& options);

// What an event holds of a body, JSON: nothing of one over most_object bytes, and no metadata.managedFields (of a list: of its items) where the policy
// leaves them out.
inline constexpr size_t most_object = 1u << 20;
std::string kept_text(const Decision& decision, std::string text);

// Name and uid in the bytes of a stored object.
struct Named {
  std::string_view name, uid;
};
Named named_in(std::string_view object);

}  // namespace server::audit
