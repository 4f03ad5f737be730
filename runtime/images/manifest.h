// Manifests, indexes and configurations: parsed after their digest has been checked, with limits. Pure functions.
// Sources: OCI image spec 1.1 (manifest, index, config), Docker image manifest v2 schema 2.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/images/images.h"

namespace runtime {

inline constexpr size_t kMaxManifest = 4u << 20, kMaxConfig = 8u << 20;
inline constexpr std::string_view kAcceptManifests =
    "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, "
    "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json";

struct Descriptor {
  std::string digest, media_type;
  uint64_t size = 0;
  std::string os, architecture, variant;  // in an index
  std::string name;                       // annotation that names the image, in the index of an archive
};

// Either an index (manifests) or a manifest (config, layers), never both.
struct ManifestDocument {
  bool index = false;
  std::vector<Descriptor> manifests;
  Descriptor config;
  std::vector<Descriptor> layers;
};

// content_type: of the response; empty: not known. 422 ImageInvalid.
Result<ManifestDocument> parse_manifest(std::string_view text, std::string_view content_type);

struct ImageConfigDocument {
  std::string os, architecture;
  std::vector<std::string> diff_ids;
  ImageConfig config;
};
Result<ImageConfigDocument> parse_config(std::string_view text);

// The manifest of an index for a platform; null when there is none.
const Descriptor* choose_platform(const ManifestDocument& index, std::string_view os, std::string_view architecture);

}  // namespace runtime
