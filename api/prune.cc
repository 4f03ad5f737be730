#include "api/prune.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "api/quantity.h"
#include "base/bytes.h"
#include "base/time.h"

namespace api {
namespace {

namespace json = base::json;

// Where the walk is; a chain on the stack, made into text only for messages.
struct Path {
  const Path* up = nullptr;
  std::string_view name;
  size_t index = SIZE_MAX;
  bool map_key = false;

  // spec.containers[0].name
  std::string text() const {
    std::string s = up ? up->text() : std::string();
    if (index != SIZE_MAX) return s + fmt::format("[{}]", index);
    if (!s.empty() && !name.empty()) s += '.';
    return s.append(name);
  }
  // spec.containers.name, without keys of maps
  std::string go_text() const {
    std::string s = up ? up->go_text() : std::string();
    if (index != SIZE_MAX || map_key || name.empty()) return s;
    if (!s.empty()) s += '.';
    return s.append(name);
  }
};

std::string go_type(const Type& t) {
  switch (t.form) {
    case Form::boolean: return "bool";
    case Form::int32: return "int32";
    case Form::int64: return "int64";
    case Form::float64: return "float64";
    case Form::list: return "[]" + go_type(*t.element);
    case Form::map: return "map[string]" + go_type(*t.element);
    case Form::bytes: return "[]uint8";
    case Form::object: {
      std::string_view version = t.package.substr(t.package.rfind('.') + 1);
      return fmt::format("{}.{}", version, t.name);
    }
    default: return t.values.empty() ? "string" : "v1." + t.name;
  }
}

std::string json_kind(const json::value& v) {
  switch (v.kind()) {
    case json::kind::string: return "string";
    case json::kind::bool_: return "bool";
    case json::kind::array: return "array";
    case json::kind::object: return "object";
    case json::kind::double_: return "number " + base::to_text(v);
    default: return "number";
  }
}

// 0.5, not 5E-1: the notation decides a quantity's format.
std::string number_text(const json::value& v) {
  const double* d = v.if_double();
  return d ? fmt::format("{}", *d) : base::to_text(v);
}

class Pruner {
 public:
  // Custom resources leave wrong types to the validation by their schema.
  Pruner(std::vector<std::string>& problems, bool custom) : problems_(problems), custom_(custom) {}

  base::Result<> walk(const Type& t, json::value& v, const Path& path, std::string_view in) {
    if (v.is_null() || (custom_ && !v.is_structured() && t.package.empty())) return {};
    if (custom_ && t.package.empty() && (t.form < Form::object || v.is_array() != (t.form == Form::list))) return {};
    switch (t.form) {
      case Form::string:
      case Form::duration: return v.is_string() ? base::Result<>() : wrong(t, v, path, in);
      case Form::bytes: {
        if (!v.is_string()) return wrong(t, v, path, in);
        if (!base::base64_decode(v.get_string())) return base::bad_request("illegal base64 data at input byte 0");
        return {};
      }
      case Form::time:
      case Form::micro_time: return time(v);
      case Form::quantity: return quantity(v);
      case Form::boolean: return v.is_bool() ? base::Result<>() : wrong(t, v, path, in);
      case Form::int32:
      case Form::int64: return integer(t, v, path, in);
      case Form::float64: return v.is_number() ? base::Result<>() : wrong(t, v, path, in);
      case Form::int_or_string:
        if (v.is_string() || v.is_int64()) return {};
        return base::bad_request(fmt::format("json: cannot unmarshal {} into Go value of type int32", json_kind(v)));
      case Form::any:
      case Form::json_or_union:
      case Form::raw_extension: return {};
      case Form::object: return object(t, v, path, in);
      case Form::list: {
        json::array* a = v.if_array();
        if (!a) return wrong(t, v, path, in);
        for (size_t i = 0; i < a->size(); ++i) CHECK_OK(walk(*t.element, (*a)[i], Path{&path, {}, i}, in));
        return {};
      }
      case Form::map: {
        json::object* o = v.if_object();
        if (!o) return wrong(t, v, path, in);
        for (auto& [key, value] : *o) CHECK_OK(walk(*t.element, value, Path{&path, std::string_view(key), SIZE_MAX, true}, in));
        return {};
      }
    }
    return {};
  }

 private:
  base::Result<> object(const Type& t, json::value& v, const Path& path, std::string_view in) {
    json::object* o = v.if_object();
    if (!o) return wrong(t, v, path, in);
    std::vector<std::string> unknown;
    size_t next = 0;
    for (auto& [key, value] : *o) {
      std::string_view name(key);
      const Field* field = nullptr;
      for (size_t i = 0; i < t.fields.size() && !field; ++i) {
        const Field& f = t.fields[(next + i) % t.fields.size()];
        if (f.name == name) field = &f;
      }
      Path here{&path, name};
      if (field) {
        next = static_cast<size_t>(field - t.fields.data()) + 1;
        CHECK_OK(walk(*field->type, value, here, t.name));
      } else if (t.has_kind && (name == "apiVersion" || name == "kind")) {
        if (!value.is_string() && !value.is_null()) return wrong(string_type(), value, here, t.name);
      } else if (t.embedded_resource && name == "metadata") {
        CHECK_OK(walk(Schema::object_meta(), value, here, t.name));
      } else if (!t.preserve_unknown) {
        unknown.emplace_back(name);
        problems_.push_back(fmt::format("unknown field \"{}\"", here.text()));
      }
    }
    for (const std::string& name : unknown) o->stable_erase(o->find(name));
    return {};
  }

  static const Type& string_type() {
    static const Type t = [] {
      Type s;
      s.form = Form::string;
      return s;
    }();
    return t;
  }

  static base::Failure wrong(const Type& t, const json::value& v, const Path& path, std::string_view in) {
    std::string where = path.go_text();
    if (where.empty())
      return base::bad_request(fmt::format("json: cannot unmarshal {} into Go value of type {}", json_kind(v), go_type(t)));
    return base::bad_request(
        fmt::format("json: cannot unmarshal {} into Go struct field {}.{} of type {}", json_kind(v), in, where, go_type(t)));
  }

  static base::Result<> integer(const Type& t, json::value& v, const Path& path, std::string_view in) {
    if (const double* d = v.if_double(); d && std::abs(*d) < 9.2e18 && *d == static_cast<double>(static_cast<int64_t>(*d)))
      v = static_cast<int64_t>(*d);
    const int64_t* n = v.if_int64();
    if (!n) return wrong(t, v, path, in);
    if (t.form == Form::int32 && (*n > INT32_MAX || *n < INT32_MIN)) {
      return base::bad_request(
          fmt::format("json: cannot unmarshal number {} into Go struct field {}.{} of type int32", *n, in, path.go_text()));
    }
    return {};
  }

  static base::Result<> time(const json::value& v) {
    if (!v.is_string()) return base::bad_request(fmt::format("json: cannot unmarshal {} into Go value of type string", json_kind(v)));
    std::string_view text = v.get_string();
    if (text.empty() || base::parse_moment(text)) return {};
    return base::bad_request(fmt::format(
        "parsing time \"{}\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"{}\" as \"2006\"", text, text));
  }

  static base::Result<> quantity(const json::value& v) {
    std::string number;
    std::string_view text;
    if (v.is_number()) {
      number = number_text(v);
      text = number;
    } else if (v.is_string()) {
      text = v.get_string();
    } else {
      return base::bad_request(R"(quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$')");
    }
    auto q = Quantity::parse(text);
    if (!q) return std::unexpected(q.error());
    return {};
  }

  std::vector<std::string>& problems_;
  bool custom_;
};

// Walks over text that is known to be well-formed JSON and tells every member with its path, in the order of the text.
class MemberWalk {
 public:
  using Seen = std::function<void(const Path& path, bool again)>;
  MemberWalk(std::string_view text, Seen seen) : text_(text), seen_(std::move(seen)) {}
  void run() { value({}); }

 private:
  void blank() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t' || text_[at_] == '\r')) ++at_;
  }
  std::string_view string() {
    size_t start = ++at_;
    while (at_ < text_.size() && text_[at_] != '"') at_ += text_[at_] == '\\' ? 2 : 1;
    std::string_view s = text_.substr(start, at_ - start);
    ++at_;
    return s;
  }
  void value(const Path& path) {
    blank();
    if (at_ >= text_.size()) return;
    if (text_[at_] == '{') return object(path);
    if (text_[at_] == '[') {
      ++at_;
      for (size_t i = 0;; ++i) {
        blank();
        if (at_ >= text_.size() || text_[at_] == ']') break;
        value(Path{&path, {}, i});
        blank();
        if (at_ < text_.size() && text_[at_] == ',') ++at_;
      }
      ++at_;
    } else if (text_[at_] == '"') {
      string();
    } else {
      while (at_ < text_.size() && text_[at_] != ',' && text_[at_] != '}' && text_[at_] != ']') ++at_;
    }
  }
  void object(const Path& path) {
    std::vector<std::string_view> keys;
    ++at_;
    for (;;) {
      blank();
      if (at_ >= text_.size() || text_[at_] != '"') break;
      std::string_view key = string();
      seen_(Path{&path, key}, false);
      keys.push_back(key);
      blank();
      ++at_;  // colon
      value(Path{&path, key});
      blank();
      if (at_ < text_.size() && text_[at_] == ',') ++at_;
    }
    ++at_;
    std::sort(keys.begin(), keys.end());
    for (size_t i = 1; i < keys.size(); ++i) {
      if (keys[i] == keys[i - 1] && (i < 2 || keys[i] != keys[i - 2])) seen_(Path{&path, keys[i]}, true);
    }
  }

  std::string_view text_;
  Seen seen_;
  size_t at_ = 0;
};

std::string duplicate(const Path& path) { return fmt::format("duplicate field \"{}\"", path.text()); }

bool dropped(const Field& f, const json::value& v) {
  if (v.is_null()) return !f.nullable && f.type->form != Form::any;
  if (f.required || f.keep_empty) return false;
  switch (f.type->form) {
    case Form::string:
    case Form::bytes:
    case Form::time:
    case Form::micro_time: return v.is_string() && v.get_string().empty();
    case Form::list: return v.is_array() && v.get_array().empty();
    case Form::map: return v.is_object() && v.get_object().empty();
    case Form::boolean: return f.omit_zero && v.is_bool() && !v.get_bool();
    case Form::int32:
    case Form::int64:
    case Form::float64: return f.omit_zero && v.is_number() && v.to_number<double>() == 0;
    default: return false;
  }
}

}  // namespace

base::Result<FieldValidation> parse_field_validation(std::string_view text) {
  if (text.empty() || text == "Warn") return FieldValidation::warn;
  if (text == "Strict") return FieldValidation::strict;
  if (text == "Ignore") return FieldValidation::ignore;
  return base::bad_request(
      fmt::format("fieldValidation: Unsupported value: \"{}\": supported values: \"Ignore\", \"Strict\", \"Warn\"", text));
}

base::Result<json::value> parse_json_strictly(std::string_view text, std::vector<std::string>& problems, json::storage_ptr storage) {
  TRY(json::value v, base::parse_json(text, 64, std::move(storage)));
  MemberWalk(text, [&](const Path& path, bool again) {
    if (again) problems.push_back(duplicate(path));
  }).run();
  return v;
}

void order_problems(std::string_view text, std::vector<std::string>& problems) {
  if (problems.size() < 2) return;
  std::vector<std::string> ordered;
  auto take = [&](const std::string& problem) {
    auto it = std::find(problems.begin(), problems.end(), problem);
    if (it == problems.end()) return;
    ordered.push_back(std::move(*it));
    problems.erase(it);
  };
  std::vector<std::string> seen;
  MemberWalk(text, [&](const Path& path, bool again) {
    if (again || problems.empty()) return;
    std::string where = path.text();
    take(fmt::format("unknown field \"{}\"", where));
    if (std::find(seen.begin(), seen.end(), where) != seen.end()) take(duplicate(path));
    else if (std::find(problems.begin(), problems.end(), duplicate(path)) != problems.end()) seen.push_back(std::move(where));
  }).run();
  ordered.insert(ordered.end(), std::make_move_iterator(problems.begin()), std::make_move_iterator(problems.end()));
  problems = std::move(ordered);
}

base::Result<> prune(const Kind& kind, json::value& object, std::vector<std::string>& problems) {
  if (auto r = Pruner(problems, kind.type->constraints != nullptr).walk(*kind.type, object, Path{}, kind.kind); !r) {
    return base::bad_request(
        fmt::format("{} in version \"{}\" cannot be handled as a {}: {}", kind.kind, kind.version, kind.kind, r.error().message));
  }
  return {};
}

base::Result<> prune(const Type& type, json::value& part, std::string_view path, std::vector<std::string>& problems) {
  return Pruner(problems, type.constraints != nullptr).walk(type, part, Path{nullptr, path}, type.name);
}

void normalise(const Type& type, json::value& v) {
  switch (type.form) {
    case Form::object: {
      json::object* o = v.if_object();
      if (!o) return;
      std::vector<std::string_view> gone;
      for (auto& [key, value] : *o) {
        const Field* f = type.field(std::string_view(key));
        if (!f) continue;
        normalise(*f->type, value);
        if (dropped(*f, value)) gone.push_back(f->name);
      }
      for (std::string_view name : gone) o->stable_erase(o->find(name));
      return;
    }
    case Form::list:
      if (json::array* a = v.if_array()) {
        for (json::value& e : *a) normalise(*type.element, e);
      }
      return;
    case Form::map:
      if (json::object* o = v.if_object()) {
        for (auto& [key, value] : *o) normalise(*type.element, value);
      }
      return;
    case Form::quantity: {
      std::string text = v.is_string() ? std::string(v.get_string()) : v.is_number() ? number_text(v) : std::string();
      if (auto q = Quantity::parse(text)) {
        std::string canonical = q->to_string();
        if (!v.is_string() || canonical != text) v = canonical;
      }
      return;
    }
    case Form::time:
      if (v.is_string() && !(v.get_string().size() == 20 && v.get_string().back() == 'Z')) {
        if (auto t = base::parse_moment(v.get_string())) v = base::rfc3339(*t);
      }
      return;
    case Form::micro_time:
      if (v.is_string() && !(v.get_string().size() == 27 && v.get_string().back() == 'Z')) {
        if (auto t = base::parse_moment(v.get_string())) v = base::rfc3339_micro(*t);
      }
      return;
    default: return;
  }
}

base::Result<> enforce(FieldValidation mode, const Kind& kind, const std::vector<std::string>& problems) {
  if (mode != FieldValidation::strict || problems.empty()) return {};
  // What the YAML reader found is one error of several lines.
  std::string text;
  for (const std::string& p : problems)
    if (p.starts_with("line ")) text += (text.empty() ? "yaml: unmarshal errors:\n  " : "\n  ") + p;
  for (const std::string& p : problems)
    if (!p.starts_with("line ")) text += (text.empty() ? "" : ", ") + p;
  return base::bad_request(
      fmt::format("{} in version \"{}\" cannot be handled as a {}: strict decoding error: {}", kind.kind, kind.version, kind.kind, text));
}

}  // namespace api
