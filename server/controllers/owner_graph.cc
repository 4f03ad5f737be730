#include "server/controllers/owner_graph.h"

#include <algorithm>

namespace server::controllers {

// Requires mutex_.
void OwnerGraph::unlink(const std::string& key, std::vector<std::string>* woken) {
  auto it = entries_.find(key);
  if (it == entries_.end()) return;
  for (const std::string& uid : it->second.owners) {
    auto o = owners_.find(uid);
    if (o == owners_.end()) continue;
    o->second.dependents.erase(key);
    if (woken && !o->second.waiting.empty()) woken->push_back(o->second.waiting);
    if (o->second.dependents.empty()) owners_.erase(o);
  }
  if (--known_[it->second.uid] == 0) known_.erase(it->second.uid);
  entries_.erase(it);
}

std::vector<std::string> OwnerGraph::put(const std::string& key, const api::meta::ObjectMeta& m) {
  std::scoped_lock lock(mutex_);
  if (auto o = owners_.find(m.uid); o != owners_.end()) o->second.presence = Presence::present;
  std::vector<std::string> former, out;
  if (auto it = entries_.find(key); it != entries_.end()) former = it->second.owners;
  std::erase_if(former, [&](const std::string& uid) { return !owners_.contains(uid); });
  std::vector<bool> blocked;
  for (const std::string& uid : former) {
    auto& dependents = owners_[uid].dependents;
    auto d = dependents.find(key);
    blocked.push_back(d != dependents.end() && d->second.blocks);
    dependents[""] = {};  // keeps what is known of the owner while the object is linked anew
  }
  unlink(key, nullptr);
  if (link(key, m)) out.push_back(key);
  for (size_t i = 0; i < former.size(); ++i) {
    auto o = owners_.find(former[i]);
    if (o == owners_.end()) continue;
    auto& dependents = o->second.dependents;
    dependents.erase("");
    auto d = dependents.find(key);
    if (blocked[i] && !o->second.waiting.empty() && (d == dependents.end() || !d->second.blocks)) out.push_back(o->second.waiting);
    if (dependents.empty()) owners_.erase(o);
  }
  return out;
}

// Requires mutex_.
bool OwnerGraph::link(const std::string& key, const api::meta::ObjectMeta& m) {
  if (m.ownerReferences.empty()) return false;
  Entry& e = entries_[key];
  e.uid = m.uid;
  ++known_[m.uid];
  const auto& f = m.finalizers;
  bool look = false, ending = !m.deletionTimestamp.empty() && std::find(f.begin(), f.end(), "foregroundDeletion") != f.end();
  for (const auto& ref : m.ownerReferences) {
    e.owners.push_back(ref.uid);
    Owner& o = owners_[ref.uid];
    o.dependents[key] = {key, m.uid, ref.blockOwnerDeletion.value_or(false), ending};
    if (o.presence == Presence::unknown && known_.contains(ref.uid)) o.presence = Presence::present;
    look = look || o.presence != Presence::present || !o.waiting.empty();
  }
  return look;
}

std::vector<std::string> OwnerGraph::removed(const std::string& key, const std::string& uid) {
  std::scoped_lock lock(mutex_);
  std::vector<std::string> out;
  unlink(key, &out);
  if (auto o = owners_.find(uid); o != owners_.end()) {
    o->second.presence = Presence::absent;
    for (const auto& [k, d] : o->second.dependents) out.push_back(k);
  }
  return out;
}

std::vector<std::string> OwnerGraph::retain(const std::string& prefix, const std::set<std::string>& listed) {
  std::vector<std::pair<std::string, std::string>> gone;
  {
    std::scoped_lock lock(mutex_);
    for (auto it = entries_.lower_bound(prefix); it != entries_.end() && it->first.starts_with(prefix); ++it)
      if (!listed.contains(it->first)) gone.emplace_back(it->first, it->second.uid);
  }
  std::vector<std::string> out;
  for (const auto& [key, uid] : gone)
    for (std::string& k : removed(key, uid)) out.push_back(std::move(k));
  // Owners without owners of their own are not remembered by kind: all of them have to be asked for again.
  std::scoped_lock lock(mutex_);
  for (auto& [uid, o] : owners_)
    if (o.presence == Presence::present && !known_.contains(uid)) {
      o.presence = Presence::unknown;
      for (const auto& [k, d] : o.dependents) out.push_back(k);
    }
  return out;
}

std::vector<OwnerGraph::Dependent> OwnerGraph::dependents(const std::string& owner_uid) const {
  std::scoped_lock lock(mutex_);
  std::vector<Dependent> out;
  if (auto o = owners_.find(owner_uid); o != owners_.end())
    for (const auto& [key, d] : o->second.dependents) out.push_back(d);
  return out;
}

OwnerGraph::Presence OwnerGraph::presence(const std::string& uid) const {
  std::scoped_lock lock(mutex_);
  auto o = owners_.find(uid);
  if (o != owners_.end()) return o->second.presence;
  return known_.contains(uid) ? Presence::present : Presence::unknown;
}

void OwnerGraph::set_presence(const std::string& uid, Presence p) {
  std::scoped_lock lock(mutex_);
  if (auto o = owners_.find(uid); o != owners_.end()) o->second.presence = p;
}

void OwnerGraph::waits(const std::string& owner_uid, const std::string& owner_key) {
  std::scoped_lock lock(mutex_);
  if (auto o = owners_.find(owner_uid); o != owners_.end()) o->second.waiting = owner_key;
}

size_t OwnerGraph::size() const {
  std::scoped_lock lock(mutex_);
  return entries_.size();
}

bool OwnerGraph::follows(const std::string& prefix) const {
  std::scoped_lock lock(mutex_);
  auto it = entries_.lower_bound(prefix);
  return it != entries_.end() && it->first.starts_with(prefix);
}

}  // namespace server::controllers
