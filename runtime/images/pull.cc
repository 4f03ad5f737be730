#include "runtime/images/pull.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

#include <fmt/format.h>

#include "base/log.h"
#include "runtime/images/digest.h"

namespace runtime {

using namespace std::chrono_literals;

namespace {

constexpr int kAttempts = 3;  // of a layer whose connection breaks

base::Failure invalid(std::string why) { return base::fail(422, "ImageInvalid", std::move(why)); }

// Removed when it goes out of scope, unless it has been moved away.
class TemporaryDirectory {
 public:
  explicit TemporaryDirectory(std::string path) : path_(std::move(path)) {}
  ~TemporaryDirectory() { (void)base::remove_all(path_); }
  Result<> make(mode_t mode) {
    if (::mkdir(path_.c_str(), mode) != 0) return base::errno_error("mkdir " + path_);
    ::chmod(path_.c_str(), mode);
    return {};
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace

bool Importer::Work::advance(size_t bytes) {
  std::scoped_lock lock(mutex);
  progress.bytes += bytes;
  if (report) report(progress);
  return !abandoned && !failed;
}

Importer::Ticket::~Ticket() {
  {
    std::scoped_lock lock(work->mutex);
    --work->running;
    if (work->next < work->wants.size() && !work->failed) work->failed = base::unavailable("the pull was cancelled").error();
  }
  work->changed.notify();
}

// --- layers

Task<Result<>> Importer::make_layer(Want want, std::shared_ptr<Work> work) {
  for (int attempt = 1;; ++attempt) {
    TemporaryDirectory directory(index_.temporary_directory());
    CO_CHECK_OK(directory.make(0755));
    auto source = co_await want.open();
    base::Error error;
    if (source) {
      UnpackJob job{options_.self_exe, directory.path(), {}, false, want.digest, want.size, want.diff_id};
      job.limits.bytes = options_.max_layer_bytes;
      job.limits.entries = options_.max_entries;
      auto layer = co_await unpack_layer(std::move(job), **source, [work](size_t n) { return work->advance(n); });
      if (layer) co_return index_.add_layer(want.diff_id, directory.path(), layer->bytes, layer->entries);
      error = layer.error();
    } else {
      error = source.error();
    }
    bool broken = error.code >= 502 && error.code <= 504;
    if (!broken || attempt == kAttempts || !work->advance(0)) co_return std::unexpected(std::move(error));
    base::log::info("images", "layer {}: {}; trying again", want.diff_id, error.message);
    co_await base::sleep_for(attempt * 1s);
  }
}

// One maker per layer; the others wait, and take over when it fails.
Task<Result<>> Importer::have_layer(Want want, std::shared_ptr<Work> work) {
  for (;;) {
    std::shared_ptr<base::Event> other;
    {
      std::scoped_lock lock(mutex_);
      if (index_.layer(want.diff_id)) co_return Result<>();
      auto& slot = making_[want.diff_id];
      if (slot) {
        other = slot;
      } else {
        slot = std::make_shared<base::Event>();
      }
    }
    if (!other) break;
    uint64_t seen = other->version();
    {
      std::scoped_lock lock(mutex_);
      auto it = making_.find(want.diff_id);
      if (it == making_.end() || it->second != other) continue;
    }
    co_await other->wait(seen);
  }
  struct Done {
    Importer& importer;
    std::string id;
    ~Done() {
      std::scoped_lock lock(importer.mutex_);
      auto it = importer.making_.find(id);
      it->second->notify();
      importer.making_.erase(it);
    }
  } done{*this, want.diff_id};
  co_return co_await make_layer(want, work);
}

Task<> Importer::fetch_layers(std::shared_ptr<Importer> self, std::unique_ptr<Ticket> ticket) {
  std::shared_ptr<Work> work = ticket->work;
  for (;;) {
    Want want;
    {
      std::scoped_lock lock(work->mutex);
      if (work->failed || work->abandoned || work->next == work->wants.size()) break;
      want = work->wants[work->next++];
    }
    std::string what = want.digest.empty() ? want.diff_id : want.digest;
    bool finished = false;
    struct Outcome {
      Work& work;
      bool& finished;
      ~Outcome() {
        if (finished) return;
        std::scoped_lock lock(work.mutex);
        if (!work.failed) work.failed = base::unavailable("the pull was cancelled").error();
      }
    } outcome{*work, finished};
    auto result = co_await self->have_layer(std::move(want), work);
    finished = true;
    if (!result) {
      result.error().message = fmt::format("layer {}: {}", what, result.error().message);
      std::scoped_lock lock(work->mutex);
      if (!work->failed) work->failed = result.error();
    }
  }
}

Task<Result<bool>> Importer::have_layers(std::vector<Want> wants, PullProgressFunction progress) {
  auto work = std::make_shared<Work>();
  work->report = std::move(progress);
  std::set<std::string> seen_ids;
  for (Want& want : wants) {
    if (index_.layer(want.diff_id) || !seen_ids.insert(want.diff_id).second) continue;
    work->progress.total += want.size;
    work->wants.push_back(std::move(want));
  }
  if (work->wants.empty()) co_return false;
  // When the caller goes away the fetchers stop at their next chunk.
  struct Abandon {
    Work& work;
    ~Abandon() {
      std::scoped_lock lock(work.mutex);
      work.abandoned = true;
    }
  } abandon{*work};
  work->running = std::min<size_t>(std::max(1u, options_.parallel_layers), work->wants.size());
  size_t fetchers = work->running;
  for (size_t i = 0; i < fetchers; ++i) tasks_.spawn("layers", fetch_layers(shared_from_this(), std::make_unique<Ticket>(work)));
  for (;;) {
    uint64_t seen = work->changed.version();
    {
      std::scoped_lock lock(work->mutex);
      if (work->running == 0) {
        if (work->failed) co_return std::unexpected(*work->failed);
        co_return true;
      }
    }
    co_await work->changed.wait(seen);
  }
}

Task<Result<ImagePtr>> Importer::commit(Image image, bool new_layers) {
  ImagePtr added = index_.add_image(std::move(image));
  auto saved = co_await base::offload([this, new_layers] { return index_.save(new_layers); });
  if (!saved) co_return std::unexpected(saved.error());
  co_return added;
}

Task<Result<>> Importer::collect() {
  co_return co_await base::offload([this]() -> Result<> {
    auto garbage = index_.take_garbage();
    CHECK_OK(index_.save(false));
    for (const std::string& path : garbage) CHECK_OK(base::remove_all(path));
    return {};
  });
}

// --- registries

Task<Result<ImagePtr>> Importer::pull_from(std::shared_ptr<Repository> repository, ImageReference reference,
                                           PullProgressFunction progress) {
  auto document = co_await repository->manifest(reference.digest.empty() ? reference.tag : reference.digest);
  if (!document) co_return std::unexpected(document.error());
  std::string digest = document->digest;
  auto manifest = parse_manifest(document->text, document->content_type);
  if (!manifest) co_return std::unexpected(manifest.error());
  for (int depth = 0; manifest->index; ++depth) {
    const Descriptor* chosen = choose_platform(*manifest, options_.platform_os, options_.platform_architecture);
    if (!chosen || depth == 3) {
      co_return invalid(
          fmt::format("no match for platform {}/{} in the image index", options_.platform_os, options_.platform_architecture));
    }
    auto inner = co_await repository->manifest(chosen->digest);
    if (!inner) co_return std::unexpected(inner.error());
    manifest = parse_manifest(inner->text, inner->content_type);
    if (!manifest) co_return std::unexpected(manifest.error());
  }
  if (manifest->config.size > kMaxConfig) co_return invalid("the image's configuration is too large");
  auto text = co_await repository->small_blob(manifest->config.digest, kMaxConfig);
  if (!text) co_return std::unexpected(text.error());
  auto config = parse_config(*text);
  if (!config) co_return std::unexpected(config.error());
  bool other = (!config->os.empty() && config->os != options_.platform_os) ||
               (!config->architecture.empty() && config->architecture != options_.platform_architecture);
  if (other) {
    co_return invalid(fmt::format("the image is for platform {}/{}, this node is {}/{}", config->os, config->architecture,
                                  options_.platform_os, options_.platform_architecture));
  }
  if (config->diff_ids.size() != manifest->layers.size())
    co_return invalid("manifest and configuration disagree about the number of layers");

  Holding holding(index_, config->diff_ids);
  std::vector<Want> wants;
  uint64_t total = 0;
  for (size_t i = 0; i < manifest->layers.size(); ++i) {
    const Descriptor& layer = manifest->layers[i];
    total += layer.size;
    if (layer.size > options_.max_layer_bytes || total > options_.max_image_bytes)
      co_return invalid("the image is larger than this node allows");
    OpenBlob open = [repository, blob = layer.digest]() -> Task<Result<std::unique_ptr<BlobSource>>> {
      return [](std::shared_ptr<Repository> from, std::string d) -> Task<Result<std::unique_ptr<BlobSource>>> {
        auto response = co_await from->blob(std::move(d));
        if (!response) co_return std::unexpected(response.error());
        co_return blob_of_response(std::move(*response));
      }(repository, blob);
    };
    wants.push_back({config->diff_ids[i], layer.digest, layer.size, std::move(open)});
  }
  auto fetched = co_await have_layers(std::move(wants), std::move(progress));
  if (!fetched) co_return std::unexpected(fetched.error());
  Image image;
  image.id = manifest->config.digest;
  image.reference = reference.text();
  if (reference.digest.empty()) image.tags = {reference.text()};
  image.repo_digests = {fmt::format("{}/{}@{}", reference.registry, reference.repository, digest)};
  image.layers = config->diff_ids;
  image.config = std::move(config->config);
  co_return co_await commit(std::move(image), *fetched);
}

Task<Result<ImagePtr>> Importer::pull(std::string text, std::vector<RegistryCredentials> credentials, PullProgressFunction progress) {
  auto reference = parse_image_reference(text);
  if (!reference) co_return std::unexpected(reference.error());
  auto repositories = endpoints_.of(*reference, credentials);
  if (!repositories) co_return std::unexpected(repositories.error());
  auto begun = base::Clock::now();
  std::optional<base::Error> failure;
  auto unreachable = [](const base::Error& e) { return e.code == 502; };
  for (auto& repository : *repositories) {
    // Plain HTTP only where TLS did not answer at all.
    bool plain_fallback =
        repository != repositories->front() && repository->base().starts_with("http://") && repository == repositories->back();
    if (plain_fallback && failure && !unreachable(*failure)) break;
    auto image = co_await pull_from(repository, *reference, progress);
    if (image) {
      auto took = std::chrono::duration_cast<std::chrono::milliseconds>(base::Clock::now() - begun).count();
      base::log::info("images", "pulled {} ({}) in {} ms", reference->text(), (*image)->id, took);
      Image copy = **image;
      copy.reference = reference->text();
      co_return std::make_shared<const Image>(std::move(copy));
    }
    // What an endpoint answered says more than that another one cannot be reached.
    if (!failure || !unreachable(image.error())) failure = image.error();
    // The disk of this node is no matter of where the image comes from.
    if (image.error().code == 507) break;
  }
  failure->message = fmt::format("failed to pull and unpack image \"{}\": {}", reference->text(), failure->message);
  co_return std::unexpected(std::move(*failure));
}

}  // namespace runtime
