#include "server/apiserver/registry/write.h"

#include <fmt/format.h>

namespace server {

using base::json::object;
using base::json::value;

std::string kind_name(const ResourceInfo& r) { return r.group.empty() ? r.kind->kind : r.kind->kind + "." + r.group; }

Result<> check_causes(const ResourceInfo& r, std::string_view name, std::vector<base::Cause> causes) {
  if (causes.empty()) return {};
  return base::invalid(kind_name(r), name, std::move(causes));
}

RecordPtr unsaved_record(const ResourceInfo& r, const std::string& key, const value& o, Revision revision) {
  auto record = std::make_shared<datastore::Record>();
  size_t offset = 0;
  std::string text = canonical_text(o.get_object(), offset);
  if (revision != 0) text.insert(offset, std::to_string(revision));
  record->key = key;
  record->attributes = make_attributes(r.group.empty() ? "core" : std::string_view(r.group), r.resource, o, offset);
  record->value = base::make_bytes(std::move(text));
  record->revision = revision;
  return record;
}

datastore::Write object_write(const ResourceInfo& r, std::string key, const value& o, std::optional<Revision> expected) {
  datastore::Write w;
  w.key = std::move(key);
  std::string text = canonical_text(o.get_object(), w.revision_offset);
  w.value = base::make_bytes(std::move(text));
  w.expected = expected;
  w.attributes = make_attributes(r.group.empty() ? "core" : std::string_view(r.group), r.resource, o, w.revision_offset);
  return w;
}

bool lost_race(const base::Error& e, const std::string& key) { return base::is_conflict(e) && e.name == key; }

bool same_desired(const object& a, const object& b) {
  auto covers = [](const object& x, const object& y) {
    for (const auto& [name, v] : x) {
      if (name == "metadata" || name == "status") continue;
      const value* other = y.if_contains(name);
      if (!other || *other != v) return false;
    }
    return true;
  };
  return covers(a, b) && covers(b, a);
}

namespace {

bool same_managers(const value* a, const value* b) {
  if (!a || !b || !a->is_array() || !b->is_array()) return a == b || (!a && !b);
  const auto& x = a->get_array();
  const auto& y = b->get_array();
  if (x.size() != y.size()) return false;
  for (size_t i = 0; i < x.size(); ++i) {
    if (!x[i].is_object() || !y[i].is_object()) return false;
    const object &left = x[i].get_object(), &right = y[i].get_object();
    if (left.size() - left.contains("time") != right.size() - right.contains("time")) return false;
    for (const auto& [name, v] : left) {
      const value* other = name == "time" ? &v : right.if_contains(name);
      if (!other || *other != v) return false;
    }
  }
  return true;
}

}  // namespace

bool same_object(const object& a, const object& b) {
  const object &x = metadata_of(a), &y = metadata_of(b);
  auto covers = [](const object& m, const object& n) {
    for (const auto& [name, v] : m) {
      if (name == "managedFields" || name == "resourceVersion") continue;
      const value* other = n.if_contains(name);
      if (!other || *other != v) return false;
    }
    return true;
  };
  if (!covers(x, y) || !covers(y, x)) return false;
  if (!same_managers(x.if_contains("managedFields"), y.if_contains("managedFields"))) return false;
  const value *s = a.if_contains("status"), *t = b.if_contains("status");
  auto empty = [](const value* v) { return !v || (v->is_object() && v->get_object().empty()); };
  if (empty(s) != empty(t) || (!empty(s) && *s != *t)) return false;
  return same_desired(a, b);
}

base::Failure modified_meanwhile(const ResourceInfo& r, std::string_view name) {
  return base::conflict(r.qualified, name, "the object has been modified; please apply your changes to the latest version and try again");
}

}  // namespace server
