// Brings images in: from registries (pull.cc) and from archives (archive.cc). What Images is made of.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "runtime/images/blob.h"
#include "runtime/images/index.h"
#include "runtime/images/layer.h"
#include "runtime/images/manifest.h"
#include "runtime/images/registry.h"

namespace runtime {

class Importer : public std::enable_shared_from_this<Importer> {
 public:
  Importer(base::Runtime& runtime, ImagesOptions options)
      : options_(std::move(options)), index_(options_.root), endpoints_(options_.registries), tasks_(runtime) {}

  Task<Result<ImagePtr>> pull(std::string reference, std::vector<RegistryCredentials> credentials, PullProgressFunction progress);
  Task<Result<std::vector<ImagePtr>>> import_archive(std::string path, bool pinned);
  Task<Result<std::vector<ImagePtr>>> import_directory(std::string directory);
  Task<> stop() { return tasks_.stop(); }
  // Deletes layers nobody needs.
  Task<Result<>> collect();
  Index& index() { return index_; }
  const ImagesOptions& options() const { return options_; }

 private:
  using OpenBlob = std::function<Task<Result<std::unique_ptr<BlobSource>>>()>;
  // A layer to have.
  struct Want {
    std::string diff_id;
    std::string digest;   // of the blob; empty: not known
    uint64_t size = 0;    // of the blob; 0: not known
    OpenBlob open;
  };
  // The layers of one image on their way; shared by the coroutines that fetch them.
  struct Work {
    std::mutex mutex;
    std::vector<Want> wants;
    size_t next = 0, running = 0;
    std::optional<base::Error> failed;
    bool abandoned = false;
    PullProgress progress;
    PullProgressFunction report;
    base::Event changed;

    bool advance(size_t bytes);  // false: give up
  };
  // One fetcher of a work; counts down when it ends, also unstarted.
  struct Ticket {
    std::shared_ptr<Work> work;
    ~Ticket();
  };
  // Keeps layers that no image refers to yet.
  struct Holding {
    Index& index;
    std::vector<std::string> diff_ids;
    Holding(Index& i, std::vector<std::string> ids) : index(i), diff_ids(std::move(ids)) { index.hold(diff_ids); }
    ~Holding() { index.release(diff_ids); }
  };

  Task<Result<ImagePtr>> pull_from(std::shared_ptr<Repository> repository, ImageReference reference, PullProgressFunction progress);
  // Fetches what is missing, in parallel; true when anything was new.
  Task<Result<bool>> have_layers(std::vector<Want> wants, PullProgressFunction progress);
  static Task<> fetch_layers(std::shared_ptr<Importer> self, std::unique_ptr<Ticket> ticket);
  Task<Result<>> have_layer(Want want, std::shared_ptr<Work> work);
  Task<Result<>> make_layer(Want want, std::shared_ptr<Work> work);
  Task<Result<ImagePtr>> commit(Image image, bool new_layers);
  Task<Result<ImagePtr>> import_image(int root, std::string config_path, std::vector<std::string> layer_paths,
                                      std::vector<Descriptor> blobs, std::vector<std::string> tags, bool pinned);
  Task<Result<std::vector<ImagePtr>>> import_docker(int root, std::string manifest, bool pinned);
  Task<Result<std::vector<ImagePtr>>> import_oci(int root, std::string index, bool pinned);

  const ImagesOptions options_;
  Index index_;
  Endpoints endpoints_;
  base::Tasks tasks_;
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<base::Event>> making_;  // by diff id: being made by someone
};

}  // namespace runtime
