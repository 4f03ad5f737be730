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

std::shared_ptr<const Attributes> read_attributes(std::string_view key, std::string_view value) {
  auto [group, resource] = resource_in_key(key);
  constexpr std::string_view mark = "\"resourceVersion\":\"";
  size_t at = value.find(mark);
  auto parsed = base::parse_json(value, 256);
  if (!parsed || !parsed->is_object()) return std::make_shared<Attributes>();
  return make_attributes(group, resource, *parsed, at == std::string_view::npos ? 0 : at + mark.size());
}

datastore::Indexer indexer() {
  return [](std::string_view key, std::string_view value) -> std::shared_ptr<const void> { return read_attributes(key, value); };
}

}  // namespace server
