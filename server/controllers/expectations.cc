#include "server/controllers/expectations.h"

namespace server::controllers {

void Expectations::expect(const std::string& owner, const std::string& child) {
  std::scoped_lock lock(mutex_);
  by_owner_[owner][child] = base::Clock::now() + std::chrono::minutes(5);
  owner_of_[child] = owner;
}

void Expectations::met(const std::string& child) {
  std::scoped_lock lock(mutex_);
  auto it = owner_of_.find(child);
  if (it == owner_of_.end()) return;
  auto owner = by_owner_.find(it->second);
  owner->second.erase(child);
  if (owner->second.empty()) by_owner_.erase(owner);
  owner_of_.erase(it);
}

bool Expectations::satisfied(const std::string& owner) {
  std::scoped_lock lock(mutex_);
  auto it = by_owner_.find(owner);
  if (it == by_owner_.end()) return true;
  auto now = base::Clock::now();
  std::erase_if(it->second, [&](const auto& e) {
    if (e.second > now) return false;
    owner_of_.erase(e.first);
    return true;
  });
  if (!it->second.empty()) return false;
  by_owner_.erase(it);
  return true;
}

}  // namespace server::controllers
