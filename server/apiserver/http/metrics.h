// What the server counts of requests, in Prometheus' text form under Kubernetes' names. Label values are names of our own alone, so that memory is bounded.
// Thread-safe; counting takes a shared lock and a few atomic additions.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <shared_mutex>
#include <string>
#include <unordered_map>

#include "base/io.h"
#include "datastore/store.h"
#include "server/apiserver/http/request_info.h"
#include "server/apiserver/registry/resources.h"

namespace server {

namespace audit {
class Auditor;
}
namespace flow {
class FlowControl;
}

class Metrics {
 public:
  struct Series;
  // The series of a request; null for what is not served. Valid as long as this.
  Series* series(const RequestInfo& info, const ResourceInfo* resource, bool dry_run);
  // What a watch of the series counts its events in; null for a null series.
  static std::atomic<uint64_t>* events(Series* series);
  void begin_long(Series* series);
  void end_long(Series* series);
  // `sent`: bytes of the body; not counted for long-running requests.
  void count(Series* series, int code, base::Duration took, size_t sent, bool long_running);

  struct Sources {
    const datastore::Store& store;
    const Resources& resources;
    const flow::FlowControl& flow;
    const audit::Auditor* audit;  // may be null
    std::string_view version;
    const std::function<void(std::string& out)>& more;  // of other parts of the process; may be empty
  };
  std::string text(const Sources& sources) const;

  std::atomic<int> reads{0}, writes{0};
  std::atomic<uint64_t> authenticated{0}, unauthenticated{0}, allowed{0}, denied{0}, timeouts{0};

  Metrics();
  ~Metrics();

 private:
  void append_requests(std::string& out) const;
  struct Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace server
