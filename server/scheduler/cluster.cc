#include "server/scheduler/cluster.h"

#include <algorithm>

namespace server::scheduler {

uint32_t Cluster::slot(const std::string& name) {
  auto it = index_.find(name);
  if (it != index_.end()) return it->second;
  uint32_t i;
  if (!vacant_.empty()) {
    i = vacant_.back();
    vacant_.pop_back();
  } else {
    i = uint32_t(nodes_.size());
    nodes_.emplace_back();
    auto& l = lanes_;
    for (auto* v : {&l.free_cpu, &l.free_memory, &l.free_ephemeral, &l.free_pods}) v->push_back(-1);
    for (auto* v : {&l.cpu_share, &l.memory_share, &l.scored_cpu, &l.scored_memory}) v->push_back(0);
    l.taints.push_back(0);
    l.present.push_back(0);
    l.schedulable.push_back(0);
  }
  nodes_[i] = Entry{};
  nodes_[i].node.name = name;
  index_.emplace(name, i);
  return i;
}

uint32_t Cluster::taint_set(const std::vector<Taint>& taints) {
  std::vector<Taint> sorted = taints;
  std::sort(sorted.begin(), sorted.end());
  auto it = std::find(taint_sets_.begin(), taint_sets_.end(), sorted);
  if (it != taint_sets_.end()) return uint32_t(it - taint_sets_.begin());
  // In the place of one that no node has any more, so that the table stays as small as what nodes have now.
  std::vector<bool> used(taint_sets_.size());
  used[0] = true;
  for (uint32_t set : lanes_.taints) used[set] = true;
  size_t place = size_t(std::find(used.begin(), used.end(), false) - used.begin());
  if (place == taint_sets_.size()) taint_sets_.emplace_back();
  taint_sets_[place] = std::move(sorted);
  return uint32_t(place);
}

void Cluster::refresh(uint32_t i) {
  const Entry& e = nodes_[i];
  auto& l = lanes_;
  const Resources& a = e.node.allocatable;
  bool there = e.present;
  l.free_cpu[i] = there ? a.cpu - e.requested.cpu : -1;
  l.free_memory[i] = there ? a.memory - e.requested.memory : -1;
  l.free_ephemeral[i] = there ? a.ephemeral - e.requested.ephemeral : -1;
  l.free_pods[i] = there ? a.pods - e.requested.pods : -1;
  l.cpu_share[i] = a.cpu > 0 ? 1 / double(a.cpu) : 0;
  l.memory_share[i] = a.memory > 0 ? 1 / double(a.memory) : 0;
  l.present[i] = there;
  l.schedulable[i] = there && !e.node.unschedulable;
}

void Cluster::set_images(uint32_t i, const std::map<std::string, int64_t>& before, const std::map<std::string, int64_t>& after) {
  if (before == after) return;
  for (const auto& [name, size] : before) {
    auto it = images_.find(name);
    if (it == images_.end()) continue;
    std::erase(it->second.nodes, i);
    if (it->second.nodes.empty()) images_.erase(it);
  }
  for (const auto& [name, size] : after) {
    Image& image = images_[name];
    image.size = size;
    image.nodes.push_back(i);
  }
}

void Cluster::set_node(Node node) {
  uint32_t i = slot(node.name);
  Entry& e = nodes_[i];
  set_images(i, e.node.images, node.images);
  if (!e.present) ++present_;
  e.present = true;
  lanes_.taints[i] = taint_set(node.taints);
  e.node = std::move(node);
  refresh(i);
}

void Cluster::remove_node(const std::string& name) {
  auto it = index_.find(name);
  if (it == index_.end()) return;
  uint32_t i = it->second;
  Entry& e = nodes_[i];
  if (e.present) --present_;
  e.present = false;
  set_images(i, e.node.images, {});
  e.node = Node{};
  e.node.name = name;
  lanes_.taints[i] = 0;
  refresh(i);
  std::erase_if(nominated_, [&](const auto& n) { return n.second.second == i; });
  if (e.pods.empty()) {
    index_.erase(it);
    vacant_.push_back(i);
  }
}

void Cluster::add_pod(PodPtr pod) {
  remove_pod(pod->uid);
  nominated_.erase(pod->uid);
  uint32_t i = slot(pod->node_name);
  Entry& e = nodes_[i];
  e.requested.add(pod->request);
  if (!pod->host_ports.empty()) ++e.host_port_pods;
  lanes_.scored_cpu[i] += double(pod->scored_cpu);
  lanes_.scored_memory[i] += double(pod->scored_memory);
  if (!pod->owner_uid.empty()) ++owners_[pod->owner_uid][i];
  if (pod->has_pod_terms()) with_pod_terms_.push_back(pod);
  e.pods.push_back(pod);
  pods_[pod->uid] = std::move(pod);
  refresh(i);
}

void Cluster::remove_pod(const std::string& uid) {
  auto it = pods_.find(uid);
  if (it == pods_.end()) return;
  PodPtr pod = std::move(it->second);
  pods_.erase(it);
  auto at = index_.find(pod->node_name);
  if (at == index_.end()) return;
  uint32_t i = at->second;
  Entry& e = nodes_[i];
  e.requested.add(pod->request, -1);
  if (!pod->host_ports.empty()) --e.host_port_pods;
  lanes_.scored_cpu[i] -= double(pod->scored_cpu);
  lanes_.scored_memory[i] -= double(pod->scored_memory);
  if (auto o = owners_.find(pod->owner_uid); o != owners_.end()) {
    if (--o->second[i] == 0) o->second.erase(i);
    if (o->second.empty()) owners_.erase(o);
  }
  if (pod->has_pod_terms()) std::erase(with_pod_terms_, pod);
  auto p = std::find(e.pods.begin(), e.pods.end(), pod);
  *p = std::move(e.pods.back());
  e.pods.pop_back();
  refresh(i);
  if (!e.present && e.pods.empty()) {
    index_.erase(at);
    vacant_.push_back(i);
  }
}

void Cluster::nominate(PodPtr pod, const std::string& node) {
  nominated_.erase(pod->uid);
  auto it = index_.find(node);
  if (it == index_.end() || !nodes_[it->second].present) return;
  std::string uid = pod->uid;
  nominated_.emplace(std::move(uid), std::pair(std::move(pod), it->second));
}

const Cluster::Entry* Cluster::node(const std::string& name) const {
  auto it = index_.find(name);
  return it == index_.end() || !nodes_[it->second].present ? nullptr : &nodes_[it->second];
}

PodPtr Cluster::pod(const std::string& uid) const {
  auto it = pods_.find(uid);
  return it == pods_.end() ? nullptr : it->second;
}

const Cluster::Image* Cluster::image(const std::string& name) const {
  auto it = images_.find(name);
  return it == images_.end() ? nullptr : &it->second;
}

const std::unordered_map<uint32_t, int>* Cluster::owned(const std::string& owner_uid) const {
  auto it = owners_.find(owner_uid);
  return it == owners_.end() ? nullptr : &it->second;
}

bool Cluster::term_covers(const PodTerm& term, const Pod& pod) const {
  if (!term.namespaces.contains(pod.ns)) {
    if (!term.namespace_selector) return false;
    static const Labels none;
    auto it = namespaces_.find(pod.ns);
    if (!term.namespace_selector->matches(it == namespaces_.end() ? none : it->second)) return false;
  }
  return term.pods.matches(pod.labels);
}

}  // namespace server::scheduler
