// Deletes links in the background, many at once.
//
// The kernel waits for RCU grace periods under its global lock for each link deleted alone (some 17 ms); links of one group go with one
// wait. Most links vanish by themselves with the pod's namespace before their turn comes.
#pragma once

#include <condition_variable>
#include <mutex>
#include <set>
#include <string>
#include <thread>

namespace network {

class Reaper {
 public:
  Reaper() = default;
  ~Reaper();  // deletes what is left
  Reaper(const Reaper&) = delete;
  Reaper& operator=(const Reaper&) = delete;
  void remove(const std::string& link);
  // Not this one after all: its name is about to be used again. Waits when it is being deleted right now.
  void spare(const std::string& link);

 private:
  void work();
  std::mutex mutex_;
  std::condition_variable wake_, done_;
  std::set<std::string> queue_, busy_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace network
