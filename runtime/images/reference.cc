// Image references as Docker normalises them (distribution reference grammar).
#include <algorithm>

#include <fmt/format.h>

#include "runtime/images/digest.h"
#include "runtime/images/images.h"

namespace runtime {

namespace {

bool is_lower_or_digit(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }
bool is_alnum(char c) { return is_lower_or_digit(c) || (c >= 'A' && c <= 'Z'); }

// Lower-case letters and digits, separated by one '.', one or two '_', or any number of '-'.
bool valid_component(std::string_view part) {
  if (part.empty() || !is_lower_or_digit(part.front()) || !is_lower_or_digit(part.back())) return false;
  for (size_t i = 0; i < part.size();) {
    if (is_lower_or_digit(part[i])) {
      ++i;
      continue;
    }
    size_t end = i;
    while (end < part.size() && part[end] == part[i]) ++end;
    size_t run = end - i;
    bool good = part[i] == '-' || (part[i] == '.' && run == 1) || (part[i] == '_' && run <= 2);
    if (!good || end >= part.size() || !is_lower_or_digit(part[end])) return false;
    i = end;
  }
  return true;
}

bool valid_repository(std::string_view text) {
  if (text.empty() || text.size() > 255) return false;
  for (size_t at = 0; at <= text.size();) {
    size_t slash = std::min(text.find('/', at), text.size());
    if (!valid_component(text.substr(at, slash - at))) return false;
    at = slash + 1;
  }
  return true;
}

bool valid_host(std::string_view text) {
  if (text.size() > 261) return false;  // a DNS name and a port
  std::string_view host = text;
  if (host.starts_with('[')) {
    size_t close = host.find(']');
    if (close == std::string_view::npos) return false;
    for (char c : host.substr(1, close - 1)) {
      if (!std::isxdigit(static_cast<unsigned char>(c)) && c != ':') return false;
    }
    host.remove_prefix(close + 1);
    if (host.empty()) return true;
    if (host.front() != ':') return false;
    host.remove_prefix(1);
  } else {
    size_t colon = host.find(':');
    std::string_view name = host.substr(0, colon);
    if (name.empty() || !is_alnum(name.front()) || !is_alnum(name.back())) return false;
    if (!std::ranges::all_of(name, [](char c) { return is_alnum(c) || c == '-' || c == '.'; })) return false;
    if (colon == std::string_view::npos) return true;
    host.remove_prefix(colon + 1);
  }
  return !host.empty() && host.size() <= 5 && std::ranges::all_of(host, [](char c) { return c >= '0' && c <= '9'; });
}

bool valid_tag(std::string_view tag) {
  if (tag.empty() || tag.size() > 128 || !(is_alnum(tag.front()) || tag.front() == '_')) return false;
  return std::ranges::all_of(tag, [](char c) { return is_alnum(c) || c == '_' || c == '.' || c == '-'; });
}

}  // namespace

Result<ImageReference> parse_image_reference(std::string_view text) {
  auto refuse = [&](std::string_view why) {
    return base::fail(400, "InvalidImageName", fmt::format("couldn't parse image name \"{}\": {}", text.substr(0, 256), why));
  };
  if (text.empty()) return refuse("it is empty");
  if (text.size() > 1024) return refuse("it is too long");
  ImageReference reference;
  std::string_view rest = text;
  if (size_t at = rest.find('@'); at != std::string_view::npos) {
    reference.digest = rest.substr(at + 1);
    rest = rest.substr(0, at);
    if (!is_digest(reference.digest)) return refuse("invalid digest");
  }
  if (size_t colon = rest.rfind(':'); colon != std::string_view::npos && rest.find('/', colon) == std::string_view::npos) {
    reference.tag = rest.substr(colon + 1);
    rest = rest.substr(0, colon);
    if (!valid_tag(reference.tag)) return refuse("invalid tag");
  }
  size_t slash = rest.find('/');
  std::string_view first = rest.substr(0, slash);
  bool upper = std::ranges::any_of(first, [](char c) { return c >= 'A' && c <= 'Z'; });
  bool host = slash != std::string_view::npos && (first.find_first_of(".:") != std::string_view::npos || first == "localhost" || upper);
  if (host) {
    reference.registry = first;
    reference.repository = rest.substr(slash + 1);
    if (!valid_host(reference.registry)) return refuse("invalid registry host");
    if (reference.registry == "index.docker.io") reference.registry = "docker.io";
  } else {
    reference.registry = "docker.io";
    reference.repository = rest;
  }
  if (reference.registry == "docker.io" && reference.repository.find('/') == std::string::npos) reference.repository.insert(0, "library/");
  if (!valid_repository(reference.repository)) {
    bool case_only = std::ranges::any_of(reference.repository, [](char c) { return c >= 'A' && c <= 'Z'; });
    return refuse(case_only ? "repository name must be lowercase" : "invalid reference format");
  }
  if (reference.tag.empty() && reference.digest.empty()) reference.tag = "latest";
  return reference;
}

std::string ImageReference::text() const {
  return digest.empty() ? fmt::format("{}/{}:{}", registry, repository, tag) : fmt::format("{}/{}@{}", registry, repository, digest);
}

std::string ImageReference::familiar() const {
  std::string name = repository;
  if (registry != "docker.io") {
    name = registry + "/" + name;
  } else if (name.starts_with("library/") && name.find('/', 8) == name.npos) {
    name.erase(0, 8);
  }
  return digest.empty() ? name + ":" + tag : name + "@" + digest;
}

}  // namespace runtime
