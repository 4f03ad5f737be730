// Custom resources against the OpenAPI v3 schema of their definition.
#include <re2/re2.h>

#include <algorithm>
#include <cmath>

#include "api/validate_names.h"
#include "api/validation/checker.h"
#include "base/bytes.h"
#include "base/time.h"

namespace api::validation {
namespace {

namespace json = base::json;

std::string_view type_of(const value& v) {
  switch (v.kind()) {
    case json::kind::null: return "null";
    case json::kind::bool_: return "boolean";
    case json::kind::string: return "string";
    case json::kind::array: return "array";
    case json::kind::object: return "object";
    case json::kind::double_: return "number";
    default: return "integer";
  }
}

bool is_type(const value& v, std::string_view type) {
  if (type == "number") return v.is_number();
  if (type == "integer") return v.is_int64() || v.is_uint64() || (v.is_double() && std::trunc(v.get_double()) == v.get_double());
  return type_of(v) == type;
}

size_t code_points(std::string_view s) {
  return static_cast<size_t>(std::count_if(s.begin(), s.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

std::string number_text(const value& v) {
  if (const double* d = v.if_double()) return fmt::format("{}", *d);
  return base::to_text(v);
}

bool good_format(std::string_view format, std::string_view s) {
  if (format == "date-time" || format == "datetime") return base::parse_moment(s).has_value();
  if (format == "date") return s.size() == 10 && base::parse_moment(fmt::format("{}T00:00:00Z", s)).has_value();
  if (format == "ipv4") return check_ip(s).empty() && !is_ipv6(s);
  if (format == "ipv6") return is_ipv6(s);
  if (format == "cidr") return check_cidr(s).empty();
  if (format == "byte") return base::base64_decode(s).has_value();
  if (format == "uuid") {
    static const RE2 uuid("(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$");
    return RE2::FullMatch(re2::StringPiece(s.data(), s.size()), uuid);
  }
  return true;
}

class Evaluator {
 public:
  explicit Evaluator(Checker& c) : c_(c) {}

  void run(const object& schema, const value& v, const std::string& path, int depth, bool root = false) {
    if (depth > 64) return;
    if (v.is_null() && flag(schema, "nullable")) return;
    if (flag(schema, "x-kubernetes-int-or-string")) {
      if (!v.is_string() && !is_type(v, "integer")) {
        c_.invalid_text(path, type_of(v), fmt::format("{} in body must be of type int or string: \"{}\"", path, type_of(v)));
        return;
      }
    } else if (std::string_view type = text(schema, "type"); !type.empty() && !is_type(v, type)) {
      c_.causes.push_back({"FieldValueTypeInvalid",
                           fmt::format("Invalid value: \"{}\": {} in body must be of type {}: \"{}\"", type_of(v), path, type, type_of(v)),
                           path});
      return;
    }
    if (v.is_string()) string(schema, v.get_string(), path);
    else if (v.is_number()) number_rules(schema, v, path);
    else if (v.is_array()) items(schema, v.get_array(), path, depth);
    else if (v.is_object()) members(schema, v.get_object(), path, depth, root);
    enumeration(schema, v, path);
    combined(schema, v, path, depth);
  }

 private:
  static std::string join(const std::string& path, std::string_view name) {
    return path.empty() ? std::string(name) : fmt::format("{}.{}", path, name);
  }

  void enumeration(const object& schema, const value& v, const std::string& path) {
    const array& allowed = list(schema, "enum");
    if (allowed.empty() || std::find(allowed.begin(), allowed.end(), v) != allowed.end()) return;
    std::vector<std::string> texts;
    for (const value& a : allowed) texts.push_back(a.is_string() ? std::string(a.get_string()) : base::to_text(a));
    std::string bad = v.is_string() ? std::string(v.get_string()) : base::to_text(v);
    c_.unsupported(path, bad, {texts.begin(), texts.end()});
  }

  void string(const object& schema, std::string_view s, const std::string& path) {
    size_t n = code_points(s);
    if (has(schema, "maxLength") && static_cast<int64_t>(n) > number(schema, "maxLength")) {
      c_.too_long(path, static_cast<size_t>(number(schema, "maxLength")));
    }
    if (static_cast<int64_t>(n) < number(schema, "minLength")) {
      c_.invalid_text(path, s, fmt::format("{} in body should be at least {} chars long", path, number(schema, "minLength")));
    }
    if (std::string_view pattern = text(schema, "pattern"); !pattern.empty()) {
      RE2 re(re2::StringPiece(pattern.data(), pattern.size()), RE2::Quiet);
      if (re.ok() && !RE2::PartialMatch(re2::StringPiece(s.data(), s.size()), re)) {
        c_.invalid_text(path, s, fmt::format("{} in body should match '{}'", path, pattern));
      }
    }
    if (std::string_view format = text(schema, "format"); !format.empty() && !good_format(format, s)) {
      c_.invalid_text(path, s, fmt::format("{} in body must be of type {}: \"{}\"", path, format, s));
    }
  }

  void number_rules(const object& schema, const value& v, const std::string& path) {
    double n = v.to_number<double>();
    if (const value* most = schema.if_contains("maximum"); most && most->is_number()) {
      bool open = flag(schema, "exclusiveMaximum");
      double limit = most->to_number<double>();
      if (n > limit || (open && n == limit)) {
        c_.invalid(path, v, fmt::format("{} in body should be less than {}{}", path, open ? "" : "or equal to ", number_text(*most)));
      }
    }
    if (const value* least = schema.if_contains("minimum"); least && least->is_number()) {
      bool open = flag(schema, "exclusiveMinimum");
      double limit = least->to_number<double>();
      if (n < limit || (open && n == limit)) {
        c_.invalid(path, v, fmt::format("{} in body should be greater than {}{}", path, open ? "" : "or equal to ", number_text(*least)));
      }
    }
    if (const value* factor = schema.if_contains("multipleOf"); factor && factor->is_number()) {
      double f = factor->to_number<double>();
      if (f > 0 && std::abs(n / f - std::round(n / f)) > 1e-9) {
        c_.invalid(path, v, fmt::format("{} in body should be a multiple of {}", path, number_text(*factor)));
      }
    }
  }

  void items(const object& schema, const array& a, const std::string& path, int depth) {
    auto count = static_cast<int64_t>(a.size());
    if (has(schema, "maxItems") && count > number(schema, "maxItems")) {
      c_.too_many(path, a.size(), static_cast<size_t>(number(schema, "maxItems")));
    }
    if (count < number(schema, "minItems")) {
      c_.invalid(path, value(count), fmt::format("{} in body should have at least {} items", path, number(schema, "minItems")));
    }
    std::string_view kind = text(schema, "x-kubernetes-list-type");
    if (kind == "set" || flag(schema, "uniqueItems")) unique(a, path, {});
    if (kind == "map") unique(a, path, list(schema, "x-kubernetes-list-map-keys"));
    const object& item = map(schema, "items");
    for (size_t i = 0; i < a.size(); ++i) run(item, a[i], fmt::format("{}[{}]", path, i), depth + 1);
  }

  void unique(const array& a, const std::string& path, const array& keys) {
    for (size_t i = 1; i < a.size(); ++i) {
      for (size_t j = 0; j < i; ++j) {
        bool same = keys.empty() ? a[i] == a[j] : std::all_of(keys.begin(), keys.end(), [&](const value& k) {
          const value* x = as_object(a[i]).if_contains(as_text(k));
          const value* y = as_object(a[j]).if_contains(as_text(k));
          return x && y && *x == *y;
        });
        if (!same) continue;
        c_.duplicate(fmt::format("{}[{}]", path, i), a[i]);
        break;
      }
    }
  }

  void members(const object& schema, const object& o, const std::string& path, int depth, bool root) {
    for (const value& r : list(schema, "required")) {
      if (!o.contains(as_text(r))) c_.required(join(path, as_text(r)));
    }
    auto count = static_cast<int64_t>(o.size());
    if (has(schema, "maxProperties") && count > number(schema, "maxProperties")) {
      c_.too_many(path, o.size(), static_cast<size_t>(number(schema, "maxProperties")));
    }
    if (count < number(schema, "minProperties")) {
      c_.invalid(path, value(count), fmt::format("{} in body should have at least {} properties", path, number(schema, "minProperties")));
    }
    const object& properties = map(schema, "properties");
    const value* additional = schema.if_contains("additionalProperties");
    for (const auto& [key, v] : o) {
      if (root && (key == "apiVersion" || key == "kind" || key == "metadata")) continue;
      if (const value* s = properties.if_contains(key)) {
        if (s->is_object()) run(s->get_object(), v, join(path, key), depth + 1);
      } else if (additional && additional->is_object()) {
        run(additional->get_object(), v, join(path, key), depth + 1);
      }
    }
  }

  bool holds(const value& schema, const value& v, const std::string& path, int depth) {
    Checker trial;
    if (schema.is_object()) Evaluator(trial).run(schema.get_object(), v, path, depth + 1);
    return trial.causes.empty();
  }

  void combined(const object& schema, const value& v, const std::string& path, int depth) {
    for (const value& s : list(schema, "allOf")) {
      if (s.is_object()) run(s.get_object(), v, path, depth + 1);
    }
    auto matching = [&](std::string_view name) {
      const array& all = list(schema, name);
      return std::count_if(all.begin(), all.end(), [&](const value& s) { return holds(s, v, path, depth); });
    };
    // int-or-string nodes state their two types again in anyOf.
    if (!list(schema, "anyOf").empty() && matching("anyOf") == 0) {
      c_.invalid(path, v, fmt::format("{} in body must validate at least one schema (anyOf)", path));
    }
    if (!list(schema, "oneOf").empty() && matching("oneOf") != 1) {
      c_.invalid(path, v, fmt::format("{} in body must validate one and only one schema (oneOf)", path));
    }
    if (const value* no = schema.if_contains("not"); no && holds(*no, v, path, depth)) {
      c_.invalid(path, v, fmt::format("{} in body must not validate the schema (not)", path));
    }
  }

  Checker& c_;
};

}  // namespace

void check_custom(Checker& c, const object& schema, const value& v) { Evaluator(c).run(schema, v, {}, 0, true); }

}  // namespace api::validation
