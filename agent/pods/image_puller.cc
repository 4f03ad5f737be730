#include "agent/pods/image_puller.h"

#include <algorithm>
#include <map>
#include <mutex>

#include "base/bytes.h"
#include "base/json.h"

namespace agent {

std::string pull_policy(const api::core::Container& c) {
  if (!c.imagePullPolicy.empty()) return c.imagePullPolicy;
  auto ref = runtime::parse_image_reference(c.image);
  return ref && ref->digest.empty() && ref->tag == "latest" ? "Always" : "IfNotPresent";
}

namespace {

// A key of "auths": a host, a host with path, a URL of either; "*" stands for one label of the host.
struct Pattern {
  std::string host, path;
};

Pattern parse_pattern(std::string_view key) {
  for (std::string_view scheme : {"https://", "http://"}) {
    if (key.starts_with(scheme)) key.remove_prefix(scheme.size());
  }
  size_t slash = key.find('/');
  Pattern p{std::string(key.substr(0, slash)), slash == std::string_view::npos ? "" : std::string(key.substr(slash + 1))};
  while (!p.path.empty() && p.path.back() == '/') p.path.pop_back();
  // What Docker writes for its own registry.
  if (p.host == "index.docker.io" || p.host == "registry-1.docker.io") p.host = "docker.io";
  if (p.path == "v1" || p.path == "v2") p.path.clear();
  return p;
}

bool host_matches(std::string_view pattern, std::string_view host) {
  while (true) {
    size_t a = pattern.find('.'), b = host.find('.');
    std::string_view p = pattern.substr(0, a), h = host.substr(0, b);
    if (p.find('*') == std::string_view::npos) {
      if (p != h) return false;
    } else {
      // One star within a label.
      size_t star = p.find('*');
      std::string_view before = p.substr(0, star), after = p.substr(star + 1);
      if (h.size() < before.size() + after.size() || !h.starts_with(before) || !h.ends_with(after)) return false;
    }
    if ((a == std::string_view::npos) != (b == std::string_view::npos)) return false;
    if (a == std::string_view::npos) return true;
    pattern.remove_prefix(a + 1);
    host.remove_prefix(b + 1);
  }
}

runtime::RegistryCredentials credentials_of(const base::json::value& entry) {
  runtime::RegistryCredentials c;
  c.username = base::get_string(entry, "username");
  c.password = base::get_string(entry, "password");
  c.identity_token = base::get_string(entry, "identitytoken");
  c.registry_token = base::get_string(entry, "registrytoken");
  std::string_view auth = base::get_string(entry, "auth");
  if (c.username.empty() && !auth.empty()) {
    if (auto decoded = base::base64_decode(auth)) {
      size_t colon = decoded->find(':');
      if (colon != std::string::npos) {
        c.username = decoded->substr(0, colon);
        c.password = decoded->substr(colon + 1);
        while (!c.password.empty() && (c.password.back() == '\0' || c.password.back() == '\n')) c.password.pop_back();
      }
    }
  }
  return c;
}

}  // namespace

std::vector<runtime::RegistryCredentials> pull_credentials(const api::core::Secret& secret, const std::string& image) {
  auto ref = runtime::parse_image_reference(image);
  if (!ref) return {};
  std::string text;
  bool wrapped = true;
  if (auto it = secret.data.find(".dockerconfigjson"); it != secret.data.end()) {
    text = it->second;
  } else if (auto old = secret.data.find(".dockercfg"); old != secret.data.end()) {
    text = old->second;
    wrapped = false;
  }
  auto parsed = base::parse_json(text);
  if (!parsed) return {};
  const auto* auths = wrapped ? base::find_object(*parsed, "auths") : parsed->if_object();
  if (!auths) return {};
  std::vector<std::pair<size_t, runtime::RegistryCredentials>> found;
  for (const auto& [key, entry] : *auths) {
    Pattern p = parse_pattern(key);
    if (!host_matches(p.host, ref->registry)) continue;
    if (!p.path.empty() && ref->repository != p.path && !ref->repository.starts_with(p.path + "/")) continue;
    found.emplace_back(p.path.size(), credentials_of(entry));
  }
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
  std::vector<runtime::RegistryCredentials> out;
  for (auto& [specific, c] : found) out.push_back(std::move(c));
  return out;
}

struct ImagePuller::State {
  struct Flight {
    std::optional<Result<Pulled>> result;
    base::Event done;
  };
  static constexpr int kParallel = 5;

  runtime::Images& images;
  base::Tasks tasks;
  std::mutex mutex;  // guards what follows
  std::map<std::string, std::shared_ptr<Flight>> flights;
  int running = 0;
  base::Event freed;

  State(base::Runtime& r, runtime::Images& i) : images(i), tasks(r) {}

  static Task<> fly(std::shared_ptr<State> self, std::string key, std::shared_ptr<Flight> flight, std::string reference,
                    std::vector<runtime::RegistryCredentials> credentials) {
    auto asked = base::Clock::now();
    for (;;) {
      uint64_t seen = self->freed.version();
      {
        std::scoped_lock lock(self->mutex);
        if (self->running < kParallel) {
          ++self->running;
          break;
        }
      }
      co_await self->freed.wait(seen);
    }
    struct Place {
      State& s;
      ~Place() {
        {
          std::scoped_lock lock(s.mutex);
          --s.running;
        }
        s.freed.notify();
      }
    } place{*self};
    auto began = base::Clock::now();
    auto image = co_await self->images.pull(std::move(reference), std::move(credentials));
    auto now = base::Clock::now();
    {
      std::scoped_lock lock(self->mutex);
      if (image) {
        flight->result = Pulled{*image, now - began, now - asked};
      } else {
        flight->result = std::unexpected(image.error());
      }
      self->flights.erase(key);
    }
    flight->done.notify();
  }
};

ImagePuller::ImagePuller(base::Runtime& runtime, runtime::Images& images) : state_(std::make_shared<State>(runtime, images)) {}
ImagePuller::~ImagePuller() = default;

Task<Result<ImagePuller::Pulled>> ImagePuller::pull(std::string reference, std::vector<runtime::RegistryCredentials> credentials) {
  // Pods with different secrets do not share: one may see what the other must not.
  std::string secret;
  for (const auto& c : credentials) secret += c.username + '\0' + c.password + '\0' + c.identity_token + '\0' + c.registry_token + '\0';
  std::string key = reference + ' ' + base::sha256(secret);
  std::shared_ptr<State::Flight> flight;
  {
    std::scoped_lock lock(state_->mutex);
    auto& slot = state_->flights[key];
    if (!slot) {
      slot = std::make_shared<State::Flight>();
      state_->tasks.spawn("pull " + reference, State::fly(state_, key, slot, reference, std::move(credentials)));
    }
    flight = slot;
  }
  for (;;) {
    uint64_t seen = flight->done.version();
    {
      std::scoped_lock lock(state_->mutex);
      if (flight->result) co_return *flight->result;
    }
    co_await flight->done.wait(seen);
  }
}

runtime::ImagePtr ImagePuller::find(const std::string& reference) const { return state_->images.find(reference); }

Task<> ImagePuller::stop() { co_await state_->tasks.stop(); }

}  // namespace agent
