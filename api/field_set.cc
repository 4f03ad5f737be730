#include "api/field_set.h"

#include <fmt/format.h>

#include <algorithm>

namespace api {
namespace {

namespace json = base::json;

bool granular_object(const Type& t) { return (t.form == Form::object || t.form == Form::map) && !t.atomic; }
bool granular_list(const Type& t) { return t.form == Form::list && t.list != ListKind::atomic; }

// The type of a member of an object or map; null when unknown.
const Type* member_type(const Type& t, std::string_view name, const Field** field = nullptr) {
  if (t.form == Form::map) return t.element;
  const Field* f = t.field(name);
  if (field) *field = f;
  return f ? f->type : nullptr;
}

const Type& unknown_type() {
  static const Type t;  // any, compared as a whole
  return t;
}

bool is_empty(const json::value& v) {
  return v.is_null() || (v.is_object() && v.get_object().empty()) || (v.is_array() && v.get_array().empty());
}

const json::value& null_value() {
  static const json::value v;
  return v;
}

json::value* find_item(const Type& list, json::array& items, std::string_view element) {
  for (json::value& item : items) {
    if (list_element(list, item) == element) return &item;
  }
  return nullptr;
}

// The items by element, in order; items without one are left out.
std::vector<std::pair<std::string, const json::value*>> elements(const Type& list, const json::value& v) {
  std::vector<std::pair<std::string, const json::value*>> out;
  if (const json::array* a = v.if_array()) {
    for (const json::value& item : *a) {
      std::string e = list_element(list, item);
      if (!e.empty()) out.emplace_back(std::move(e), &item);
    }
  }
  return out;
}

// Structs that Go embeds by value are there even when nothing was said of them, so that nobody owns them as such.
bool always_present(const Field& f) {
  return f.required || f.name == "metadata" || f.name == "spec" || f.name == "status" || f.name == "template" || f.name == "strategy" ||
         f.name == "updateStrategy";
}

class Comparer {
 public:
  // One side may be null. `out` is the node of the path of both.
  static void run(const Type& t, const json::value& a, const json::value& b, FieldSet& changed, FieldSet& removed) {
    if (a == b) return;
    bool objects = granular_object(t) && (a.is_object() || a.is_null()) && (b.is_object() || b.is_null());
    bool lists = granular_list(t) && (a.is_array() || a.is_null()) && (b.is_array() || b.is_null());
    if ((!objects && !lists) || (is_empty(a) && is_empty(b))) {
      (b.is_null() ? removed : changed).set_member(true);
      return;
    }
    if (objects) members(t, a, b, changed, removed);
    else items(t, a, b, changed, removed);
  }

 private:
  static void members(const Type& t, const json::value& a, const json::value& b, FieldSet& changed, FieldSet& removed) {
    const json::object* x = a.if_object();
    const json::object* y = b.if_object();
    if (y) {
      for (const auto& [key, value] : *y) {
        const json::value* old = x ? x->if_contains(key) : nullptr;
        child(t, key, old ? *old : null_value(), value, changed, removed);
      }
    }
    if (x) {
      for (const auto& [key, value] : *x) {
        if (!y || !y->contains(key)) child(t, key, value, null_value(), changed, removed);
      }
    }
  }

  static void child(const Type& t, std::string_view name, const json::value& a, const json::value& b, FieldSet& changed,
                    FieldSet& removed) {
    const Field* field = nullptr;
    const Type* type = member_type(t, name, &field);
    std::string element = fmt::format("f:{}", name);
    FieldSet c, r;
    run(type ? *type : unknown_type(), a, b, c, r);
    bool structured = type && (granular_object(*type) || granular_list(*type)) && !(field && always_present(*field));
    if (a.is_null() && !b.is_null() && structured && (t.form == Form::object || field)) c.set_member(true);
    if (b.is_null() && !a.is_null()) r.set_member(true);
    if (!c.empty()) changed.make(element) = std::move(c);
    if (!r.empty()) removed.make(element) = std::move(r);
  }

  static void items(const Type& t, const json::value& a, const json::value& b, FieldSet& changed, FieldSet& removed) {
    auto old = elements(t, a), now = elements(t, b);
    auto find = [](const auto& in, const std::string& element) -> const json::value* {
      auto it = std::find_if(in.begin(), in.end(), [&](const auto& e) { return e.first == element; });
      return it == in.end() ? nullptr : it->second;
    };
    for (const auto& [element, value] : now) {
      const json::value* before = find(old, element);
      FieldSet c, r;
      run(*t.element, before ? *before : null_value(), *value, c, r);
      if (!before) c.set_member(true);
      if (!c.empty()) changed.make(element) = std::move(c);
      if (!r.empty()) removed.make(element) = std::move(r);
    }
    for (const auto& [element, value] : old) {
      if (find(now, element)) continue;
      FieldSet c, r;
      run(*t.element, *value, null_value(), c, r);
      r.set_member(true);
      removed.make(element) = std::move(r);
    }
  }
};

}  // namespace

std::string element_path(std::string_view element) {
  std::string_view rest = element.substr(2);
  if (element[0] == 'f') return fmt::format(".{}", rest);
  if (element[0] == 'v') return fmt::format("[={}]", rest);
  if (element[0] == 'i') return fmt::format("[{}]", rest);
  auto key = base::parse_json(rest);
  if (!key || !key->is_object()) return fmt::format("[{}]", rest);
  std::string s;
  for (const auto& [name, value] : key->get_object()) {
    s += s.empty() ? "[" : ",";
    s += fmt::format("{}={}", std::string_view(name), base::to_text(value));
  }
  return s + "]";
}

std::string list_element(const Type& list, const json::value& item) {
  if (list.list == ListKind::set) return "v:" + base::to_text(item);
  const json::object* o = item.if_object();
  if (!o) return {};
  std::vector<std::string> names = list.keys;
  std::sort(names.begin(), names.end());
  json::object key;
  for (const std::string& name : names) {
    if (const json::value* v = o->if_contains(name); v && !v->is_null()) {
      key[name] = *v;
    } else if (const Field* f = list.element->field(name); f && !f->default_value.is_null()) {
      key[name] = f->default_value;
    }
  }
  if (key.empty()) return {};
  return "k:" + base::to_text(key);
}

FieldSet FieldSet::decode(const json::object& fields) {
  FieldSet out;
  for (const auto& [key, value] : fields) {
    if (key == ".") {
      out.member_ = true;
      continue;
    }
    if (key.size() < 2 || key[1] != ':') continue;
    FieldSet& c = out.children_[std::string(key)];
    const json::object* below = value.if_object();
    if (below && !below->empty()) c = decode(*below);
    else c.member_ = true;
  }
  return out;
}

json::object FieldSet::encode(const json::storage_ptr& storage) const {
  json::object out(children_.size() + (member_ && !children_.empty()), storage);
  if (member_ && !children_.empty()) out["."].emplace_object();
  for (const auto& [element, c] : children_) out[element] = c.encode(storage);
  return out;
}

namespace {
// Of a child in encoded form: a member itself when it has nothing below or says so.
bool encoded_member(const json::object& o) { return o.empty() || o.contains("."); }
}  // namespace

bool FieldSet::touches(const json::object& fields) const {
  for (const auto& [element, c] : children_) {
    const json::value* v = fields.if_contains(element);
    if (!v || !v->is_object()) continue;
    if ((c.member_ && encoded_member(v->get_object())) || c.touches(v->get_object())) return true;
  }
  return false;
}

bool FieldSet::within(const json::object& fields) const {
  for (const auto& [element, c] : children_) {
    const json::value* v = fields.if_contains(element);
    if (!v || !v->is_object()) return false;
    if ((c.member_ && !encoded_member(v->get_object())) || !c.within(v->get_object())) return false;
  }
  return true;
}

FieldSet FieldSet::of(const Type& type, const json::value& object) {
  FieldSet out;
  out.fill(type, object);
  out.member_ = false;
  return out;
}

void FieldSet::fill(const Type& t, const json::value& v) {
  if (granular_object(t) && v.is_object()) {
    const json::object& o = v.get_object();
    if (o.empty()) member_ = true;
    for (const auto& [key, value] : o) {
      const Type* type = member_type(t, key);
      FieldSet& c = children_[fmt::format("f:{}", std::string_view(key))];
      c.fill(type ? *type : unknown_type(), value);
      if (t.form == Form::map) c.member_ = true;
    }
  } else if (granular_list(t) && v.is_array()) {
    if (v.get_array().empty()) member_ = true;
    for (const auto& [element, value] : elements(t, v)) {
      FieldSet& c = children_[element];
      c.fill(*t.element, *value);
      c.member_ = true;
    }
  } else {
    member_ = true;
  }
}

FieldSet* FieldSet::child(std::string_view element) {
  auto it = children_.find(element);
  return it == children_.end() ? nullptr : &it->second;
}

const FieldSet* FieldSet::child(std::string_view element) const {
  auto it = children_.find(element);
  return it == children_.end() ? nullptr : &it->second;
}

void FieldSet::erase(std::string_view element) {
  if (auto it = children_.find(element); it != children_.end()) children_.erase(it);
}

void FieldSet::add(const FieldSet& other) {
  member_ |= other.member_;
  for (const auto& [element, c] : other.children_) children_[element].add(c);
}

void FieldSet::subtract(const FieldSet& other) {
  if (other.member_) member_ = false;
  for (const auto& [element, c] : other.children_) {
    auto it = children_.find(element);
    if (it == children_.end()) continue;
    it->second.subtract(c);
    if (it->second.empty()) children_.erase(it);
  }
}

FieldSet FieldSet::intersect(const FieldSet& other) const {
  FieldSet out;
  out.member_ = member_ && other.member_;
  for (const auto& [element, c] : children_) {
    const FieldSet* o = other.child(element);
    if (!o) continue;
    FieldSet both = c.intersect(*o);
    if (!both.empty()) out.children_[element] = std::move(both);
  }
  return out;
}

void FieldSet::list_paths(const std::string& prefix, std::vector<std::string>& out) const {
  if (member_) out.push_back(prefix);
  for (const auto& [element, c] : children_) c.list_paths(prefix + element_path(element), out);
}

std::vector<std::string> FieldSet::paths() const {
  std::vector<std::string> out;
  list_paths({}, out);
  return out;
}

Difference compare(const Type& type, const json::value& before, const json::value& after) {
  Difference d;
  Comparer::run(type, before, after, d.changed, d.removed);
  d.changed.set_member(false);
  d.removed.set_member(false);
  return d;
}

json::value merge_values(const Type& t, const json::value& live, const json::value& applied) {
  if (granular_object(t) && live.is_object() && applied.is_object()) {
    json::object out(live.get_object(), live.storage());
    for (const auto& [key, value] : applied.get_object()) {
      const Type* type = member_type(t, key);
      json::value* old = out.if_contains(key);
      if (old) *old = merge_values(type ? *type : unknown_type(), *old, value);
      else out[key] = value;
    }
    return out;
  }
  if (!granular_list(t) || !live.is_array() || !applied.is_array()) return applied;
  // The applied order, with items only the live list has kept behind the item they followed.
  auto old = elements(t, live), now = elements(t, applied);
  json::array out(live.storage());
  std::vector<bool> used(old.size(), false);
  auto old_index = [&](const std::string& element) {
    for (size_t i = 0; i < old.size(); ++i) {
      if (old[i].first == element) return i;
    }
    return old.size();
  };
  auto applied_has = [&](const std::string& element) {
    return std::any_of(now.begin(), now.end(), [&](const auto& e) { return e.first == element; });
  };
  size_t next = 0;
  for (const auto& [element, value] : now) {
    size_t i = old_index(element);
    if (i < old.size() && i >= next) {
      for (; next < i; ++next) {
        if (!used[next] && !applied_has(old[next].first)) {
          out.push_back(*old[next].second);
          used[next] = true;
        }
      }
    }
    if (i < old.size()) {
      out.push_back(merge_values(*t.element, *old[i].second, *value));
      used[i] = true;
    } else {
      out.push_back(*value);
    }
  }
  for (size_t i = 0; i < old.size(); ++i) {
    if (!used[i] && !applied_has(old[i].first)) out.push_back(*old[i].second);
  }
  return out;
}

void remove_unowned(const Type& t, json::value& v, const FieldSet& last, const FieldSet& kept) {
  static const FieldSet nothing;
  for (const auto& [element, c] : last.children()) {
    const FieldSet* keep = kept.child(element);
    if (element[0] == 'f' && v.is_object()) {
      std::string_view name = std::string_view(element).substr(2);
      json::object& o = v.get_object();
      json::value* member = o.if_contains(name);
      if (!member) continue;
      const Type* type = member_type(t, name);
      // A field of a struct is as good as owned when something below it is; an entry of a map is not.
      const bool gone = t.form == Form::map ? c.member() && !(keep && keep->member()) : !keep;
      if (gone) o.stable_erase(o.find(name));
      else remove_unowned(type ? *type : unknown_type(), *member, c, keep ? *keep : nothing);
    } else if (t.form == Form::list && v.is_array()) {
      json::value* item = find_item(t, v.get_array(), element);
      if (!item) continue;
      if (c.member() && !(keep && keep->member())) v.get_array().erase(v.get_array().begin() + (item - v.get_array().data()));
      else remove_unowned(*t.element, *item, c, keep ? *keep : nothing);
    }
  }
}

}  // namespace api
