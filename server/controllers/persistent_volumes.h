// Names that the binder, the provisioner and the agents agree on.
#pragma once

namespace server::controllers {

inline constexpr const char* provisioned_by = "pv.kubernetes.io/provisioned-by";
inline constexpr const char* storage_provisioner = "volume.kubernetes.io/storage-provisioner";
// Directories of nodes as volumes: made by this process, removed by the agent of the node, which then takes the finalizer off.
inline constexpr const char* local_path = "appliance.dev/local-path";        // provisioner and finalizer
inline constexpr const char* node_label = "appliance.dev/node";              // of a volume: where its directory is
inline constexpr const char* storage_dir = "appliance.dev/storage-dir";      // annotation of a Node: where its volumes are

}  // namespace server::controllers
