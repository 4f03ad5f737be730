#include "api/validation/checker.h"

#include <algorithm>

#include "api/validate_names.h"

namespace api::validation {

namespace json = base::json;

namespace {
std::string shown(const value& v) { return base::to_text(v); }
std::string shown(std::string_view s) { return base::to_text(value(json::string_view(s.data(), s.size()))); }
}  // namespace

void Checker::required(std::string path, std::string_view detail) {
  causes.push_back({"FieldValueRequired", detail.empty() ? "Required value" : fmt::format("Required value: {}", detail), std::move(path)});
}
void Checker::invalid(std::string path, const value& bad, std::string_view detail) {
  causes.push_back({"FieldValueInvalid", fmt::format("Invalid value: {}: {}", shown(bad), detail), std::move(path)});
}
void Checker::invalid_text(std::string path, std::string_view bad, std::string_view detail) {
  causes.push_back({"FieldValueInvalid", fmt::format("Invalid value: {}: {}", shown(bad), detail), std::move(path)});
}
void Checker::unsupported(std::string path, std::string_view bad, std::vector<std::string_view> supported) {
  std::sort(supported.begin(), supported.end());
  std::string known;
  for (std::string_view s : supported) known += (known.empty() ? "" : ", ") + shown(s);
  causes.push_back(
      {"FieldValueNotSupported", fmt::format("Unsupported value: {}: supported values: {}", shown(bad), known), std::move(path)});
}
void Checker::duplicate(std::string path, std::string_view bad) {
  causes.push_back({"FieldValueDuplicate", fmt::format("Duplicate value: {}", shown(bad)), std::move(path)});
}
void Checker::duplicate(std::string path, const value& bad) {
  causes.push_back({"FieldValueDuplicate", fmt::format("Duplicate value: {}", shown(bad)), std::move(path)});
}
void Checker::forbidden(std::string path, std::string_view detail) {
  causes.push_back({"FieldValueForbidden", fmt::format("Forbidden: {}", detail), std::move(path)});
}
void Checker::not_found(std::string path, std::string_view bad) {
  causes.push_back({"FieldValueNotFound", fmt::format("Not found: {}", shown(bad)), std::move(path)});
}
void Checker::too_long(std::string path, size_t max) {
  causes.push_back({"FieldValueTooLong", fmt::format("Too long: may not be more than {} bytes", max), std::move(path)});
}
void Checker::too_many(std::string path, size_t count, size_t max) {
  causes.push_back({"FieldValueTooMany", fmt::format("Too many: {}: must have at most {} items", count, max), std::move(path)});
}

void Checker::wrong_type(std::string path, const value& bad, std::string_view detail) {
  causes.push_back({"FieldValueTypeInvalid", fmt::format("Invalid value: {}: {}", shown(bad), detail), std::move(path)});
}

void Checker::check_text(std::string path, std::string_view text, const std::string& problem) {
  if (!problem.empty()) invalid_text(std::move(path), text, problem);
}

void Checker::non_negative(const object& o, std::string_view name, const std::string& path) {
  const value* v = o.if_contains(name);
  if (v && v->is_int64() && v->get_int64() < 0) invalid(fmt::format("{}.{}", path, name), *v, "must be greater than or equal to 0");
}

void Checker::port(const std::string& path, int64_t number) {
  if (std::string e = check_port(number); !e.empty()) invalid(path, value(number), e);
}

void Checker::immutable(const object& before, const object& after, std::string_view name, const std::string& path,
                        std::string_view detail) {
  static const value none;
  const value* a = after.if_contains(name);
  if (!same(before, after, name)) invalid(path, a ? *a : none, detail);
}

std::string_view text(const object& o, std::string_view name) {
  const value* v = o.if_contains(name);
  return v && v->is_string() ? std::string_view(v->get_string()) : std::string_view();
}
int64_t number(const object& o, std::string_view name, int64_t otherwise) {
  const value* v = o.if_contains(name);
  return v && v->is_int64() ? v->get_int64() : otherwise;
}
bool flag(const object& o, std::string_view name) {
  const value* v = o.if_contains(name);
  return v && v->is_bool() && v->get_bool();
}
bool has(const object& o, std::string_view name) {
  const value* v = o.if_contains(name);
  return v && !v->is_null();
}
const object& map(const object& o, std::string_view name) {
  const value* v = o.if_contains(name);
  return v ? as_object(*v) : as_object(value());
}
const array& list(const object& o, std::string_view name) {
  static const array none;
  const value* v = o.if_contains(name);
  return v && v->is_array() ? v->get_array() : none;
}
const object& as_object(const value& v) {
  static const object none;
  return v.is_object() ? v.get_object() : none;
}
std::string_view as_text(const value& v) { return v.is_string() ? std::string_view(v.get_string()) : std::string_view(); }

std::vector<std::string_view> present(const object& o, std::initializer_list<std::string_view> names) {
  std::vector<std::string_view> out;
  for (std::string_view n : names) {
    if (has(o, n)) out.push_back(n);
  }
  return out;
}

bool same(const object& before, const object& after, std::string_view name) {
  static const value none;
  const value* b = before.if_contains(name);
  const value* a = after.if_contains(name);
  return (b ? *b : none) == (a ? *a : none);
}

void check_labels(Checker& c, const object& labels, const std::string& path) {
  for (const auto& [key, v] : labels) {
    c.check_text(path, key, check_qualified_name(key));
    c.check_text(path, as_text(v), check_label_value(as_text(v)));
  }
}

void check_label_selector(Checker& c, const object& selector, const std::string& path) {
  check_labels(c, map(selector, "matchLabels"), path + ".matchLabels");
  const array& expressions = list(selector, "matchExpressions");
  for (size_t i = 0; i < expressions.size(); ++i) {
    const object& e = as_object(expressions[i]);
    std::string at = fmt::format("{}.matchExpressions[{}]", path, i);
    std::string_view op = text(e, "operator");
    bool values = !list(e, "values").empty();
    if (op == "In" || op == "NotIn") {
      if (!values) c.required(at + ".values", "must be specified when `operator` is 'In' or 'NotIn'");
    } else if (op == "Exists" || op == "DoesNotExist") {
      if (values) c.forbidden(at + ".values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
    } else if (!op.empty()) {
      c.invalid_text(at + ".operator", op, "not a valid selector operator");
    }
    c.check_text(at + ".key", text(e, "key"), check_qualified_name(text(e, "key")));
    for (const value& v : list(e, "values")) c.check_text(at + ".values", as_text(v), check_label_value(as_text(v)));
  }
}

}  // namespace api::validation
