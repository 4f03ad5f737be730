// Kinds served in two forms and stored in one.
#pragma once

#include "server/apiserver/registry/resources.h"

namespace server {

// events.k8s.io/v1 Event, stored as core/v1 Event.
const Conversion& event_conversion();
// autoscaling/v1 HorizontalPodAutoscaler, stored as autoscaling/v2.
const Conversion& autoscaler_conversion();

}  // namespace server
