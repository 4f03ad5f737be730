// Keeps a controller from acting twice on one decision while its cache has not seen the first action yet.
//
// An expectation is made before the write and met by the informer's event (or dropped when the write fails). Names are chosen by the controller, so
// that the event cannot be missed. What is not met within five minutes is forgotten. Safe from any thread.
#pragma once

#include <map>
#include <mutex>
#include <string>

#include "base/io.h"

namespace server::controllers {

class Expectations {
 public:
  // `child` is the key of an object to be created, or the uid of one to be deleted.
  void expect(const std::string& owner, const std::string& child);
  void met(const std::string& child);
  // Nothing is outstanding: the cache can be believed.
  bool satisfied(const std::string& owner);

 private:
  std::mutex mutex_;
  std::map<std::string, std::map<std::string, base::TimePoint>> by_owner_;
  std::map<std::string, std::string> owner_of_;
};

}  // namespace server::controllers
