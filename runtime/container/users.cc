#include "runtime/container/users.h"

#include <algorithm>

namespace runtime {

namespace {

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    size_t at = text.find(separator);
    parts.push_back(text.substr(0, at));
    if (at == std::string_view::npos) return parts;
    text.remove_prefix(at + 1);
  }
}

base::Failure invalid(std::string message) { return base::fail(400, "InvalidContainerSpec", std::move(message)); }

template <class F>
void each_line(std::string_view text, size_t fields, F f) {
  for (std::string_view line : split(text, '\n')) {
    if (line.empty() || line[0] == '#') continue;
    auto parts = split(line, ':');
    if (parts.size() >= fields && !parts[0].empty() && f(parts)) return;
  }
}

}  // namespace

std::optional<uint32_t> parse_id(std::string_view text) {
  if (text.empty() || text.size() > 10) return std::nullopt;
  uint64_t n = 0;
  for (char c : text) {
    if (c < '0' || c > '9') return std::nullopt;
    n = n * 10 + static_cast<uint64_t>(c - '0');
  }
  // The largest value means "unchanged" to the kernel.
  if (n >= 0xffffffffu) return std::nullopt;
  return static_cast<uint32_t>(n);
}

base::Result<Identity> resolve_user(const User& user, std::string_view passwd, std::string_view group) {
  Identity who;
  std::string_view name = user.image_user, group_name;
  bool has_group = false;
  if (size_t colon = name.find(':'); colon != std::string_view::npos) {
    group_name = name.substr(colon + 1);
    name = name.substr(0, colon);
    has_group = true;
    if (group_name.empty() || group_name.find(':') != std::string_view::npos) return invalid("malformed user \"" + user.image_user + "\"");
  }

  bool named = false;
  std::optional<uint32_t> uid = user.uid;
  if (!uid && !name.empty()) {
    uid = parse_id(name);
    if (!uid) named = true;
  }
  if (!uid && !named) uid = 0;

  std::optional<uint32_t> primary;
  each_line(passwd, 6, [&](const std::vector<std::string_view>& f) {
    auto entry_uid = parse_id(f[2]);
    auto entry_gid = parse_id(f[3]);
    if (!entry_uid || !entry_gid) return false;
    if (named ? f[0] != name : *entry_uid != *uid) return false;
    uid = entry_uid;
    primary = entry_gid;
    who.name = f[0];
    if (f[5].starts_with('/')) who.home = f[5];
    return true;
  });
  if (!uid) return invalid("unable to find user " + std::string(name) + ": no matching entries in passwd file");
  who.uid = *uid;
  who.gid = primary.value_or(0);

  if (user.gid) {
    who.gid = *user.gid;
  } else if (has_group && !user.uid) {
    auto gid = parse_id(group_name);
    if (!gid) {
      each_line(group, 3, [&](const std::vector<std::string_view>& f) {
        if (f[0] != group_name) return false;
        gid = parse_id(f[2]);
        return gid.has_value();
      });
      if (!gid) return invalid("unable to find group " + std::string(group_name) + ": no matching entries in group file");
    }
    who.gid = *gid;
  }

  who.groups = user.supplementary_gids;
  who.groups.push_back(who.gid);
  if (user.merge_image_groups && !who.name.empty() && (!has_group || user.uid)) {
    each_line(group, 4, [&](const std::vector<std::string_view>& f) {
      auto gid = parse_id(f[2]);
      if (!gid) return false;
      for (std::string_view member : split(f[3], ',')) {
        if (member == who.name) who.groups.push_back(*gid);
      }
      return who.groups.size() > 4096;
    });
  }
  std::ranges::sort(who.groups);
  auto rest = std::ranges::unique(who.groups);
  who.groups.erase(rest.begin(), rest.end());

  if (user.require_non_root && who.uid == 0) return invalid("container has runAsNonRoot and image will run as root");
  return who;
}

}  // namespace runtime
