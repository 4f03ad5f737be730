// What the schema text declares of fields, checked in one walk over an object and its type.
#include <algorithm>
#include <set>

#include "api/validate_names.h"
#include "api/validation/rules.h"

namespace api::validation {
namespace {

struct Format {
  std::string_view name;
  std::string (*check)(std::string_view);
};
constexpr Format formats[] = {
    {"label", check_dns1123_label},   {"subdomain", check_dns1123_subdomain}, {"dns1035", check_dns1035_label}, {"qualified", check_qualified_name},
    {"labelvalue", check_label_value}, {"segment", check_path_segment},       {"configkey", check_config_key},   {"envname", check_env_name},
    {"portname", check_port_name},     {"ip", check_ip},                      {"cidr", check_cidr},              {"wildcard", check_wildcard_subdomain},
    {"domainpath", check_domain_path}, {"csidriver", check_csi_driver},       {"sysctl", check_sysctl},          {"cidentifier", check_c_identifier},
    {"absolute", check_absolute_path}, {"uuid", check_uuid},
};

std::string problem(std::string_view format, std::string_view text) {
  for (const Format& f : formats) {
    if (f.name == format) return f.check(text);
  }
  return {};
}

bool is_absent(const Field& f, const value* v) {
  if (!v || v->is_null()) return f.type->form == Form::string || f.type->form == Form::bytes || f.type->form >= Form::object;
  if (v->is_string()) return (f.type->form == Form::string || f.type->form == Form::bytes) && v->get_string().empty();
  return f.type->form == Form::list && v->is_array() && v->get_array().empty();
}

class Walk {
 public:
  Walk(Checker& c, bool status) : c_(c), status_(status) {}

  void object_of(const Type& t, const object* before, const object& o, const std::string& path) {
    for (const Field& f : t.fields) {
      const bool is_status = path.empty() && f.name == "status";
      if (path.empty() && (f.name == "metadata" || is_status != status_)) continue;
      if (!path.empty() && f.name == "metadata" && f.type == &Schema::object_meta()) continue;
      member(f, before, o, path);
    }
    if (status_) return;
    if (const TypeRule* r = rule_of(t)) r->check(c_, o, path);
  }

 private:
  static std::string join(const std::string& path, std::string_view name) {
    return path.empty() ? std::string(name) : fmt::format("{}.{}", path, name);
  }

  void member(const Field& f, const object* before, const object& o, const std::string& path) {
    const value* v = o.if_contains(f.name);
    const Constraint* k = f.constraint;
    if (!status_ && f.required && is_absent(f, v) && !(k && k->empty_ok)) {
      c_.required(join(path, f.name), k ? k->why : std::string_view());
      return;
    }
    if (f.immutable && before && !status_ && !same(*before, o, f.name)) {
      c_.invalid(join(path, f.name), v ? *v : value(), "field is immutable");
    }
    if (k) constraint(f, *k, v, path);
    if (!v || (!v->is_structured() && (f.type->values.empty() || (k && k->open)))) return;
    // A template may change: what is immutable in an object of its own is not so there.
    const object* old = before && !f.name.ends_with("emplate") ? &map(*before, f.name) : nullptr;
    any(*f.type, old, *v, join(path, f.name));
  }

  void any(const Type& t, const object* before, const value& v, const std::string& path) {
    switch (t.form) {
      case Form::object:
        if (const object* o = v.if_object()) object_of(t, before, *o, path);
        return;
      case Form::list:
        if (const array* a = v.if_array(); a && (t.element->form >= Form::object || !t.element->values.empty())) {
          for (size_t i = 0; i < a->size(); ++i) any(*t.element, nullptr, (*a)[i], fmt::format("{}[{}]", path, i));
        }
        return;
      case Form::map:
        if (const object* o = v.if_object(); o && (t.element->form >= Form::object || !t.element->values.empty())) {
          for (const auto& [key, e] : *o) any(*t.element, nullptr, e, fmt::format("{}[{}]", path, std::string_view(key)));
        }
        return;
      case Form::string: {
        std::string_view s = as_text(v);
        if (status_ || s.empty() || t.values.empty() || std::find(t.values.begin(), t.values.end(), s) != t.values.end()) return;
        std::vector<std::string_view> known;
        std::copy_if(t.values.begin(), t.values.end(), std::back_inserter(known), [](std::string_view k) { return !k.empty(); });
        c_.unsupported(path, s, std::move(known));
        return;
      }
      default: return;
    }
  }

  void constraint(const Field& f, const Constraint& k, const value* v, const std::string& path) {
    if (k.min != INT64_MIN || k.max != INT64_MAX) {
      const value zero(int64_t{0});
      if (!v && f.required) v = &zero;
      if (v && v->is_int64()) number(k, v->get_int64(), join(path, f.name));
    }
    if (!v) return;
    std::string at = join(path, f.name);
    if (v->is_string()) text(k, v->get_string(), at);
    else if (const array* a = v->if_array()) list(k, *a, at);
    else if (const object* o = v->if_object()) map_of(k, *o, at);
  }

  void number(const Constraint& k, int64_t n, const std::string& at) {
    if (n >= k.min && n <= k.max) return;
    if (!k.says.empty()) c_.invalid(at, value(n), k.says);
    else if (k.max != INT64_MAX) c_.invalid(at, value(n), fmt::format("must be between {} and {}, inclusive", k.min, k.max));
    else if (k.above) c_.invalid(at, value(n), fmt::format("must be greater than {}", k.min - 1));
    else c_.invalid(at, value(n), fmt::format("must be greater than or equal to {}", k.min));
  }

  void text(const Constraint& k, std::string_view s, const std::string& at) {
    if (s.empty()) return;
    if (k.max_length != 0 && s.size() > k.max_length) c_.too_long(at, k.max_length);
    else if (!k.format.empty()) formatted(k, k.format, s, at);
  }

  void formatted(const Constraint& k, std::string_view format, std::string_view s, const std::string& at) {
    std::string wrong = problem(format, s);
    if (!wrong.empty()) c_.invalid_text(at, s, k.says.empty() ? std::string_view(wrong) : k.says);
  }

  void list(const Constraint& k, const array& a, const std::string& at) {
    if (k.max_items != 0 && a.size() > k.max_items) {
      c_.too_many(at, a.size(), k.max_items);
      return;
    }
    std::set<std::string_view> seen;
    for (size_t i = 0; i < a.size(); ++i) {
      std::string here = fmt::format("{}[{}]", at, i);
      if (a[i].is_string() && k.max_length != 0 && a[i].get_string().size() > k.max_length) c_.too_long(here, k.max_length);
      else if (a[i].is_string() && !k.format.empty()) formatted(k, k.format, a[i].get_string(), here);
      else if (a[i].is_int64()) number(k, a[i].get_int64(), here);
      if (k.unique.empty()) continue;
      bool element = k.unique == ".";
      std::string_view key = element ? as_text(a[i]) : validation::text(as_object(a[i]), k.unique);
      if (key.empty() || seen.insert(key).second) continue;
      c_.duplicate(element ? here : fmt::format("{}.{}", here, k.unique), key);
    }
  }

  void map_of(const Constraint& k, const object& o, const std::string& at) {
    if (k.max_items != 0 && o.size() > k.max_items) c_.too_many(at, o.size(), k.max_items);
    for (const auto& [key, v] : o) {
      std::string_view name = key;
      if (!k.format.empty()) formatted(k, k.format, name, k.values.empty() ? fmt::format("{}[{}]", at, name) : at);
      if (!k.values.empty() && v.is_string()) formatted(k, k.values, v.get_string(), at);
    }
  }

  Checker& c_;
  const bool status_;
};

}  // namespace

void check_declared(Checker& c, const Type& type, const object* before, const value& v, Declared what) {
  if (const object* o = v.if_object()) Walk(c, what.status).object_of(type, before, *o, {});
}

}  // namespace api::validation
