// The checks of a configuration before it is merged: those that need to know which item is which.
#include <fmt/format.h>

#include <algorithm>

#include "api/apply.h"
#include "api/field_set.h"

namespace api {
namespace {

namespace json = base::json;

class AppliedCheck {
 public:
  void walk(const Type& t, const json::value& v, const std::string& path) {
    if (t.form == Form::object && v.is_object()) members(t, v.get_object(), path);
    if (t.form == Form::map && v.is_object()) {
      for (const auto& [key, value] : v.get_object()) walk(*t.element, value, fmt::format("{}.{}", path, std::string_view(key)));
    }
    if (t.form == Form::list && v.is_array()) items(t, v.get_array(), path);
  }

  std::string text() const {
    if (problems_.size() < 2) return problems_.empty() ? std::string() : problems_[0];
    return fmt::format("errors:\n  {}", fmt::join(problems_, "\n  "));
  }

 private:
  void members(const Type& t, const json::object& o, const std::string& path) {
    for (const auto& [key, value] : o) {
      std::string_view name(key);
      std::string here = fmt::format("{}.{}", path, name);
      if (const Field* f = t.field(name)) walk(*f->type, value, here);
      else if (t.has_kind && (name == "apiVersion" || name == "kind")) continue;
      else if (t.embedded_resource && name == "metadata") walk(Schema::object_meta(), value, here);
      else if (!t.preserve_unknown) problems_.push_back(here + ": field not declared in schema");
    }
  }

  void items(const Type& t, const json::array& a, const std::string& path) {
    std::vector<std::string> seen;
    for (size_t i = 0; i < a.size(); ++i) {
      if (t.list == ListKind::atomic) {
        walk(*t.element, a[i], fmt::format("{}[{}]", path, i));
        continue;
      }
      if (t.list == ListKind::map) {
        if (!a[i].is_object()) continue;
        if (list_element(t, a[i]).empty()) {
          problems_.push_back(
              fmt::format("{}: element {}: associative list with keys has an element that omits all key fields [\"{}\"] (and doesn't have "
                          "default values for any key)",
                          path, i, fmt::join(t.keys, "\" \"")));
          continue;
        }
      }
      std::string element = list_element(t, a[i]);
      std::string here = path + element_path(element);
      if (std::find(seen.begin(), seen.end(), element) != seen.end()) {
        problems_.push_back(fmt::format("{}: duplicate entries for key {}", path, element_path(element)));
        continue;
      }
      seen.push_back(std::move(element));
      walk(*t.element, a[i], here);
    }
  }

  std::vector<std::string> problems_;
};

}  // namespace

std::string check_applied(const Type& type, const json::value& applied) {
  AppliedCheck check;
  check.walk(type, applied, {});
  return check.text();
}

}  // namespace api
