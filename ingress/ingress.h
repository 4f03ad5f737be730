// The HTTP ingress of a node: listens on 80 and 443 and sends requests to the endpoints that Ingress objects name.
//
// Composes the informers, the translation of objects to a route table, and the proxy engine. A busy port is logged and tried again; it stops nothing else.
#pragma once

#include <memory>
#include <string>

#include "api/client.h"
#include "base/io.h"

namespace ingress {

struct IngressOptions {
  std::string http_address = "0.0.0.0:80";    // IP literal and port
  std::string https_address = "0.0.0.0:443";
  std::string ingress_class = "appliance";    // spec.ingressClassName that is served; objects without a class are served too
  bool writes_status = false;  // keep status.loadBalancer.ingress at the InternalIPs of Ready nodes: one process of the cluster does
  bool enabled = true;                        // read by the composer only
};

class Ingress {
 public:
  // The runtime must outlive it.
  Ingress(base::Runtime& runtime, std::shared_ptr<api::Client> client, IngressOptions options);
  ~Ingress();
  // Returns at once; routes come as the informers sync.
  base::Task<base::Result<>> start();
  // Lets requests under way finish for a few seconds.
  base::Task<> stop();

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace ingress
