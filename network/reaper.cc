#include "network/reaper.h"

#include <pthread.h>

#include <chrono>
#include <vector>

#include "base/log.h"
#include "network/links.h"

namespace network {
namespace {

constexpr auto kGather = std::chrono::milliseconds(100);
constexpr uint32_t kDoomed = 0x6170706c;  // link group

void remove_links(const std::set<std::string>& names) {
  auto socket = netlink::Socket::open(NETLINK_ROUTE);
  if (!socket) return base::log::warn("network", "{}", socket.error().message);
  netlink::Batch b;
  if (names.size() == 1) {
    links::delete_link(b, *names.begin());
  } else {
    for (auto& name : names) links::set_group(b, name, kDoomed);
    links::delete_group(b, kDoomed);
  }
  if (auto r = socket->run(b); !r) base::log::warn("network", "{}", r.error().message);
}

}  // namespace

void Reaper::remove(const std::string& link) {
  std::scoped_lock lock(mutex_);
  queue_.insert(link);
  if (!thread_.joinable())
    thread_ = std::thread([this] {
      pthread_setname_np(pthread_self(), "net-reaper");
      work();
    });
  wake_.notify_one();
}

void Reaper::spare(const std::string& link) {
  std::unique_lock lock(mutex_);
  queue_.erase(link);
  done_.wait(lock, [&] { return !busy_.contains(link); });
}

void Reaper::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [&] { return stop_ || !queue_.empty(); });
    if (!stop_) wake_.wait_for(lock, kGather, [&] { return stop_; });
    busy_ = std::exchange(queue_, {});
    if (!busy_.empty()) {
      lock.unlock();
      remove_links(busy_);
      lock.lock();
      busy_.clear();
      done_.notify_all();
    }
    if (stop_ && queue_.empty()) return;
  }
}

Reaper::~Reaper() {
  {
    std::scoped_lock lock(mutex_);
    stop_ = true;
    wake_.notify_one();
  }
  if (thread_.joinable()) thread_.join();
}

}  // namespace network
