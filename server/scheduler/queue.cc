#include "server/scheduler/queue.h"

#include <algorithm>

namespace server::scheduler {

base::TimePoint Queue::backoff_end(const Entry& e) const {
  base::Duration d = backoff_.first;
  for (int i = 1; i < e.attempts && d < backoff_.longest; ++i) d *= 2;
  return e.attempted + std::min(d, backoff_.longest);
}

void Queue::unlink(const std::string& uid, Entry& e) {
  if (e.state == State::active) active_.erase({-int64_t(e.pod->priority), e.age, uid});
  if (e.state == State::backing_off || e.state == State::parked) sleeping_.erase({e.wake, uid});
  e.state = State::popped;
}

void Queue::activate(const std::string& uid, Entry& e) {
  unlink(uid, e);
  e.state = State::active;
  active_.insert({-int64_t(e.pod->priority), e.age, uid});
}

void Queue::sleep_until(const std::string& uid, Entry& e, State state, base::TimePoint wake) {
  unlink(uid, e);
  e.state = state;
  e.wake = wake;
  sleeping_.insert({wake, uid});
}

void Queue::add(PodPtr pod, base::TimePoint) {
  auto [it, fresh] = entries_.try_emplace(pod->uid);
  Entry& e = it->second;
  if (fresh) {
    e.state = State::popped;
    e.age = next_age_++;
  }
  unlink(it->first, e);
  e.pod = std::move(pod);
  activate(it->first, e);
}

void Queue::remove(const std::string& uid) {
  auto it = entries_.find(uid);
  if (it == entries_.end()) return;
  unlink(it->first, it->second);
  entries_.erase(it);
}

PodPtr Queue::pop(base::TimePoint now) {
  while (!sleeping_.empty() && sleeping_.begin()->first <= now) {
    std::string uid = sleeping_.begin()->second;
    activate(uid, entries_.at(uid));
  }
  if (active_.empty()) return nullptr;
  std::string uid = std::get<2>(*active_.begin());
  Entry& e = entries_.at(uid);
  unlink(uid, e);
  ++e.attempts;
  e.attempted = now;
  return e.pod;
}

void Queue::park(const std::string& uid, uint8_t waits, base::TimePoint now) {
  auto it = entries_.find(uid);
  if (it == entries_.end()) return;
  it->second.waits = waits;
  sleep_until(it->first, it->second, State::parked, now + backoff_.park);
}

void Queue::put_back(const std::string& uid, base::TimePoint) {
  auto it = entries_.find(uid);
  if (it == entries_.end() || it->second.state != State::popped) return;
  sleep_until(it->first, it->second, State::backing_off, backoff_end(it->second));
}

void Queue::moved(uint8_t kinds, base::TimePoint now) {
  std::vector<std::string> ready;
  for (const auto& [wake, uid] : sleeping_) {
    const Entry& e = entries_.at(uid);
    if (e.state == State::parked && (e.waits & kinds)) ready.push_back(uid);
  }
  for (const std::string& uid : ready) {
    Entry& e = entries_.at(uid);
    base::TimePoint end = backoff_end(e);
    if (end <= now) activate(uid, e);
    else sleep_until(uid, e, State::backing_off, end);
  }
}

std::optional<base::TimePoint> Queue::deadline() const {
  if (sleeping_.empty()) return std::nullopt;
  return sleeping_.begin()->first;
}

PodPtr Queue::find(const std::string& uid) const {
  auto it = entries_.find(uid);
  return it == entries_.end() ? nullptr : it->second.pod;
}

}  // namespace server::scheduler
