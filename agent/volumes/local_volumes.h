// Directories of this node that are volumes (provisioner appliance.dev/local-path): made when they are mounted first, removed when the PersistentVolume goes.
//
// A directory is removed only when the API says that its volume is being deleted with reclaim policy Delete and nothing is bound to it; then the finalizer is
// taken off. Absence from the API is no reason.
#pragma once

#include <string>

#include "api/informer.h"
#include "api/reconciler.h"
#include "api/types/core_v1.h"
#include "base/io.h"

namespace agent {

class LocalVolumes final : public api::Reconciler {
 public:
  LocalVolumes(api::Client& client, api::Informers& informers, const std::string& node, std::string directory);
  void start(base::Tasks& tasks) { api::run_reconciler(tasks, *this, queue_, 1); }
  void stop() { queue_.close(); }
  std::string_view name() const override { return "local volumes"; }
  base::Task<base::Result<std::optional<base::Duration>>> reconcile(api::ObjectKey key) override;

 private:
  api::Client& client_;
  const std::string directory_;
  api::Informer<api::core::PersistentVolume>& volumes_;
  api::WorkQueue queue_;
};

// <data_dir>/storage, absolute.
std::string storage_directory(const std::string& data_dir);
// Whether the path is one of a volume's directory below `directory`: directly below, with a plain name.
bool is_local_volume(const std::string& directory, const std::string& path);
// Makes it, open to every user as pods have them. Blocking.
base::Result<> make_local_volume(const std::string& directory, const std::string& path);

}  // namespace agent
