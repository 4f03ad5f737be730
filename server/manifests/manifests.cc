#include "server/manifests/manifests.h"

#include <sys/inotify.h>

#include <filesystem>
#include <map>

#include "api/schema.h"
#include "api/yaml.h"
#include "base/files.h"
#include "base/inotify.h"
#include "base/log.h"

namespace server {

using base::Result;
using base::Task;

struct Manifests::Impl {
  Impl(base::Runtime& runtime, api::Client& c, std::string d) : client(c), directory(std::move(d)), tasks(runtime) {}

  api::Client& client;
  const std::string directory;
  base::Tasks tasks;
  std::map<std::string, std::string> applied;  // path to the digest of what was applied; run()'s strand

  Task<> run() {
    auto watch = co_await base::Inotify::open();
    if (watch) {
      if (auto added = (*watch)->add(directory, IN_CLOSE_WRITE | IN_MOVED_TO); !added) watch = std::unexpected(added.error());
    }
    if (!watch) base::log::warn("manifests", "changes will be seen at the next start only: {}", watch.error().message);
    for (;;) {
      bool all_good = co_await apply_changed();
      std::optional<base::TimePoint> again;
      // Something may have been missing (a namespace, a kind) that another file brings.
      if (!all_good) again = base::Clock::now() + std::chrono::seconds(15);
      if (!watch) {
        if (!again) co_return;
        co_await base::sleep_until(*again);
      } else if (auto r = co_await (*watch)->wait(again); !r) {
        co_return;
      }
    }
  }

  Task<bool> apply_changed() {
    std::vector<std::string> paths;
    std::error_code ec;
    for (auto& entry : std::filesystem::directory_iterator(directory, ec)) {
      auto extension = entry.path().extension();
      if (extension == ".yaml" || extension == ".yml" || extension == ".json") paths.push_back(entry.path());
    }
    std::sort(paths.begin(), paths.end());
    bool all_good = true;
    for (const std::string& path : paths) {
      auto text = base::read_file(path, 16u << 20);
      if (!text) continue;
      std::string digest = base::sha256(*text);
      auto known = applied.find(path);
      if (known != applied.end() && known->second == digest) continue;
      auto done = co_await apply_text(*text);
      if (done) {
        applied[path] = digest;
        base::log::info("manifests", "applied {}", path);
      } else {
        all_good = false;
        base::log::warn("manifests", "{}: {}", path, done.error().message);
      }
    }
    co_return all_good;
  }

  Task<Result<>> apply_text(std::string text) {
    auto documents = api::parse_yaml_documents(text);
    if (!documents) co_return std::unexpected(documents.error());
    Result<> result;
    for (auto& document : *documents) {
      if (base::get_string(document, "kind") == "List") {
        if (const auto* items = base::find_array(document, "items")) {
          for (const auto& item : *items) {
            if (auto r = co_await apply(item); !r) result = std::move(r);
          }
        }
      } else if (auto r = co_await apply(document); !r) {
        result = std::move(r);
      }
    }
    co_return result;
  }

  Task<Result<>> apply(base::json::value object) {
    auto api_version = base::get_string(object, "apiVersion");
    auto kind_name = base::get_string(object, "kind");
    const api::Kind* kind = api::Schema::builtin().kind(api_version, kind_name);
    if (!kind || kind->plural.empty())
      co_return base::bad_request("no matches for kind \"" + std::string(kind_name) + "\" in version \"" + std::string(api_version) + "\"");
    api::ObjectKey key{std::string(base::get_string(object, "metadata.namespace")), std::string(base::get_string(object, "metadata.name"))};
    if (key.name.empty()) co_return base::bad_request("metadata.name is missing");
    if (kind->namespaced && key.ns.empty()) {
      key.ns = "default";
      base::make_object(object, "metadata")["namespace"] = key.ns;
    }
    api::WriteOptions options;
    options.field_manager = "manifests";
    options.force = true;
    api::Resource resource{kind->group, kind->version, kind->plural};
    auto r = co_await client.patch(resource, key, api::PatchType::apply, base::to_text(object), options);
    if (!r) co_return std::unexpected(std::move(r).error());
    co_return Result<>{};
  }
};

Manifests::Manifests(base::Runtime& runtime, api::Client& client, std::string directory)
    : impl_(std::make_unique<Impl>(runtime, client, std::move(directory))) {}
Manifests::~Manifests() = default;

Result<> Manifests::start() {
  CHECK_OK(base::make_dirs(impl_->directory));
  impl_->tasks.spawn("manifests", impl_->run());
  return {};
}

Task<> Manifests::stop() { co_await impl_->tasks.stop(); }

}  // namespace server
