// Which addresses stand behind a Service: the contents of its EndpointSlices and of its Endpoints object. Pure.
#pragma once

#include "api/types/discovery_v1.h"
#include "server/controllers/objects.h"

namespace server::controllers {

using SlicePtr = std::shared_ptr<const api::discovery::EndpointSlice>;

// A slice holds at most this many endpoints.
inline constexpr size_t slice_capacity = 100;

struct SlicePlan {
  std::vector<api::discovery::EndpointSlice> create, update;
  std::vector<SlicePtr> remove;
};

// `pods` are those the selector matches, `zones` the zone of each node by name. Endpoints stay in the slice they are in; as few slices as possible are written.
SlicePlan plan_slices(const api::core::Service& service, const std::vector<PodPtr>& pods, const std::vector<SlicePtr>& slices,
                      const std::map<std::string, std::string>& zones);

api::core::Endpoints plan_endpoints(const api::core::Service& service, const std::vector<PodPtr>& pods);

// Could the change of a pod matter to a Service?
bool endpoint_changed(const api::core::Pod& before, const api::core::Pod& after);

}  // namespace server::controllers
