#include "runtime/images/images.h"

#include "runtime/images/pull.h"

namespace runtime {

struct Images::Impl {
  std::shared_ptr<Importer> importer;
};

Images::Images(base::Runtime& runtime, ImagesOptions options) : impl_(std::make_shared<Impl>()) {
  impl_->importer = std::make_shared<Importer>(runtime, std::move(options));
}

Images::~Images() = default;

Task<Result<>> Images::start() {
  auto importer = impl_->importer;
  co_return co_await base::offload([importer] { return importer->index().load(); });
}

Task<> Images::stop() { return impl_->importer->stop(); }

Task<Result<ImagePtr>> Images::pull(std::string reference, std::vector<RegistryCredentials> credentials, PullProgressFunction progress) {
  auto importer = impl_->importer;
  co_return co_await importer->pull(std::move(reference), std::move(credentials), std::move(progress));
}

Task<Result<std::vector<ImagePtr>>> Images::import_archive(std::string path) {
  auto importer = impl_->importer;
  co_return co_await importer->import_archive(std::move(path), false);
}

Task<Result<std::vector<ImagePtr>>> Images::import_directory(std::string directory) {
  auto importer = impl_->importer;
  co_return co_await importer->import_directory(std::move(directory));
}

ImagePtr Images::find(std::string_view text) const { return impl_->importer->index().find(text); }

std::vector<ImagePtr> Images::list() const { return impl_->importer->index().list(); }

Result<std::vector<std::string>> Images::layers(const Image& image) const {
  std::vector<std::string> result;
  Index& index = impl_->importer->index();
  for (auto id = image.layers.rbegin(); id != image.layers.rend(); ++id) {
    auto layer = index.layer(*id);
    if (!layer) return base::not_found("layers", *id);
    std::string path = index.layer_path(layer->directory);
    // overlayfs refuses the same directory twice; an upper occurrence hides the lower one anyway.
    if (std::find(result.begin(), result.end(), path) == result.end()) result.push_back(std::move(path));
  }
  return result;
}

Task<Result<>> Images::remove(std::string text) {
  auto importer = impl_->importer;
  CO_CHECK_OK(importer->index().remove(text));
  co_return co_await importer->collect();
}

Task<Result<>> Images::tag(std::string text, std::string reference) {
  auto importer = impl_->importer;
  CO_CHECK_OK(importer->index().tag(text, reference));
  co_return co_await base::offload([importer] { return importer->index().save(false); });
}

void Images::touch(std::string_view id) { impl_->importer->index().touch(id); }

Images::Usage Images::usage() const { return impl_->importer->index().usage(); }

}  // namespace runtime
