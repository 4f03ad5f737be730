// Jobs: unless the user selects pods by hand, a job selects those that carry its uid.
#include "server/apiserver/strategy/all.h"

namespace server {
namespace {

using base::json::object;
using base::json::value;

object& child(object& o, std::string_view name) {
  value& v = o[name];
  if (!v.is_object()) v.emplace_object();
  return v.get_object();
}

class Job final : public Strategy {
 public:
  Result<> prepare_create(WriteAttempt&, object& o) const override {
    const object& meta = metadata_of(o);
    std::string uid(text_of(meta, "uid")), name(text_of(meta, "name"));
    object& spec = child(o, "spec");
    const value* manual = spec.if_contains("manualSelector");
    if (manual && manual->is_bool() && manual->get_bool()) return {};
    object& labels = child(child(child(spec, "template"), "metadata"), "labels");
    for (std::string_view prefix : {"", "batch.kubernetes.io/"}) {
      labels[std::string(prefix) + "controller-uid"] = uid;
      labels[std::string(prefix) + "job-name"] = name;
    }
    object& match = child(child(spec, "selector"), "matchLabels");
    match["batch.kubernetes.io/controller-uid"] = uid;
    return {};
  }
};

}  // namespace

std::unique_ptr<const Strategy> make_job_strategy() { return std::make_unique<Job>(); }

}  // namespace server
