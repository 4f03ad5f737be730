// What is in the image store: images, layers, who needs what. In memory, with a file that is replaced as a whole. Thread-safe.
//
// Below the root: index.json; l/<n>: one directory per unpacked layer; tmp/: work under way, emptied at start.
#pragma once

#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "runtime/images/images.h"

namespace runtime {

class Index {
 public:
  struct Layer {
    std::string directory;  // name below l/
    uint64_t bytes = 0, entries = 0;
  };

  explicit Index(std::string root) : root_(std::move(root)) {}

  // Blocking. Reads the file; removes directories nothing refers to and what is in tmp/. Images whose layers are gone are dropped.
  Result<> load();
  // Blocking, durable: first what the layers consist of, then the index.
  Result<> save(bool new_layers);

  std::string temporary_directory() const;  // a name, not made
  std::string layer_path(const std::string& directory) const { return root_ + "/l/" + directory; }

  std::optional<Layer> layer(const std::string& diff_id) const;
  // Moves an unpacked directory into place. Blocking, short.
  Result<> add_layer(const std::string& diff_id, const std::string& temporary, uint64_t bytes, uint64_t entries);

  ImagePtr find(std::string_view text) const;
  std::vector<ImagePtr> list() const;
  // Adds or updates the image by its id; its tags leave other images.
  ImagePtr add_image(Image image);
  Result<> remove(std::string_view text);
  Result<> tag(std::string_view text, const std::string& reference);
  void touch(std::string_view id);
  Images::Usage usage() const;

  // Keeps layers that no image refers to yet from being collected.
  void hold(const std::vector<std::string>& diff_ids);
  void release(const std::vector<std::string>& diff_ids);
  // Forgets layers nobody needs; their directories, moved to tmp/, are the caller's to remove after save().
  std::vector<std::string> take_garbage();

  bool was_imported(const std::string& name, const std::string& stamp) const;
  void set_imported(const std::string& name, const std::string& stamp);

 private:
  ImagePtr find_locked(std::string_view text) const;
  std::string serialise() const;
  Result<> parse(const std::string& text);

  const std::string root_;
  mutable std::mutex mutex_;
  std::map<std::string, Layer> layers_;          // by diff id
  std::map<std::string, ImagePtr> images_;       // by id
  std::map<std::string, std::string> imported_;  // file name to size and time
  std::multiset<std::string> held_;
  uint64_t next_directory_ = 1;
  std::mutex save_mutex_;
};

}  // namespace runtime
