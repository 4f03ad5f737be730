#include "api/patch.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace api {
namespace {

namespace json = base::json;

base::Failure rejected(std::string message) { return base::fail(422, "Invalid", std::move(message)); }

// ---- RFC 6902 ----

// The tokens of a JSON pointer (RFC 6901).
base::Result<std::vector<std::string>> tokens(std::string_view pointer) {
  std::vector<std::string> out;
  if (pointer.empty()) return out;
  if (pointer[0] != '/') return base::bad_request(fmt::format("json patch: invalid pointer \"{}\"", pointer));
  for (char c : pointer) {
    if (c == '/') out.emplace_back();
    else out.back() += c;
  }
  for (std::string& t : out) {
    std::string plain;
    for (size_t i = 0; i < t.size(); ++i) {
      if (t[i] == '~' && i + 1 < t.size() && (t[i + 1] == '0' || t[i + 1] == '1')) plain += t[++i] == '0' ? '~' : '/';
      else plain += t[i];
    }
    t = std::move(plain);
  }
  return out;
}

bool index_of(std::string_view token, size_t size, size_t& index) {
  if (token.empty() || (token.size() > 1 && token[0] == '0')) return false;
  auto [end, ec] = std::from_chars(token.data(), token.data() + token.size(), index);
  return ec == std::errc() && end == token.data() + token.size() && index < size;
}

// One operation after the other on a copy of the document.
class JsonPatch {
 public:
  explicit JsonPatch(json::value document) : document_(std::move(document)) {}

  base::Result<> run(const json::value& op) {
    std::string_view name = base::get_string(op, "op"), path = base::get_string(op, "path");
    if (!op.is_object() || name.empty() || !base::find(op, "path")) return base::bad_request("json patch: malformed operation");
    TRY(auto at, tokens(path));
    const json::value* value = op.get_object().if_contains("value");
    if (name == "remove") return remove(at, path);
    if (name == "move" || name == "copy") {
      std::string_view from_text = base::get_string(op, "from");
      TRY(auto from, tokens(from_text));
      TRY(json::value * source, find(from, from_text));
      json::value moved = *source;
      if (name == "copy") {
        copied_ += base::to_text(moved).size();
        if (copied_ > 3 * 1024 * 1024) return rejected("json patch: copies exceed the size limit");
        return add(at, path, std::move(moved));
      }
      if (path.size() > from_text.size() && path.starts_with(from_text) && path[from_text.size()] == '/') {
        return rejected(fmt::format("json patch: cannot move {} into itself", from_text));
      }
      CHECK_OK(remove(from, from_text));
      return add(at, path, std::move(moved));
    }
    if (name == "test") {
      auto found = find(at, path);
      json::value expected = value ? *value : json::value();
      json::value actual = found ? **found : json::value();
      if (actual != expected) return rejected(fmt::format("testing value {} failed: test failed", path));
      return {};
    }
    if (name != "add" && name != "replace") return base::bad_request(fmt::format("Unexpected kind: {}", name));
    // A value left out is null: Go's clients leave out empty ones.
    if (name == "add") return add(at, path, value ? *value : json::value());
    TRY(json::value * target, find(at, path));
    *target = value ? *value : json::value();
    return {};
  }

  json::value take() { return std::move(document_); }

 private:
  static base::Failure no_path(std::string_view path) {
    return rejected(fmt::format("the server rejected our request due to an error in our request: path does not exist: {}", path));
  }

  base::Result<json::value*> find(const std::vector<std::string>& at, std::string_view path) {
    json::value* v = &document_;
    for (const std::string& token : at) {
      if (json::object* o = v->if_object()) {
        v = o->if_contains(token);
        if (!v) return no_path(path);
      } else if (json::array* a = v->if_array()) {
        size_t i = 0;
        if (!index_of(token, a->size(), i)) return no_path(path);
        v = &(*a)[i];
      } else {
        return no_path(path);
      }
    }
    return v;
  }

  base::Result<json::value*> parent(std::vector<std::string> at, std::string_view path) {
    at.pop_back();
    return find(at, path);
  }

  base::Result<> add(const std::vector<std::string>& at, std::string_view path, json::value value) {
    if (at.empty()) {
      document_ = std::move(value);
      return {};
    }
    TRY(json::value * container, parent(at, path));
    const std::string& last = at.back();
    if (json::object* o = container->if_object()) {
      (*o)[last] = std::move(value);
      return {};
    }
    json::array* a = container->if_array();
    size_t i = 0;
    if (!a) return no_path(path);
    if (last == "-") i = a->size();
    else if (!index_of(last, a->size() + 1, i)) return no_path(path);
    a->insert(a->begin() + static_cast<std::ptrdiff_t>(i), std::move(value));
    return {};
  }

  base::Result<> remove(const std::vector<std::string>& at, std::string_view path) {
    if (at.empty()) {
      document_ = nullptr;
      return {};
    }
    TRY(json::value * container, parent(at, path));
    if (json::object* o = container->if_object()) {
      auto it = o->find(at.back());
      if (it == o->end()) return no_path(path);
      o->stable_erase(it);
      return {};
    }
    json::array* a = container->if_array();
    size_t i = 0;
    if (!a || !index_of(at.back(), a->size(), i)) return no_path(path);
    a->erase(a->begin() + static_cast<std::ptrdiff_t>(i));
    return {};
  }

  json::value document_;
  size_t copied_ = 0;
};

void merge_into(json::value& target, const json::value& patch) {
  const json::object* p = patch.if_object();
  if (!p) {
    target = patch;
    return;
  }
  if (!target.is_object()) target = json::object();
  json::object& o = target.get_object();
  for (const auto& [key, value] : *p) {
    if (value.is_null()) {
      if (auto it = o.find(key); it != o.end()) o.stable_erase(it);
    } else {
      merge_into(o[key], value);
    }
  }
}

// ---- strategic merge patch ----

constexpr std::string_view kDirective = "$patch", kRetainKeys = "$retainKeys", kOrder = "$setElementOrder/",
                           kDeletePrimitives = "$deleteFromPrimitiveList/";

bool is_merge(PatchStrategy s) { return s == PatchStrategy::merge || s == PatchStrategy::merge_retain_keys; }

base::Result<> merge_object(const Type* type, json::object& target, const json::object& patch);

// The value as it would come out of merging into nothing: without directives.
base::Result<json::value> fresh(const Type* type, const json::value& patch, const json::storage_ptr& storage);

// Merge keys compare by value; a missing one is never equal.
bool same_key(const json::value& a, const json::value& b, std::string_view key) {
  const json::object* x = a.if_object();
  const json::object* y = b.if_object();
  const json::value* v = x ? x->if_contains(key) : nullptr;
  const json::value* w = y ? y->if_contains(key) : nullptr;
  return v && w && *v == *w;
}

json::value* find_by_key(json::array& list, const json::value& item, std::string_view key) {
  for (json::value& v : list) {
    if (same_key(v, item, key)) return &v;
  }
  return nullptr;
}

base::Result<> merge_keyed_list(const Type& list, json::array& target, const json::array& patch) {
  const std::string& key = list.patch_key;
  bool replace = std::any_of(patch.begin(), patch.end(), [](const json::value& v) { return base::get_string(v, kDirective) == "replace"; });
  if (replace) {
    target.clear();
    for (const json::value& item : patch) {
      if (base::get_string(item, kDirective) == "replace") continue;
      TRY(json::value v, fresh(list.element, item, target.storage()));
      target.push_back(std::move(v));
    }
    return {};
  }
  for (const json::value& item : patch) {
    const json::object* o = item.if_object();
    if (!o) return base::bad_request("strategic merge patch: list items must be objects");
    if (!o->contains(key))
      return base::bad_request(fmt::format("map: {} does not contain declared merge key: {}", base::to_text(item), key));
    std::string_view directive = base::get_string(item, kDirective);
    if (directive == "delete") {
      auto gone = std::remove_if(target.begin(), target.end(), [&](const json::value& v) { return same_key(v, item, key); });
      target.erase(gone, target.end());
      continue;
    }
    if (!directive.empty() && directive != "merge") return base::bad_request(fmt::format("unknown patch directive: {}", directive));
    if (json::value* known = find_by_key(target, item, key); known && known->is_object()) {
      CHECK_OK(merge_object(list.element, known->get_object(), *o));
    } else {
      TRY(json::value v, fresh(list.element, item, target.storage()));
      target.push_back(std::move(v));
    }
  }
  return {};
}

void merge_primitives(json::array& target, const json::array& patch) {
  for (const json::value& v : patch) {
    if (std::find(target.begin(), target.end(), v) == target.end()) target.push_back(v);
  }
}

// Puts the elements named in `order` into that order; the others keep their place relative to them as on the server.
void reorder(json::array& list, const json::array& before, const json::array& order, std::string_view key) {
  auto same = [&](const json::value& a, const json::value& b) { return key.empty() ? a == b : same_key(a, b, key); };
  auto position = [&](const json::array& in, const json::value& v) {
    for (size_t i = 0; i < in.size(); ++i) {
      if (same(in[i], v)) return static_cast<int>(i);
    }
    return -1;
  };
  std::vector<json::value> ordered, others;
  for (const json::value& wanted : order) {
    for (const json::value& v : list) {
      if (same(v, wanted)) {
        ordered.emplace_back(v, list.storage());
        break;
      }
    }
  }
  for (const json::value& v : list) {
    if (position(order, v) < 0) others.emplace_back(v, list.storage());
  }
  json::array out(list.storage());
  size_t i = 0, j = 0;
  while (i < ordered.size() || j < others.size()) {
    bool take_ordered = j == others.size();
    if (!take_ordered && i < ordered.size()) {
      int a = position(before, ordered[i]), b = position(before, others[j]);
      take_ordered = a < 0 || a < b;
    }
    out.push_back(take_ordered ? std::move(ordered[i++]) : std::move(others[j++]));
  }
  list = std::move(out);
}

base::Result<> merge_member(const Type* type, json::object& target, std::string_view name, const json::value& value) {
  json::value* old = target.if_contains(name);
  if (const json::object* p = value.if_object()) {
    bool replace = type && type->patch == PatchStrategy::replace;
    if (old && old->is_object() && !replace && !(type && type->form == Form::any)) {
      if (base::get_string(value, kDirective) == "delete") {
        target.stable_erase(target.find(name));
        return {};
      }
      return merge_object(type, old->get_object(), *p);
    }
    if (base::get_string(value, kDirective) == "delete") {
      if (old) target.stable_erase(target.find(name));
      return {};
    }
    TRY(json::value v, fresh(type, value, target.storage()));
    target[name] = std::move(v);
    return {};
  }
  const json::array* p = value.if_array();
  if (p && type && type->form == Form::list && is_merge(type->patch)) {
    json::value& merged = old ? *old : target[name];
    if (!merged.is_array()) merged.emplace_array();
    if (type->patch_key.empty()) merge_primitives(merged.get_array(), *p);
    else CHECK_OK(merge_keyed_list(*type, merged.get_array(), *p));
    return {};
  }
  target[name] = value;
  return {};
}

base::Result<> merge_object(const Type* type, json::object& target, const json::object& patch) {
  if (const json::value* directive = patch.if_contains(kDirective)) {
    std::string_view d = directive->is_string() ? std::string_view(directive->get_string()) : std::string_view();
    if (d == "replace" || d == "delete") {
      target.clear();
      if (d == "delete") return {};
    } else if (d != "merge") {
      return base::bad_request(fmt::format("unknown patch directive: {}", d));
    }
  }
  // The lists as they were, for the order of what only the server has.
  json::object lists_before;
  if (const json::value* retain = patch.if_contains(kRetainKeys); retain && retain->is_array()) {
    std::vector<std::string> gone;
    for (const auto& [key, value] : target) {
      const json::array& keep = retain->get_array();
      if (std::find(keep.begin(), keep.end(), json::value(key)) == keep.end()) gone.emplace_back(key);
    }
    for (const std::string& key : gone) target.stable_erase(target.find(key));
  }
  auto member_type = [&](std::string_view name) -> const Type* {
    if (!type) return nullptr;
    if (type->form == Form::map) return type->element;
    const Field* field = type->form == Form::object ? type->field(name) : nullptr;
    return field ? field->type : nullptr;
  };
  for (const auto& [key, value] : patch) {
    std::string_view name(key);
    if (name.starts_with(kOrder)) {
      std::string list(name.substr(kOrder.size()));
      if (json::value* old = target.if_contains(list); old && old->is_array()) lists_before[list] = *old;
    } else if (name.starts_with(kDeletePrimitives)) {
      json::value* old = target.if_contains(name.substr(kDeletePrimitives.size()));
      if (!old || !old->is_array() || !value.is_array()) continue;
      const json::array& gone = value.get_array();
      json::array& list = old->get_array();
      list.erase(std::remove_if(list.begin(), list.end(),
                                [&](const json::value& v) { return std::find(gone.begin(), gone.end(), v) != gone.end(); }),
                 list.end());
    }
  }
  for (const auto& [key, value] : patch) {
    std::string_view name(key);
    if (name == kDirective || name == kRetainKeys || name.starts_with(kOrder) || name.starts_with(kDeletePrimitives)) continue;
    if (value.is_null()) {
      if (auto it = target.find(key); it != target.end()) target.stable_erase(it);
      continue;
    }
    CHECK_OK(merge_member(member_type(name), target, name, value));
  }
  for (const auto& [key, value] : patch) {
    std::string_view name(key);
    if (!name.starts_with(kOrder) || !value.is_array()) continue;
    name = name.substr(kOrder.size());
    json::value* list = target.if_contains(name);
    if (!list || !list->is_array()) continue;
    const Type* inner = member_type(name);
    json::value* before = lists_before.if_contains(name);
    static const json::array none;
    reorder(list->get_array(), before ? before->get_array() : none, value.get_array(), inner ? inner->patch_key : std::string());
  }
  return {};
}

base::Result<json::value> fresh(const Type* type, const json::value& patch, const json::storage_ptr& storage) {
  const json::object* o = patch.if_object();
  if (!o || (type && type->form == Form::any)) return json::value(patch, storage);
  json::object out(storage);
  CHECK_OK(merge_object(type, out, *o));
  return json::value(std::move(out));
}

}  // namespace

base::Result<json::value> json_patch(const json::value& document, const json::value& patch) {
  const json::array* ops = patch.if_array();
  if (!ops) return base::bad_request("error decoding patch: json: cannot unmarshal object into Go value of type jsonpatch.Patch");
  if (ops->size() > 10'000) {
    return base::too_large(fmt::format("The allowed maximum operations in a JSON patch is 10000, got {}", ops->size()));
  }
  JsonPatch run(json::value(document, document.storage()));
  for (const json::value& op : *ops) CHECK_OK(run.run(op));
  return run.take();
}

json::value merge_patch(const json::value& document, const json::value& patch) {
  json::value out(document, document.storage());
  merge_into(out, patch);
  return out;
}

base::Result<json::value> strategic_merge_patch(const Type& type, const json::value& document, const json::value& patch) {
  const json::object* p = patch.if_object();
  if (!p) return base::bad_request("the patch must be a JSON object");
  json::value out(document, document.storage());
  if (!out.is_object()) out.emplace_object();
  CHECK_OK(merge_object(&type, out.get_object(), *p));
  return out;
}

}  // namespace api
