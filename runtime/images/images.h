// Images: pulled from registries (Docker v2 schema 2, OCI) or imported from archives, verified, unpacked one directory per layer.
//
// References are normalised as Docker does: "nginx" is docker.io/library/nginx:latest. Reference, manifest, configuration and layers are
// hostile input. Every method is safe from any thread; find(), list(), layers() and usage() answer from memory.
//
// Errors are meant to be shown (an ErrImagePull event carries the message as is):
//   400 InvalidImageName   the reference cannot be parsed
//   404 NotFound           the registry does not have it
//   401 Unauthorized       the registry refuses the credentials (or wants some)
//   502 RegistryUnavailable  no endpoint can be reached
//   503 RegistryUnavailable  it answers nonsense, or that it is overloaded
//   422 ImageInvalid       digest mismatch, no manifest for this platform, an archive that tries to escape or exceeds a limit
//   507 InsufficientStorage  the disk is full
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/io.h"
#include "base/time.h"

namespace runtime {

using base::Result;
using base::Task;

// What imagePullSecrets or registries.yaml know about one registry.
struct RegistryCredentials {
  std::string username, password;
  std::string identity_token;  // OAuth2 refresh token
  std::string registry_token;  // sent as Bearer as is
};

// The part of the image's configuration that a container starts from.
struct ImageConfig {
  std::vector<std::string> entrypoint, cmd;
  std::vector<std::string> env;  // NAME=value
  std::string working_dir;
  std::string user;  // "", "name", "uid", "uid:gid", "name:group"
  std::string stop_signal;  // "SIGTERM" or a number; may be empty
  std::vector<std::string> exposed_ports;  // "80/tcp"
  std::vector<std::string> volumes;        // paths, hostile: resolve them inside the root file system
  std::map<std::string, std::string> labels;
};

struct Image {
  std::string id;          // "sha256:..." of the configuration: status.containerStatuses[].imageID falls back to it
  std::string reference;   // normalised, as it was asked for: docker.io/library/nginx:1.25
  std::vector<std::string> tags;          // all references with a tag that name this image now
  std::vector<std::string> repo_digests;  // docker.io/library/nginx@sha256:...
  std::vector<std::string> layers;        // digests of the uncompressed layers (diff ids), lowest first
  ImageConfig config;
  uint64_t size = 0;       // bytes of the unpacked layers
  base::WallTime created{};  // when it came to this node
  base::WallTime last_used{};  // by touch(); kept in memory, falls back to `created`
  bool pinned = false;     // never collected
};
using ImagePtr = std::shared_ptr<const Image>;

// Host to endpoints, and host to credentials and TLS, in the format of k3s' registries.yaml.
struct RegistriesConfig {
  struct Mirror {
    std::vector<std::string> endpoints;          // URLs, tried in order before the registry itself
    std::vector<std::pair<std::string, std::string>> rewrites;  // regular expression (RE2) on the repository and its replacement ($1)
  };
  struct Host {
    std::optional<RegistryCredentials> credentials;
    std::string ca_file, cert_file, key_file;
    bool insecure_skip_verify = false;
  };
  std::map<std::string, Mirror> mirrors;  // by registry host, "*" for all others
  std::map<std::string, Host> hosts;      // by host[:port] of the endpoint
};
// An absent file is an empty configuration; 400 with line and reason on bad text.
Result<RegistriesConfig> load_registries(const std::string& path);

// "nginx:1.25" -> parts; 400 InvalidImageName.
struct ImageReference {
  std::string registry;    // docker.io, localhost:5000
  std::string repository;  // library/nginx
  std::string tag;         // "latest" when neither tag nor digest is given
  std::string digest;      // "sha256:..." or empty
  std::string text() const;    // normalised, digest preferred
  std::string familiar() const;  // as people write it: nginx:1.25
};
Result<ImageReference> parse_image_reference(std::string_view text);

struct PullProgress {
  uint64_t bytes = 0, total = 0;  // of compressed layers
};
using PullProgressFunction = std::function<void(const PullProgress&)>;

struct ImagesOptions {
  std::string root;             // directory of its own, 0700; on the file system of the overlays
  RegistriesConfig registries;
  std::string platform_os = "linux", platform_architecture = "amd64";
  uint64_t max_layer_bytes = 16ull << 30;   // unpacked
  uint64_t max_image_bytes = 64ull << 30;   // unpacked, all layers
  uint64_t max_entries = 2'000'000;         // per layer
  unsigned parallel_layers = 3;             // downloads of one image at a time
  std::string self_exe = "/proc/self/exe";  // started with "image-unpacker": a program whose main calls unpacker_main()
};

// The unpacker: a process per layer, confined to the directory it fills. main() calls this first when argv[1] is "image-unpacker".
int unpacker_main(int argc, char** argv);

class Images {
 public:
  Images(base::Runtime& runtime, ImagesOptions options);
  ~Images();

  // Reads the index, removes what an interrupted pull left.
  Task<Result<>> start();
  Task<> stop();

  // Pulls even when present (layers already here are not fetched again). Concurrent pulls of one layer share the work.
  // Credentials are tried in order, then those of registries.yaml, then none.
  Task<Result<ImagePtr>> pull(std::string reference, std::vector<RegistryCredentials> credentials = {}, PullProgressFunction progress = {});

  // A docker-save or OCI archive, plain, gzip or zstd. The images it holds. References come from the archive.
  Task<Result<std::vector<ImagePtr>>> import_archive(std::string path);
  // All *.tar, *.tar.gz, *.tgz, *.tar.zst in a directory that have not been imported yet in this state (size and time are remembered).
  Task<Result<std::vector<ImagePtr>>> import_directory(std::string directory);

  // By any reference people write, by repository digest, or by id. Null when absent.
  ImagePtr find(std::string_view reference_or_id) const;
  std::vector<ImagePtr> list() const;

  // Directories of the unpacked layers, TOPMOST FIRST: joined with ':' they are overlayfs' lowerdir. Short paths (<root>/l/<n>),
  // whiteouts already in overlayfs' form. They stay until the image is removed: callers do not remove images that containers use.
  Result<std::vector<std::string>> layers(const Image& image) const;

  // A tag: drops it, and the image with its last one. An id: drops the image. Layers no other image needs are deleted. 404 when absent.
  Task<Result<>> remove(std::string reference_or_id);
  // Adds a tag to an image that is here.
  Task<Result<>> tag(std::string reference_or_id, std::string reference);
  // Marks it as used now, for the collector's order.
  void touch(std::string_view id);

  struct Usage {
    uint64_t bytes = 0;   // unpacked layers, shared ones once
    uint64_t inodes = 0;
    size_t images = 0, layers = 0;
  };
  Usage usage() const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace runtime
