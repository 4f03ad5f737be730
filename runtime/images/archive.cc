// Archives of images: docker-save (manifest.json) and OCI layouts (index.json, blobs/). The archive is unpacked by the confined unpacker first; then its files
// are read like blobs of a registry, by paths resolved beneath that directory.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include <fmt/format.h>

#include "base/json.h"
#include "base/log.h"
#include "runtime/images/digest.h"
#include "runtime/images/pull.h"

namespace runtime {

namespace json = boost::json;

namespace {

base::Failure invalid(std::string why) { return base::fail(422, "ImageInvalid", std::move(why)); }

Result<base::Fd> open_file(int root, const std::string& path) {
  auto fd = open_in_root(root, path, O_RDONLY | O_NONBLOCK);
  if (!fd) return invalid(fmt::format("the archive has no \"{}\"", path));
  struct stat s;
  if (::fstat(fd->get(), &s) != 0 || !S_ISREG(s.st_mode)) return invalid(fmt::format("\"{}\" in the archive is not a file", path));
  return std::move(*fd);
}

// Blocking.
Result<std::string> read_small(int root, const std::string& path, size_t limit) {
  TRY(base::Fd fd, open_file(root, path));
  std::string text;
  char chunk[65536];
  for (;;) {
    ssize_t n = ::read(fd.get(), chunk, sizeof chunk);
    if (n < 0) return base::errno_error("read " + path);
    if (n == 0) return text;
    text.append(chunk, static_cast<size_t>(n));
    if (text.size() > limit) return invalid(fmt::format("\"{}\" in the archive is too large", path));
  }
}

std::string blob_path(const std::string& digest) { return "blobs/sha256/" + digest.substr(7); }

Result<std::string> read_blob(int root, const Descriptor& d, size_t limit) {
  TRY(std::string text, read_small(root, blob_path(d.digest), limit));
  if (digest_of(text) != d.digest) return invalid(fmt::format("the digest of a blob in the archive is not {}", d.digest));
  return text;
}

std::vector<std::string> tags_of(const std::vector<std::string>& names) {
  std::vector<std::string> tags;
  for (const std::string& name : names) {
    auto reference = parse_image_reference(name);
    if (reference && reference->digest.empty()) tags.push_back(reference->text());
  }
  return tags;
}

struct Scratch {
  std::string path;
  ~Scratch() { (void)base::remove_all(path); }
};

bool is_archive_name(const std::string& name) {
  return name.ends_with(".tar") || name.ends_with(".tar.gz") || name.ends_with(".tgz") || name.ends_with(".tar.zst") ||
         name.ends_with(".tar.zstd");
}

}  // namespace

// layer_paths and, from OCI layouts, blobs with their digests; both lowest first.
Task<Result<ImagePtr>> Importer::import_image(int root, std::string config_path, std::vector<std::string> layer_paths,
                                              std::vector<Descriptor> blobs, std::vector<std::string> tags, bool pinned) {
  auto text = co_await base::offload([&] { return read_small(root, config_path, kMaxConfig); });
  if (!text) co_return std::unexpected(text.error());
  auto config = parse_config(*text);
  if (!config) co_return std::unexpected(config.error());
  if (config->diff_ids.size() != layer_paths.size()) co_return invalid("the archive's configuration names another number of layers");
  Holding holding(index_, config->diff_ids);
  std::vector<Want> wants;
  for (size_t i = 0; i < layer_paths.size(); ++i) {
    OpenBlob open = [root, path = layer_paths[i]]() -> Task<Result<std::unique_ptr<BlobSource>>> {
      return [](int in, std::string p) -> Task<Result<std::unique_ptr<BlobSource>>> {
        auto fd = open_file(in, p);
        if (!fd) co_return std::unexpected(fd.error());
        co_return blob_of_file(std::move(*fd));
      }(root, path);
    };
    wants.push_back({config->diff_ids[i], blobs.empty() ? "" : blobs[i].digest, blobs.empty() ? 0 : blobs[i].size, std::move(open)});
  }
  auto fetched = co_await have_layers(std::move(wants), {});
  if (!fetched) co_return std::unexpected(fetched.error());
  Image image;
  image.id = digest_of(*text);
  image.reference = tags.empty() ? image.id : tags.front();
  image.tags = std::move(tags);
  image.layers = config->diff_ids;
  image.config = std::move(config->config);
  image.pinned = pinned;
  co_return co_await commit(std::move(image), *fetched);
}

Task<Result<std::vector<ImagePtr>>> Importer::import_docker(int root, std::string manifest, bool pinned) {
  auto parsed = base::parse_json(manifest, 16);
  if (!parsed || !parsed->is_array()) co_return invalid("the archive's manifest.json is not understood");
  std::vector<ImagePtr> images;
  for (const json::value& item : parsed->as_array()) {
    std::vector<std::string> layers, names;
    if (const auto* list = base::find_array(item, "Layers")) {
      for (const auto& v : *list) {
        if (v.is_string()) layers.emplace_back(v.as_string());
      }
    }
    if (const auto* list = base::find_array(item, "RepoTags")) {
      for (const auto& v : *list) {
        if (v.is_string()) names.emplace_back(v.as_string());
      }
    }
    std::string config(base::get_string(item, "Config"));
    auto image = co_await import_image(root, std::move(config), std::move(layers), {}, tags_of(names), pinned);
    if (!image) co_return std::unexpected(image.error());
    images.push_back(std::move(*image));
  }
  co_return images;
}

Task<Result<std::vector<ImagePtr>>> Importer::import_oci(int root, std::string text, bool pinned) {
  auto index = parse_manifest(text, "");
  if (!index) co_return std::unexpected(index.error());
  if (!index->index) co_return invalid("the archive's index.json is not an index");
  std::vector<ImagePtr> images;
  for (const Descriptor& entry : index->manifests) {
    Descriptor at = entry;
    std::optional<ManifestDocument> manifest;
    for (int depth = 0; depth < 4; ++depth) {
      auto document = read_blob(root, at, kMaxManifest);
      if (!document) co_return std::unexpected(document.error());
      auto inner = parse_manifest(*document, "");
      if (!inner) co_return std::unexpected(inner.error());
      if (!inner->index) {
        manifest = std::move(*inner);
        break;
      }
      const Descriptor* chosen = choose_platform(*inner, options_.platform_os, options_.platform_architecture);
      if (!chosen) break;
      at = *chosen;
    }
    if (!manifest) continue;  // for another platform
    if (!entry.os.empty() && (entry.os != options_.platform_os || entry.architecture != options_.platform_architecture)) continue;
    auto config = read_blob(root, manifest->config, kMaxConfig);
    if (!config) co_return std::unexpected(config.error());
    std::vector<std::string> paths;
    for (const Descriptor& layer : manifest->layers) paths.push_back(blob_path(layer.digest));
    // A bare tag does not name an image.
    std::vector<std::string> names;
    if (entry.name.find_first_of("/:") != std::string::npos) names.push_back(entry.name);
    auto image =
        co_await import_image(root, blob_path(manifest->config.digest), std::move(paths), manifest->layers, tags_of(names), pinned);
    if (!image) co_return std::unexpected(image.error());
    images.push_back(std::move(*image));
  }
  co_return images;
}

Task<Result<std::vector<ImagePtr>>> Importer::import_archive(std::string path, bool pinned) {
  base::Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) co_return base::errno_error("open " + path);
  Scratch scratch{index_.temporary_directory()};
  if (::mkdir(scratch.path.c_str(), 0700) != 0) co_return base::errno_error("mkdir " + scratch.path);
  auto source = blob_of_file(std::move(file));
  UnpackJob job{options_.self_exe, scratch.path, {}, true, "", 0, ""};
  job.limits.bytes = options_.max_image_bytes;
  job.limits.entries = options_.max_entries;
  auto unpacked = co_await unpack_layer(std::move(job), *source, {});
  if (!unpacked) {
    unpacked.error().message = fmt::format("failed to import {}: {}", path, unpacked.error().message);
    co_return std::unexpected(unpacked.error());
  }
  base::Fd root(::open(scratch.path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!root) co_return base::errno_error("open " + scratch.path);
  Result<std::vector<ImagePtr>> images = invalid("it is neither a docker-save archive nor an OCI layout");
  auto docker = read_small(root.get(), "manifest.json", kMaxManifest);
  auto oci = read_small(root.get(), "index.json", kMaxManifest);
  if (docker) {
    images = co_await import_docker(root.get(), std::move(*docker), pinned);
  } else if (oci) {
    images = co_await import_oci(root.get(), std::move(*oci), pinned);
  }
  if (!images) {
    images.error().message = fmt::format("failed to import {}: {}", path, images.error().message);
    co_return images;
  }
  for (const auto& image : *images) base::log::info("images", "imported {} from {}", image->reference, path);
  co_return images;
}

Task<Result<std::vector<ImagePtr>>> Importer::import_directory(std::string directory) {
  struct Found {
    std::string path, name, stamp;
  };
  auto found = co_await base::offload([&] {
    std::vector<Found> files;
    std::error_code ec;
    for (const auto& entry : std::filesystem::directory_iterator(directory, ec)) {
      std::string name = entry.path().filename();
      struct stat s;
      if (!is_archive_name(name) || ::stat(entry.path().c_str(), &s) != 0 || !S_ISREG(s.st_mode)) continue;
      files.push_back({entry.path(), name, fmt::format("{}:{}.{:09}", s.st_size, s.st_mtim.tv_sec, s.st_mtim.tv_nsec)});
    }
    std::ranges::sort(files, {}, &Found::name);
    return files;
  });
  std::vector<ImagePtr> all;
  for (const Found& file : found) {
    if (index_.was_imported(file.name, file.stamp)) continue;
    auto images = co_await import_archive(file.path, true);
    if (!images) {
      // One bad file must not keep the others away.
      base::log::error("images", "{}", images.error().message);
      continue;
    }
    all.insert(all.end(), images->begin(), images->end());
    index_.set_imported(file.name, file.stamp);
    auto saved = co_await base::offload([this] { return index_.save(false); });
    if (!saved) co_return std::unexpected(saved.error());
  }
  co_return all;
}

}  // namespace runtime
