// Image references, manifests, indexes and configurations.
#include "fuzz.h"
#include "runtime/images/manifest.h"

const std::vector<std::string_view> fuzz::seeds = {
    "localhost:5000/a/b_c:v1@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "nginx",
    R"({"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","size":7},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","size":9}]})",
    R"({"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","size":7,"platform":{"os":"linux","architecture":"amd64"}}]})",
    R"({"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":["sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"]},"config":{"Env":["A=b"],"Cmd":["x"],"User":"1:2","ExposedPorts":{"80/tcp":{}},"Volumes":{"/v":{}}}})"};

void fuzz::one(std::string_view input) {
  if (auto reference = runtime::parse_image_reference(input)) {
    auto again = runtime::parse_image_reference(reference->text());
    require(again && again->text() == reference->text());
    (void)reference->familiar();
  }
  if (auto manifest = runtime::parse_manifest(input, "")) {
    require(manifest->index ? manifest->layers.empty() : manifest->manifests.empty());
    (void)runtime::choose_platform(*manifest, "linux", "amd64");
  }
  (void)runtime::parse_config(input);
}
