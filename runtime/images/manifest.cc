#include "runtime/images/manifest.h"

#include <fmt/format.h>

#include "base/json.h"
#include "runtime/images/digest.h"

namespace runtime {

namespace json = boost::json;

namespace {

constexpr size_t kMaxLayers = 500, kMaxManifests = 1000, kMaxStrings = 10'000;

base::Failure bad(std::string_view why) {
  return base::fail(422, "ImageInvalid", fmt::format("the registry sent an invalid document: {}", why));
}

std::string text_at(const json::value& v, std::string_view path) { return std::string(base::get_string(v, path)); }

Result<Descriptor> parse_descriptor(const json::value& v) {
  Descriptor d;
  d.digest = text_at(v, "digest");
  d.media_type = text_at(v, "mediaType");
  if (!is_digest(d.digest)) return bad("a descriptor without a sha256 digest");
  int64_t size = base::get_int(v, "size", -1);
  if (size < 0) return bad("a descriptor without a size");
  d.size = static_cast<uint64_t>(size);
  d.os = text_at(v, "platform.os");
  d.architecture = text_at(v, "platform.architecture");
  d.variant = text_at(v, "platform.variant");
  // Annotation names hold dots, so no path.
  if (const json::object* annotations = base::find_object(v, "annotations")) {
    for (std::string_view key : {"io.containerd.image.name", "org.opencontainers.image.ref.name"}) {
      auto it = annotations->find(key);
      if (it != annotations->end() && it->value().is_string() && d.name.empty()) d.name = std::string(it->value().as_string());
    }
  }
  return d;
}

std::vector<std::string> strings_at(const json::value& v, std::string_view path) {
  std::vector<std::string> result;
  if (const json::array* list = base::find_array(v, path)) {
    for (const json::value& item : *list) {
      if (item.is_string() && result.size() < kMaxStrings) result.emplace_back(item.as_string());
    }
  }
  return result;
}

std::vector<std::string> keys_at(const json::value& v, std::string_view path) {
  std::vector<std::string> result;
  if (const json::object* o = base::find_object(v, path)) {
    for (const auto& item : *o) {
      if (result.size() < kMaxStrings) result.emplace_back(item.key());
    }
  }
  return result;
}

bool is_index_type(std::string_view type) {
  return type == "application/vnd.oci.image.index.v1+json" || type == "application/vnd.docker.distribution.manifest.list.v2+json";
}
bool is_manifest_type(std::string_view type) {
  return type == "application/vnd.oci.image.manifest.v1+json" || type == "application/vnd.docker.distribution.manifest.v2+json";
}

}  // namespace

Result<ManifestDocument> parse_manifest(std::string_view text, std::string_view content_type) {
  if (text.size() > kMaxManifest) return bad("it is too large");
  auto parsed = base::parse_json(text, 32);
  if (!parsed) return bad(parsed.error().message);
  const json::value& v = *parsed;
  if (!v.is_object()) return bad("not an object");
  content_type = content_type.substr(0, content_type.find(';'));
  std::string_view type = base::get_string(v, "mediaType");
  if (base::get_int(v, "schemaVersion") == 1 || content_type.starts_with("application/vnd.docker.distribution.manifest.v1")) {
    return base::fail(422, "ImageInvalid",
                      "the image has a manifest of schema 1, which is not supported: push it again with a current tool");
  }
  if (base::get_int(v, "schemaVersion") != 2) return bad("an unknown schema version");
  // One reading only, whatever the header says: a document that could be taken both ways is refused.
  bool manifests = base::find(v, "manifests") != nullptr;
  bool layers = base::find(v, "layers") != nullptr || base::find(v, "config") != nullptr;
  if (manifests == layers) return bad(manifests ? "it has both manifests and layers" : "it has neither manifests nor layers");
  for (std::string_view t : {type, content_type}) {
    if ((is_index_type(t) && !manifests) || (is_manifest_type(t) && manifests)) return bad("its content contradicts its media type");
  }
  if (!type.empty() && (is_index_type(content_type) || is_manifest_type(content_type)) && type != content_type) {
    return bad("its media type contradicts the header");
  }
  ManifestDocument document;
  document.index = manifests;
  if (manifests) {
    const json::array* list = base::find_array(v, "manifests");
    if (!list || list->size() > kMaxManifests) return bad("too many manifests");
    for (const json::value& item : *list) {
      auto d = parse_descriptor(item);
      if (d) document.manifests.push_back(std::move(*d));  // entries of another kind are not ours to judge
    }
    return document;
  }
  const json::value* config = base::find(v, "config");
  const json::array* list = base::find_array(v, "layers");
  if (!config || !list) return bad("config and layers are expected");
  if (list->size() > kMaxLayers) return bad("too many layers");
  TRY(document.config, parse_descriptor(*config));
  for (const json::value& item : *list) {
    TRY(Descriptor d, parse_descriptor(item));
    document.layers.push_back(std::move(d));
  }
  return document;
}

Result<ImageConfigDocument> parse_config(std::string_view text) {
  auto parsed = base::parse_json(text, 64);
  if (!parsed) return bad(parsed.error().message);
  const json::value& v = *parsed;
  if (!v.is_object()) return bad("the configuration is not an object");
  ImageConfigDocument document;
  document.os = text_at(v, "os");
  document.architecture = text_at(v, "architecture");
  if (base::get_string(v, "rootfs.type", "layers") != "layers") return bad("an unknown kind of root file system");
  document.diff_ids = strings_at(v, "rootfs.diff_ids");
  for (const std::string& id : document.diff_ids) {
    if (!is_digest(id)) return bad("the configuration names a layer that is not a sha256 digest");
  }
  if (document.diff_ids.size() > kMaxLayers) return bad("too many layers");
  ImageConfig& c = document.config;
  c.entrypoint = strings_at(v, "config.Entrypoint");
  c.cmd = strings_at(v, "config.Cmd");
  c.env = strings_at(v, "config.Env");
  c.working_dir = text_at(v, "config.WorkingDir");
  c.user = text_at(v, "config.User");
  c.stop_signal = text_at(v, "config.StopSignal");
  c.exposed_ports = keys_at(v, "config.ExposedPorts");
  c.volumes = keys_at(v, "config.Volumes");
  if (const json::object* labels = base::find_object(v, "config.Labels")) {
    for (const auto& item : *labels) {
      if (item.value().is_string() && c.labels.size() < kMaxStrings)
        c.labels[std::string(item.key())] = std::string(item.value().as_string());
    }
  }
  return document;
}

const Descriptor* choose_platform(const ManifestDocument& index, std::string_view os, std::string_view architecture) {
  const Descriptor* best = nullptr;
  for (const Descriptor& d : index.manifests) {
    if (d.os != os || d.architecture != architecture) continue;
    // The plain variant runs on every processor of the architecture.
    if (d.variant.empty() || d.variant == "v1") return &d;
    if (!best && (architecture != "amd64")) best = &d;
  }
  if (best) return best;
  // An index of one image without platform, as some tools make it.
  if (index.manifests.size() == 1 && index.manifests[0].os.empty()) return &index.manifests[0];
  return nullptr;
}

}  // namespace runtime
