// From API objects to what network/ takes. Pure.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "api/types/core_v1.h"
#include "api/types/discovery_v1.h"
#include "network/dns/zone.h"
#include "network/overlay.h"
#include "network/services.h"

namespace agent {

using SlicePtr = std::shared_ptr<const api::discovery::EndpointSlice>;

// Empty for services that have no effect in the kernel: headless, ExternalName, without address, or handled by another proxy.
std::optional<network::Service> translate_service(const api::core::Service& service, const std::vector<SlicePtr>& slices,
                                                  const std::string& node_name);

network::dns::ServiceRecord translate_record(const api::core::Service& service, const std::vector<SlicePtr>& slices);

// Null without an internal address or a pod prefix.
std::optional<network::OverlayNode> translate_node(const api::core::Node& node);

}  // namespace agent
