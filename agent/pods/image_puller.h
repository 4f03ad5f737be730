// Images for containers: pull policies, pull secrets, one pull of an image at a time however many pods wait for it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "api/types/core_v1.h"
#include "base/io.h"
#include "runtime/images/images.h"

namespace agent {

using base::Result;
using base::Task;

// Always, IfNotPresent or Never; without one: Always for :latest and untagged references, else IfNotPresent.
std::string pull_policy(const api::core::Container& container);

// Credentials of a Secret of type kubernetes.io/dockerconfigjson or kubernetes.io/dockercfg that apply to the image, most specific first.
std::vector<runtime::RegistryCredentials> pull_credentials(const api::core::Secret& secret, const std::string& image);

// Pulls on behalf of many. A pull goes on when those who wait for it are cancelled. Thread-safe.
class ImagePuller {
 public:
  ImagePuller(base::Runtime& runtime, runtime::Images& images);
  ~ImagePuller();

  struct Pulled {
    runtime::ImagePtr image;
    base::Duration pulling{}, waiting{};  // the pull itself; including the wait for a place (five at a time)
  };
  Task<Result<Pulled>> pull(std::string reference, std::vector<runtime::RegistryCredentials> credentials);
  runtime::ImagePtr find(const std::string& reference) const;
  Task<> stop();

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace agent
