#include "server/apiserver/registry/attributes.h"

#include <algorithm>

#include "api/selector.h"
#include "server/apiserver/apiserver.h"
#include "server/apiserver/registry/keys.h"

namespace server {
std::shared_ptr<const Attributes> make_attributes(std::string_view group, std::string_view resource, const base::json::value& whole,
                                                  size_t revision_offset) {
  const base::json::object& object = whole.get_object();
  auto out = std::make_shared<Attributes>();
  out->revision_offset = static_cast<uint32_t>(revision_offset);
  if (const base::json::value* m = object.if_contains("metadata"); m && m->is_object()) {
    const base::json::object& meta = m->get_object();
    out->deleting = meta.contains("deletionTimestamp");
    if (auto* uid = meta.if_contains("uid"); uid && uid->is_string()) out->uid = uid->get_string();
    if (auto* l = meta.if_contains("labels"); l && l->is_object()) {
      out->labels.reserve(l->get_object().size());
      for (const auto& [name, value] : l->get_object())
        if (value.is_string()) out->labels.emplace_back(name, value.get_string());
      std::sort(out->labels.begin(), out->labels.end());
    }
  }
  for (std::string_view field : api::selectable_fields(group == "core" ? std::string_view() : group, resource))
    if (std::string v = api::selectable_value(whole, field); !v.empty()) out->fields.emplace_back(field, std::move(v));
  return out;
}

namespace {

// Takes single members out of a stored object (compact JSON, known to be well-formed) without decoding the rest: a server starts with all its objects.
class Excerpt {
 public:
  Excerpt(std::vector<std::string_view> wanted, base::json::storage_ptr storage)
      : wanted_(std::move(wanted)), storage_(std::move(storage)) {}

  // The object with nothing but the wanted paths.
  base::json::object of(std::string_view text, const std::string& prefix = {}) const {
    base::json::object out(storage_);
    for (size_t at = 1; at < text.size() && text[at] == '"';) {
      size_t end = end_of_string(text, at);
      std::string_view name = text.substr(at + 1, end - at - 2);
      at = end + 1;  // the colon
      end = end_of_value(text, at);
      std::string_view member = text.substr(at, end - at);
      at = end + 1;  // the comma
      std::string path = prefix + std::string(name);
      if (std::find(wanted_.begin(), wanted_.end(), path) != wanted_.end()) {
        if (auto v = base::parse_json(member, 64, storage_)) out[name] = std::move(*v);
      } else if (path += '.';
                 member.starts_with('{') && std::any_of(wanted_.begin(), wanted_.end(), [&](auto w) { return w.starts_with(path); })) {
        out[name] = of(member, path);
      }
    }
    return out;
  }

 private:
  static size_t end_of_string(std::string_view text, size_t at) {
    for (;;) {
      at = text.find('"', at + 1);
      if (at == text.npos) return text.size();
      size_t slashes = 0;
      while (text[at - 1 - slashes] == '\\') ++slashes;
      if (slashes % 2 == 0) return at + 1;
    }
  }
  static size_t end_of_value(std::string_view text, size_t at) {
    for (size_t depth = 0; at < text.size();) {
      char c = text[at];
      if (c == '"') {
        at = end_of_string(text, at);
        if (depth == 0) return at;
        continue;
      }
      if (c == '{' || c == '[') ++depth;
      if (c == ',' && depth == 0) return at;
      if (c == '}' || c == ']') {
        if (depth == 0) return at;
        if (--depth == 0) return at + 1;
      }
      ++at;
    }
    return text.size();
  }

  const std::vector<std::string_view> wanted_;
  const base::json::storage_ptr storage_;
};

}  // namespace

std::shared_ptr<const Attributes> read_attributes(std::string_view key, std::string_view value) {
  auto [group, resource] = resource_in_key(key);
  constexpr std::string_view mark = "\"resourceVersion\":\"";
  size_t at = value.find(mark);
  std::vector<std::string_view> wanted = api::selectable_fields(group == "core" ? std::string_view() : group, resource);
  for (std::string_view path : {"metadata.name", "metadata.uid", "metadata.labels", "metadata.deletionTimestamp", "status.succeeded"})
    wanted.push_back(path);
  base::JsonArena arena;
  base::json::value parts(Excerpt(std::move(wanted), arena).of(value), arena);
  return make_attributes(group, resource, parts, at == std::string_view::npos ? 0 : at + mark.size());
}

std::string_view tag_of(const datastore::Record& record) {
  return record.attributes ? attributes_of(record).field(tag_field) : std::string_view();
}

datastore::Tag tag() { return &tag_of; }

datastore::Indexer indexer() {
  return [](std::string_view key, std::string_view value) -> std::shared_ptr<const void> { return read_attributes(key, value); };
}

}  // namespace server
