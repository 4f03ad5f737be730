// The registry protocol (OCI distribution spec 1.1): documents and blobs of one repository at one endpoint.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/http/client.h"
#include "runtime/images/authorization.h"
#include "runtime/images/images.h"

namespace runtime {

// Where an image may come from: a mirror, or the registry itself. Thread-safe.
class Repository {
 public:
  struct Options {
    std::string base;        // https://host[:port][/path]/v2
    std::string name;        // library/nginx, as this endpoint calls it
    std::string ns;          // the registry a mirror stands for; empty when it is the registry itself
    std::shared_ptr<base::http::Client> client;
    std::vector<std::optional<RegistryCredentials>> credentials;  // tried in order; nullopt: anonymous
  };
  explicit Repository(Options options) : options_(std::move(options)) {}

  struct Document {
    std::string text, content_type, digest;
  };
  // By tag or digest. The text has been checked against the digest asked for (or against the one the registry claims).
  Task<Result<Document>> manifest(std::string reference);
  // A small blob, checked.
  Task<Result<std::string>> small_blob(std::string digest, size_t limit);
  // A large one, unchecked: the caller hashes what it reads.
  Task<Result<std::unique_ptr<base::http::ClientResponse>>> blob(std::string digest);
  const std::string& base() const { return options_.base; }

 private:
  using ResponsePtr = std::unique_ptr<base::http::ClientResponse>;
  Task<Result<ResponsePtr>> get(std::string path, std::string accept);
  Task<Result<ResponsePtr>> follow(ResponsePtr response, std::string from, std::string accept);
  std::string authorization() const;

  const Options options_;
  mutable std::mutex mutex_;
  std::string authorization_;  // what worked last
  size_t credential_ = 0;      // index of what is being tried
};

// The endpoints for a reference, in the order to try. Clients are shared by host.
class Endpoints {
 public:
  explicit Endpoints(RegistriesConfig config) : config_(std::move(config)) {}
  Result<std::vector<std::shared_ptr<Repository>>> of(const ImageReference& reference, const std::vector<RegistryCredentials>& credentials);

 private:
  Result<std::shared_ptr<base::http::Client>> client_for(const std::string& host, const std::string& registry);
  const RegistriesConfig::Host* host_config(const std::string& host, const std::string& registry) const;

  const RegistriesConfig config_;
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<base::http::Client>> clients_;
};

}  // namespace runtime
