#include "api/tables/printer.h"

#include <fmt/format.h>

#include "api/table.h"

namespace api::tables {

namespace json = base::json;

void Row::add(std::string_view text) { cells.emplace_back(json::string_view(text.data(), text.size())); }

void Row::add_field(std::string_view path, std::string_view otherwise) { add(text(path, otherwise)); }

void Row::add_age() { add(since(text("metadata.creationTimestamp"))); }

std::string Row::since(std::string_view rfc3339) const {
  auto t = base::parse_rfc3339(rfc3339);
  if (!t) return "<unknown>";
  return human_duration(std::chrono::duration_cast<std::chrono::seconds>(now - *t).count());
}

std::string_view Row::text(std::string_view path, std::string_view otherwise) const {
  std::string_view s = base::get_string(object, path);
  return s.empty() ? otherwise : s;
}

const json::array& Row::list(std::string_view path) const {
  static const json::array none;
  const json::array* a = base::find_array(object, path);
  return a ? *a : none;
}

const json::object& Row::map(std::string_view path) const {
  static const json::object none;
  const json::object* o = base::find_object(object, path);
  return o ? *o : none;
}

std::string labels_text(const json::object& labels) {
  std::vector<std::string> out;
  for (const auto& [key, value] : labels) {
    out.push_back(fmt::format("{}={}", std::string_view(key), value.is_string() ? std::string_view(value.get_string()) : ""));
  }
  std::sort(out.begin(), out.end());
  return out.empty() ? "<none>" : joined(out, ",");
}

std::string selector_text(const json::value* selector) {
  if (!selector || !selector->is_object()) return "<none>";
  std::vector<std::string> out;
  if (const json::object* labels = base::find_object(*selector, "matchLabels"); labels && !labels->empty())
    out.push_back(labels_text(*labels));
  if (const json::array* expressions = base::find_array(*selector, "matchExpressions")) {
    for (const json::value& e : *expressions) {
      std::string_view key = base::get_string(e, "key"), op = base::get_string(e, "operator");
      if (op == "Exists") {
        out.emplace_back(key);
      } else if (op == "DoesNotExist") {
        out.push_back(fmt::format("!{}", key));
      } else {
        std::vector<std::string> values;
        if (const json::array* list = base::find_array(e, "values")) {
          for (const json::value& v : *list) values.emplace_back(v.is_string() ? std::string_view(v.get_string()) : "");
        }
        out.push_back(fmt::format("{} {} ({})", key, op == "In" ? "in" : "notin", joined(values, ",")));
      }
    }
  }
  return out.empty() ? "<none>" : joined(out, ",");
}

void add_containers(Row& row, std::string_view pod_spec_path) {
  std::vector<std::string> names, images;
  for (const json::value& c : row.list(fmt::format("{}.containers", pod_spec_path))) {
    names.emplace_back(base::get_string(c, "name"));
    images.emplace_back(base::get_string(c, "image"));
  }
  row.add(joined(names, ","));
  row.add(joined(images, ","));
}

std::string joined(const std::vector<std::string>& texts, std::string_view separator) {
  return fmt::format("{}", fmt::join(texts, separator));
}

std::string limited(const std::vector<std::string>& texts, size_t limit, std::string_view separator) {
  if (texts.size() <= limit) return joined(texts, separator);
  std::vector<std::string> first(texts.begin(), texts.begin() + static_cast<std::ptrdiff_t>(limit));
  return fmt::format("{} + {} more...", joined(first, separator), texts.size() - limit);
}

}  // namespace api::tables
