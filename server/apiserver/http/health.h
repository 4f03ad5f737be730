// /healthz, /livez and /readyz with their checks, in Kubernetes' text form ("Kubernetes API health endpoints").
#pragma once

#include <atomic>

#include "server/apiserver/http/exchange.h"

namespace server {

class Health {
 public:
  explicit Health(const datastore::Store& store) : store_(store) {}
  static bool handles(std::string_view path);
  // ?verbose, ?exclude=NAME; /readyz/NAME is that check alone.
  Task<> handle(Exchange& x) const;
  // From when the server serves until it begins to stop.
  void set_ready(bool ready) { ready_ = ready; }

 private:
  struct Check;
  static const Check checks_[];
  const datastore::Store& store_;
  std::atomic<bool> ready_{false};
};

}  // namespace server
