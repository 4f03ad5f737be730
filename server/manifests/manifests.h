// Applies the manifests in a directory: every *.yaml, *.yml and *.json, at start and whenever a file changes (server-side apply, manager
// "manifests"). Deleting a file deletes nothing. A file with a mistake is logged with its reason and does not stop the others.
#pragma once

#include <memory>
#include <string>

#include "api/client.h"
#include "base/io.h"

namespace server {

class Manifests {
 public:
  Manifests(base::Runtime& runtime, api::Client& client, std::string directory);
  ~Manifests();
  // Makes the directory; returns at once, applies in the background.
  base::Result<> start();
  base::Task<> stop();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace server
