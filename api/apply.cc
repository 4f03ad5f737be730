// The algorithm is that of structured merge: sets of owned paths per manager, a merge of live and applied by the schema's list rules, and
// a comparison of before and after to find conflicts and lost ownership.
#include "api/apply.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>
#include <tuple>
#include <utility>

#include "api/field_set.h"

namespace api {
namespace {

namespace json = base::json;

// Who owns a set: one entry of managedFields.
struct Owner {
  std::string manager, operation, api_version, subresource, time;
  FieldSet set;
  const json::object* stored = nullptr;  // fieldsV1 as it stands in the object, while nobody had to look into it; `set` is empty then

  void open() {
    if (const json::object* from = std::exchange(stored, nullptr)) set = FieldSet::decode(*from);
  }
  bool owns_nothing() const { return stored ? stored->empty() : set.empty(); }

  bool applies() const { return operation == "Apply"; }
  // Entries of one identity are one entry.
  bool same(const Owner& o) const {
    return manager == o.manager && operation == o.operation && subresource == o.subresource &&
           (applies() || api_version == o.api_version);
  }
  std::string text() const {
    std::string s = fmt::format("\"{}\"", manager);
    if (!subresource.empty()) s += fmt::format(" with subresource \"{}\"", subresource);
    return applies() ? s : fmt::format("{} using {}", s, api_version);
  }
};

using Owners = std::vector<Owner>;

const json::array* managed_fields(const json::value& object) { return base::find_array(object, "metadata.managedFields"); }

// Nullopt when an entry cannot be understood. The owners refer to the list.
std::optional<Owners> decode(const json::array& list) {
  Owners out;
  for (const json::value& e : list) {
    Owner o{std::string(base::get_string(e, "manager")), std::string(base::get_string(e, "operation")),
            std::string(base::get_string(e, "apiVersion")), std::string(base::get_string(e, "subresource")),
            std::string(base::get_string(e, "time")), {}};
    const json::object* fields = base::find_object(e, "fieldsV1");
    if ((o.operation != "Apply" && o.operation != "Update") || !fields || base::get_string(e, "fieldsType") != "FieldsV1")
      return std::nullopt;
    o.stored = fields;
    auto known = std::find_if(out.begin(), out.end(), [&](const Owner& x) { return x.same(o); });
    if (known == out.end()) {
      out.push_back(std::move(o));
    } else {
      known->open();
      o.open();
      known->set.add(o.set);
    }
  }
  return out;
}

json::array encode(Owners owners, const json::storage_ptr& storage) {
  // Many tools, many names: the oldest Update entries beyond ten become one.
  std::sort(owners.begin(), owners.end(), [](const Owner& a, const Owner& b) {
    return std::tie(a.operation, a.time, a.manager, a.subresource) < std::tie(b.operation, b.time, b.manager, b.subresource);
  });
  size_t updates = static_cast<size_t>(std::count_if(owners.begin(), owners.end(), [](const Owner& o) { return !o.applies(); }));
  auto first = std::find_if(owners.begin(), owners.end(), [](const Owner& o) { return !o.applies(); });
  if (updates > 10) {
    auto last = first + static_cast<std::ptrdiff_t>(updates - 9);
    Owner ancient{"ancient-changes", "Update", (last - 1)->api_version, {}, (last - 1)->time, {}};
    for (auto it = first; it != last; ++it) {
      it->open();
      ancient.set.add(it->set);
    }
    first = owners.erase(first, last);
    owners.insert(first, std::move(ancient));
  }
  json::array out(storage);
  out.reserve(owners.size());
  for (const Owner& o : owners) {
    if (o.owns_nothing()) continue;
    json::object e(7, storage);
    e["manager"] = o.manager;
    e["operation"] = o.operation;
    e["apiVersion"] = o.api_version;
    if (!o.time.empty()) e["time"] = o.time;
    e["fieldsType"] = "FieldsV1";
    if (o.stored) e["fieldsV1"] = *o.stored;
    else e["fieldsV1"] = o.set.encode(storage);
    if (!o.subresource.empty()) e["subresource"] = o.subresource;
    out.push_back(std::move(e));
  }
  return out;
}

void store(json::value& object, const Owners& owners) {
  json::object& metadata = base::make_object(object, "metadata");
  json::array list = encode(owners, object.storage());
  if (list.empty()) {
    if (auto it = metadata.find("managedFields"); it != metadata.end()) metadata.stable_erase(it);
  } else {
    metadata["managedFields"] = std::move(list);
  }
}

// Nobody owns what the server alone decides, nor what the subresource cannot change.
void strip(FieldSet& set, const Kind& kind, const std::string& subresource) {
  for (std::string_view name : {"f:apiVersion", "f:kind"}) set.erase(name);
  if (FieldSet* metadata = set.child("f:metadata")) {
    for (std::string_view name : {"f:name", "f:namespace", "f:creationTimestamp", "f:selfLink", "f:uid", "f:clusterName", "f:generation",
                                  "f:managedFields", "f:resourceVersion"}) {
      metadata->erase(name);
    }
    metadata->set_member(false);
    if (metadata->empty()) set.erase("f:metadata");
  }
  if (subresource == "status") set.erase("f:spec");
  else if (subresource.empty() && kind.type->field("status") && kind.type->field("spec")) set.erase("f:status");
}

json::value without_managed_fields(const json::value& object) {
  json::value out(object, object.storage());
  if (json::object* o = out.if_object()) {
    json::value* metadata = o->if_contains("metadata");
    if (metadata && metadata->is_object()) {
      json::object& m = metadata->get_object();
      if (auto it = m.find("managedFields"); it != m.end()) m.stable_erase(it);
    }
  }
  return out;
}

Owner& entry(Owners& owners, Owner wanted) {
  auto it = std::find_if(owners.begin(), owners.end(), [&](const Owner& o) { return o.same(wanted); });
  if (it != owners.end()) return *it;
  owners.push_back(std::move(wanted));
  return owners.back();
}

base::Failure conflict_error(const std::vector<std::pair<std::string, std::string>>& conflicts) {
  std::string message;
  if (conflicts.size() == 1) {
    message = fmt::format("Apply failed with 1 conflict: conflict with {}: {}", conflicts[0].first, conflicts[0].second);
  } else {
    std::map<std::string, std::vector<std::string>> by_manager;
    for (const auto& [manager, path] : conflicts) by_manager[manager].push_back(path);
    message = fmt::format("Apply failed with {} conflicts:", conflicts.size());
    char separator = ' ';
    for (const auto& [manager, paths] : by_manager) {
      message += fmt::format("{}conflicts with {}:", separator, manager);
      for (const std::string& path : paths) message += "\n- " + path;
      separator = '\n';
    }
  }
  base::Error e;
  e.code = 409;
  e.reason = "Conflict";
  e.message = std::move(message);
  for (const auto& [manager, path] : conflicts) e.causes.push_back({"FieldManagerConflict", "conflict with " + manager, path});
  return std::unexpected(std::move(e));
}

constexpr std::string_view kLastApplied = "kubectl.kubernetes.io/last-applied-configuration";

const json::string* last_applied(const json::value& object) {
  const json::object* annotations = base::find_object(object, "metadata.annotations");
  const json::value* v = annotations ? annotations->if_contains(kLastApplied) : nullptr;
  return v ? v->if_string() : nullptr;
}

// Keeps the annotation true for those who go back to client-side apply.
void refresh_last_applied(json::value& object, const json::value& wanted) {
  if (!last_applied(object)) return;
  json::value copy = wanted;
  if (last_applied(copy)) {
    json::object& a = base::make_object(copy, "metadata.annotations");
    a.stable_erase(a.find(kLastApplied));
  }
  base::make_object(object, "metadata.annotations")[kLastApplied] = base::to_text(copy) + "\n";
}

// Items that nobody could own: without a key, or one of several with the same.
base::Result<> check_items(const Type& type, const json::value& v, const std::string& path) {
  auto refuse = [&](size_t i, std::string_view why) {
    return base::bad_request(fmt::format("failed to create typed patch object: {}: element {}: {}", path, i, why));
  };
  if (const json::array* a = v.if_array(); a && type.form == Form::list) {
    std::set<std::string> seen;
    for (size_t i = 0; i < a->size(); ++i) {
      if (type.list != ListKind::atomic && !(*a)[i].is_null()) {
        std::string element = list_element(type, (*a)[i]);
        if (element.empty()) return refuse(i, "associative list with keys has an element that omits a key field");
        if (!seen.insert(element).second) return refuse(i, fmt::format("duplicate entries for {}", element));
      }
      CHECK_OK(check_items(*type.element, (*a)[i], path));
    }
  } else if (const json::object* o = v.if_object()) {
    for (const auto& [name, value] : *o) {
      if (!value.is_structured()) continue;
      const Field* f = type.form == Form::object ? type.field(name) : nullptr;
      const Type* below = f ? f->type : type.form == Form::map ? type.element : nullptr;
      if (below) CHECK_OK(check_items(*below, value, path + "." + std::string(name)));
    }
  }
  return {};
}

}  // namespace

base::Result<json::value> apply(const Kind& kind, const json::value& live, const json::value& applied, const Manager& manager, bool force) {
  const Type& type = *kind.type;
  if (const json::array* given = managed_fields(applied); given && !given->empty()) {
    return base::bad_request("metadata.managedFields must be nil");
  }
  CHECK_OK(check_items(type, applied, ""));
  Owners owners;
  if (const json::array* list = managed_fields(live)) {
    if (auto decoded = decode(*list)) owners = std::move(*decoded);
    for (Owner& o : owners) o.open();
  }
  json::value before = without_managed_fields(live);
  if (owners.empty() && before.is_object()) {
    // An object from before anybody applied: what it has belongs to everybody who updated it.
    Owner past{"before-first-apply", "Update", kind.api_version(), {}, manager.time, FieldSet::of(type, before)};
    strip(past.set, kind, {});
    owners.push_back(std::move(past));
  }
  json::value wanted = without_managed_fields(applied);
  FieldSet set = FieldSet::of(type, wanted);
  strip(set, kind, manager.subresource);
  if (!manager.subresource.empty() || kind.type->field("spec")) {
    // What the subresource cannot change is left out of the merge as well.
    if (json::object* o = wanted.if_object()) {
      std::string_view other = manager.subresource == "status" ? "spec" : manager.subresource.empty() ? "status" : "";
      if (auto it = o->find(other); !other.empty() && it != o->end()) o->stable_erase(it);
    }
  }

  Owner& mine = entry(owners, {manager.name, "Apply", kind.api_version(), manager.subresource, {}, {}});
  FieldSet last = std::move(mine.set);
  mine.set = set;
  mine.api_version = kind.api_version();
  const size_t me = static_cast<size_t>(&mine - owners.data());

  json::value after = before.is_object() ? merge_values(type, before, wanted) : wanted;
  FieldSet kept;
  for (const Owner& o : owners) kept.add(o.set);
  remove_unowned(type, after, last, kept);

  Difference difference = compare(type, before, after);
  strip(difference.changed, kind, manager.subresource);
  std::vector<std::pair<std::string, std::string>> conflicts;
  const bool from_kubectl = manager.name == "kubectl";
  FieldSet allowed;
  if (const json::string* text = from_kubectl && !force ? last_applied(before) : nullptr) {
    if (auto past = base::parse_json(*text)) allowed = FieldSet::of(type, *past);
  }
  for (size_t i = 0; i < owners.size(); ++i) {
    if (i == me) continue;
    FieldSet contested = owners[i].set.intersect(difference.changed);
    if (contested.empty()) {
      owners[i].set.subtract(difference.removed);
      continue;
    }
    FieldSet refused = contested;
    refused.subtract(allowed);
    for (const std::string& path : refused.paths()) conflicts.emplace_back(owners[i].text(), path);
    owners[i].set.subtract(contested);
    owners[i].set.subtract(difference.removed);
  }
  if (!conflicts.empty() && !force) return conflict_error(conflicts);
  if (before != after || !(last == set) || owners[me].time.empty()) owners[me].time = manager.time;
  if (from_kubectl) refresh_last_applied(after, wanted);
  store(after, owners);
  return after;
}

void track_update(const Kind& kind, const json::value& live, json::value& object, const Manager& manager) {
  const Type& type = *kind.type;
  Owners owners;
  bool known = false;
  json::value taken(object.storage());  // managedFields of the object, while it is compared without them; the owners refer to it
  if (managed_fields(object)) {
    json::value& v = base::make_object(object, "metadata")["managedFields"];
    taken = std::move(v);
    v = nullptr;
  }
  if (const json::array* given = taken.if_array(); given && !given->empty()) {
    if (given->size() == 1 && (*given)[0].is_object() && (*given)[0].get_object().empty()) {
      store(object, {});  // the client resets ownership
      return;
    }
    if (auto decoded = decode(*given)) {
      owners = std::move(*decoded);
      known = true;
      // What a client made up is not kept word by word.
      const json::array* kept = managed_fields(live);
      if (!kept || *kept != *given)
        for (Owner& o : owners) o.open();
    }
  }
  if (!known) {
    const json::array* list = managed_fields(live);
    if (list) {
      if (auto decoded = decode(*list)) owners = std::move(*decoded);
    }
    if (owners.empty() && live.is_object()) {
      store(object, {});
      return;  // never tracked, or reset: tracking begins with the first apply
    }
  }
  // What the live object has in managedFields counts as removed here, which nobody owns.
  Difference difference = compare(type, live, object);
  strip(difference.changed, kind, manager.subresource);
  Owner self{manager.name, "Update", kind.api_version(), manager.subresource, {}, {}};
  for (Owner& o : owners) {
    const bool other = !o.same(self);
    if (o.stored && !difference.removed.touches(*o.stored) && !(other && difference.changed.touches(*o.stored))) continue;
    o.open();
    o.set.subtract(difference.removed);
    if (other) o.set.subtract(difference.changed);
  }
  if (!difference.changed.empty()) {
    Owner& mine = entry(owners, std::move(self));
    if (!mine.stored || !difference.changed.within(*mine.stored)) {
      mine.open();
      mine.set.add(difference.changed);
    }
    mine.time = manager.time;
  }
  store(object, owners);
}

}  // namespace api
