// How node.cc makes the parts; each is behind its public interface.
#pragma once

#include <memory>

#include "network/firewall.h"
#include "network/overlay.h"
#include "network/pods.h"
#include "network/policy.h"
#include "network/services.h"

namespace network {

class VerifiableOverlay : public Overlay {
 public:
  // Makes the device and what hangs on it again when they are gone.
  virtual base::Result<> verify() = 0;
};

base::Result<std::unique_ptr<Pods>> make_pods(PodsOptions options, Firewall& firewall);
base::Result<std::unique_ptr<VerifiableOverlay>> make_overlay(OverlayOptions options, Ip node_ip, Cidr pod_cidr, Ip gateway,
                                                              Firewall& firewall);
std::unique_ptr<Services> make_services(Firewall& firewall);
std::unique_ptr<Policies> make_policies(Firewall& firewall);

}  // namespace network
