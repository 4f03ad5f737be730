// The history of a DaemonSet's or StatefulSet's template as ControllerRevisions, which `kubectl rollout history` and `undo` read.
#pragma once

#include "api/types/apps_v1.h"
#include "server/controllers/controller.h"
#include "server/controllers/objects.h"

namespace server::controllers {

using RevisionPtr = std::shared_ptr<const api::apps::ControllerRevision>;

// {"spec":{"template":{...,"$patch":"replace"}}}: a strategic merge patch that brings the template back. Byte for byte what Kubernetes
// writes: kubectl compares it with the template to tell whether there is anything to undo.
std::string revision_data(const core::PodTemplateSpec& t);
Result<core::PodTemplateSpec> template_of(const api::apps::ControllerRevision& r);

inline constexpr const char* revision_label = "controller-revision-hash";

class Revisions {
 public:
  explicit Revisions(Context& context);
  // All of an owner, the oldest first.
  std::vector<RevisionPtr> of(const std::string& owner_uid) const;
  // The revision of this template; made, or moved to the newest number, when it is not the newest already.
  Task<Result<RevisionPtr>> current(const api::KindInfo& kind, meta::ObjectMeta owner, core::PodTemplateSpec t,
                                    std::optional<int32_t> collisions);
  // Removes the oldest ones that are not in use (by name or by hash label), beyond the limit.
  Task<Result<>> trim(std::string owner_uid, std::vector<std::string> in_use, int32_t limit);

 private:
  api::Client& client_;
  api::Informer<api::apps::ControllerRevision>& revisions_;
};

}  // namespace server::controllers
