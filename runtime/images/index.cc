#include "runtime/images/index.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>

#include <fmt/format.h>

#include "base/bytes.h"
#include "base/files.h"
#include "base/json.h"
#include "base/log.h"
#include "runtime/images/digest.h"

namespace runtime {

namespace json = boost::json;

namespace {

json::array to_array(const std::vector<std::string>& strings) {
  json::array result;
  for (const std::string& s : strings) result.emplace_back(s);
  return result;
}

std::vector<std::string> from_array(const json::value& v, std::string_view path) {
  std::vector<std::string> result;
  if (const json::array* list = base::find_array(v, path)) {
    for (const json::value& item : *list) {
      if (item.is_string()) result.emplace_back(item.as_string());
    }
  }
  return result;
}

json::object to_json(const Image& image) {
  const ImageConfig& c = image.config;
  json::object labels;
  for (const auto& [key, value] : c.labels) labels[key] = value;
  json::object config{{"entrypoint", to_array(c.entrypoint)}, {"cmd", to_array(c.cmd)},       {"env", to_array(c.env)},
                      {"workingDir", c.working_dir},          {"user", c.user},               {"stopSignal", c.stop_signal},
                      {"ports", to_array(c.exposed_ports)},   {"volumes", to_array(c.volumes)}, {"labels", std::move(labels)}};
  return {{"id", image.id},
          {"reference", image.reference},
          {"tags", to_array(image.tags)},
          {"digests", to_array(image.repo_digests)},
          {"layers", to_array(image.layers)},
          {"size", image.size},
          {"created", base::rfc3339_micro(image.created)},
          {"pinned", image.pinned},
          {"config", std::move(config)}};
}

Image from_json(const json::value& v) {
  Image image;
  image.id = base::get_string(v, "id");
  image.reference = base::get_string(v, "reference");
  image.tags = from_array(v, "tags");
  image.repo_digests = from_array(v, "digests");
  image.layers = from_array(v, "layers");
  image.size = static_cast<uint64_t>(base::get_int(v, "size"));
  image.pinned = base::get_bool(v, "pinned");
  if (auto t = base::parse_rfc3339(base::get_string(v, "created"))) image.created = *t;
  image.last_used = image.created;
  ImageConfig& c = image.config;
  c.entrypoint = from_array(v, "config.entrypoint");
  c.cmd = from_array(v, "config.cmd");
  c.env = from_array(v, "config.env");
  c.working_dir = base::get_string(v, "config.workingDir");
  c.user = base::get_string(v, "config.user");
  c.stop_signal = base::get_string(v, "config.stopSignal");
  c.exposed_ports = from_array(v, "config.ports");
  c.volumes = from_array(v, "config.volumes");
  if (const json::object* labels = base::find_object(v, "config.labels")) {
    for (const auto& item : *labels) {
      if (item.value().is_string()) c.labels[std::string(item.key())] = std::string(item.value().as_string());
    }
  }
  return image;
}

void add_unique(std::vector<std::string>& to, const std::vector<std::string>& from) {
  for (const std::string& s : from) {
    if (std::ranges::find(to, s) == to.end()) to.push_back(s);
  }
}

}  // namespace

std::string Index::temporary_directory() const { return root_ + "/tmp/" + base::random_suffix(12); }

Result<> Index::load() {
  CHECK_OK(base::make_dirs(root_, 0700));
  CHECK_OK(base::remove_all(root_ + "/tmp"));
  CHECK_OK(base::make_dirs(root_ + "/tmp", 0700));
  CHECK_OK(base::make_dirs(root_ + "/l", 0700));
  if (base::exists(root_ + "/index.json")) {
    TRY(std::string text, base::read_file(root_ + "/index.json", 256u << 20));
    std::scoped_lock lock(mutex_);
    CHECK_OK(parse(text));
  }
  std::scoped_lock lock(mutex_);
  std::set<std::string> known;
  for (auto it = layers_.begin(); it != layers_.end();) {
    if (base::exists(layer_path(it->second.directory))) {
      known.insert(it->second.directory);
      ++it;
    } else {
      it = layers_.erase(it);
    }
  }
  std::erase_if(images_, [&](const auto& item) {
    return std::ranges::any_of(item.second->layers, [&](const std::string& id) { return !layers_.contains(id); });
  });
  std::error_code ec;
  for (const auto& entry : std::filesystem::directory_iterator(root_ + "/l", ec)) {
    std::string name = entry.path().filename();
    uint64_t number = 0;
    std::from_chars(name.data(), name.data() + name.size(), number);
    next_directory_ = std::max(next_directory_, number + 1);
    if (!known.contains(name)) CHECK_OK(base::remove_all(entry.path()));
  }
  return {};
}

Result<> Index::parse(const std::string& text) {
  auto parsed = base::parse_json(text, 16);
  if (!parsed) {
    // The layers can be fetched again; a node that does not start cannot be helped that way.
    base::log::warn("images", "{}/index.json cannot be read ({}); starting with an empty image store", root_, parsed.error().message);
    return {};
  }
  if (base::get_int(*parsed, "version") != 1) return base::internal(root_ + "/index.json has a format this version does not know");
  if (const json::object* layers = base::find_object(*parsed, "layers")) {
    for (const auto& item : *layers) {
      Layer layer;
      layer.directory = base::get_string(item.value(), "directory");
      layer.bytes = static_cast<uint64_t>(base::get_int(item.value(), "bytes"));
      layer.entries = static_cast<uint64_t>(base::get_int(item.value(), "entries"));
      layers_[std::string(item.key())] = std::move(layer);
    }
  }
  if (const json::array* images = base::find_array(*parsed, "images")) {
    for (const json::value& v : *images) {
      auto image = std::make_shared<const Image>(from_json(v));
      images_[image->id] = image;
    }
  }
  if (const json::object* imported = base::find_object(*parsed, "imported")) {
    for (const auto& item : *imported) {
      if (item.value().is_string()) imported_[std::string(item.key())] = std::string(item.value().as_string());
    }
  }
  return {};
}

std::string Index::serialise() const {
  json::object layers, imported;
  json::array images;
  for (const auto& [id, layer] : layers_)
    layers[id] = json::object{{"directory", layer.directory}, {"bytes", layer.bytes}, {"entries", layer.entries}};
  for (const auto& [id, image] : images_) images.emplace_back(to_json(*image));
  for (const auto& [name, stamp] : imported_) imported[name] = stamp;
  return base::to_text(
      json::object{{"version", 1}, {"layers", std::move(layers)}, {"images", std::move(images)}, {"imported", std::move(imported)}});
}

Result<> Index::save(bool new_layers) {
  std::scoped_lock one_at_a_time(save_mutex_);
  if (new_layers) {
    base::Fd fd(::open(root_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd || ::syncfs(fd.get()) != 0) return base::errno_error("sync " + root_);
  }
  std::string text;
  {
    std::scoped_lock lock(mutex_);
    text = serialise();
  }
  return base::write_file_atomic(root_ + "/index.json", text, 0600, true);
}

std::optional<Index::Layer> Index::layer(const std::string& diff_id) const {
  std::scoped_lock lock(mutex_);
  auto it = layers_.find(diff_id);
  if (it == layers_.end()) return std::nullopt;
  return it->second;
}

Result<> Index::add_layer(const std::string& diff_id, const std::string& temporary, uint64_t bytes, uint64_t entries) {
  std::scoped_lock lock(mutex_);
  if (layers_.contains(diff_id)) return {};
  Layer layer{std::to_string(next_directory_++), bytes, entries};
  if (::rename(temporary.c_str(), layer_path(layer.directory).c_str()) != 0) return base::errno_error("rename " + temporary);
  layers_[diff_id] = std::move(layer);
  return {};
}

ImagePtr Index::find_locked(std::string_view text) const {
  std::string id = text.size() == 64 ? "sha256:" + std::string(text) : std::string(text);
  if (is_digest(id)) {
    auto it = images_.find(id);
    return it == images_.end() ? nullptr : it->second;
  }
  auto reference = parse_image_reference(text);
  if (!reference) return nullptr;
  std::string name = reference->text();
  for (const auto& [key, image] : images_) {
    const auto& names = reference->digest.empty() ? image->tags : image->repo_digests;
    if (std::ranges::find(names, name) != names.end()) return image;
  }
  return nullptr;
}

ImagePtr Index::find(std::string_view text) const {
  std::scoped_lock lock(mutex_);
  return find_locked(text);
}

std::vector<ImagePtr> Index::list() const {
  std::scoped_lock lock(mutex_);
  std::vector<ImagePtr> result;
  for (const auto& [id, image] : images_) result.push_back(image);
  return result;
}

ImagePtr Index::add_image(Image image) {
  std::scoped_lock lock(mutex_);
  image.size = 0;
  std::set<std::string> distinct(image.layers.begin(), image.layers.end());
  for (const std::string& id : distinct) {
    if (auto it = layers_.find(id); it != layers_.end()) image.size += it->second.bytes;
  }
  for (auto& [id, other] : images_) {
    if (id == image.id) continue;
    bool shares =
        std::ranges::any_of(other->tags, [&](const std::string& t) { return std::ranges::find(image.tags, t) != image.tags.end(); });
    if (!shares) continue;
    Image copy = *other;
    std::erase_if(copy.tags, [&](const std::string& t) { return std::ranges::find(image.tags, t) != image.tags.end(); });
    other = std::make_shared<const Image>(std::move(copy));
  }
  auto& slot = images_[image.id];
  if (slot) {
    add_unique(image.tags, slot->tags);
    add_unique(image.repo_digests, slot->repo_digests);
    image.created = slot->created;
    image.pinned = image.pinned || slot->pinned;
  } else {
    image.created = base::WallClock::now();
  }
  image.last_used = base::WallClock::now();
  slot = std::make_shared<const Image>(std::move(image));
  return slot;
}

Result<> Index::remove(std::string_view text) {
  std::scoped_lock lock(mutex_);
  ImagePtr image = find_locked(text);
  if (!image) return base::not_found("images", text);
  auto reference = parse_image_reference(text);
  bool by_id = is_digest(image->id) && (text == image->id || "sha256:" + std::string(text) == image->id);
  if (!by_id && reference && reference->digest.empty() && image->tags.size() > 1) {
    Image copy = *image;
    std::erase(copy.tags, reference->text());
    images_[image->id] = std::make_shared<const Image>(std::move(copy));
    return {};
  }
  images_.erase(image->id);
  return {};
}

Result<> Index::tag(std::string_view text, const std::string& name) {
  TRY(ImageReference reference, parse_image_reference(name));
  if (!reference.digest.empty()) return base::bad_request("a tag cannot be a digest");
  ImagePtr image = find(text);
  if (!image) return base::not_found("images", text);
  Image copy = *image;
  add_unique(copy.tags, {reference.text()});
  add_image(std::move(copy));
  return {};
}

void Index::touch(std::string_view id) {
  std::scoped_lock lock(mutex_);
  auto it = images_.find(std::string(id));
  if (it == images_.end()) return;
  Image copy = *it->second;
  copy.last_used = base::WallClock::now();
  it->second = std::make_shared<const Image>(std::move(copy));
}

Images::Usage Index::usage() const {
  std::scoped_lock lock(mutex_);
  Images::Usage usage;
  usage.images = images_.size();
  usage.layers = layers_.size();
  for (const auto& [id, layer] : layers_) {
    usage.bytes += layer.bytes;
    usage.inodes += layer.entries;
  }
  return usage;
}

void Index::hold(const std::vector<std::string>& diff_ids) {
  std::scoped_lock lock(mutex_);
  held_.insert(diff_ids.begin(), diff_ids.end());
}

void Index::release(const std::vector<std::string>& diff_ids) {
  std::scoped_lock lock(mutex_);
  for (const std::string& id : diff_ids) {
    if (auto it = held_.find(id); it != held_.end()) held_.erase(it);
  }
}

std::vector<std::string> Index::take_garbage() {
  std::scoped_lock lock(mutex_);
  std::set<std::string> needed(held_.begin(), held_.end());
  for (const auto& [id, image] : images_) needed.insert(image->layers.begin(), image->layers.end());
  std::vector<std::string> garbage;
  for (auto it = layers_.begin(); it != layers_.end();) {
    if (needed.contains(it->first)) {
      ++it;
      continue;
    }
    std::string away = temporary_directory();
    if (::rename(layer_path(it->second.directory).c_str(), away.c_str()) == 0) garbage.push_back(away);
    it = layers_.erase(it);
  }
  return garbage;
}

bool Index::was_imported(const std::string& name, const std::string& stamp) const {
  std::scoped_lock lock(mutex_);
  auto it = imported_.find(name);
  return it != imported_.end() && it->second == stamp;
}

void Index::set_imported(const std::string& name, const std::string& stamp) {
  std::scoped_lock lock(mutex_);
  imported_[name] = stamp;
}

}  // namespace runtime
