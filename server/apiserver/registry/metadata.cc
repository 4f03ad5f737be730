#include "server/apiserver/registry/metadata.h"

#include <algorithm>
#include <set>

#include <fmt/format.h>

#include "api/validate_names.h"
#include "base/bytes.h"
#include "base/time.h"
#include "server/apiserver/registry/json_text.h"

namespace server {
namespace {

using base::json::object;
using base::json::value;

bool alnum(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }
bool any_alnum(char c) { return alnum(c) || (c >= 'A' && c <= 'Z'); }

constexpr std::string_view qualified_detail =
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. "
    "'MyName',  or 'my.name',  "
    "or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
constexpr std::string_view label_value_detail =
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
    "alphanumeric character (e.g. "
    "'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

void check_name(std::string_view name, NameRule rule, std::string_view field, std::vector<base::Cause>& causes) {
  constexpr std::pair<NameRule, std::string (*)(std::string_view)> rules[] = {{NameRule::subdomain, api::check_dns1123_subdomain},
                                                                              {NameRule::label, api::check_dns1123_label},
                                                                              {NameRule::rfc1035_label, api::check_dns1035_label},
                                                                              {NameRule::path_segment, api::check_path_segment}};
  for (auto [known, check] : rules) {
    if (known != rule) continue;
    if (std::string wrong = check(name); !wrong.empty()) causes.push_back(invalid_value(std::string(field), value(name), wrong));
  }
}

void check_labels(const object& meta, std::vector<base::Cause>& causes) {
  const value* labels = meta.if_contains("labels");
  if (!labels || !labels->is_object()) return;
  for (const auto& [name, v] : labels->get_object()) {
    if (!is_qualified_name(name)) causes.push_back(invalid_value("metadata.labels", value(std::string_view(name)), qualified_detail));
    if (!v.is_string()) continue;
    std::string_view text = v.get_string();
    if (text.size() > 63) causes.push_back(invalid_value("metadata.labels", v, "must be no more than 63 bytes"));
    else if (!is_label_value(text)) causes.push_back(invalid_value("metadata.labels", v, label_value_detail));
  }
}

void check_annotations(const object& meta, std::vector<base::Cause>& causes) {
  const value* annotations = meta.if_contains("annotations");
  if (!annotations || !annotations->is_object()) return;
  size_t total = 0;
  for (const auto& [name, v] : annotations->get_object()) {
    std::string lower(name);
    std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
    if (!is_qualified_name(lower)) causes.push_back(invalid_value("metadata.annotations", value(std::string_view(name)), qualified_detail));
    total += name.size() + (v.is_string() ? v.get_string().size() : 0);
  }
  constexpr size_t most = 256 * 1024;
  if (total > most)
    causes.push_back({"FieldValueTooLong", fmt::format("Too long: may not be more than {} bytes", most), "metadata.annotations"});
}

void check_owners(const object& meta, std::vector<base::Cause>& causes) {
  const value* owners = meta.if_contains("ownerReferences");
  if (!owners || !owners->is_array()) return;
  std::string controller;
  size_t i = 0;
  for (const value& owner : owners->get_array()) {
    std::string field = fmt::format("metadata.ownerReferences[{}]", i++);
    const object* ref = owner.if_object();
    if (!ref) continue;
    for (std::string_view name : {"apiVersion", "kind", "name", "uid"})
      if (text_of(*ref, name).empty()) causes.push_back(invalid_value(fmt::format("{}.{}", field, name), value(""), "must not be empty"));
    if (text_of(*ref, "kind") == "Event" && text_of(*ref, "apiVersion") == "v1")
      causes.push_back(invalid_value(field, value("v1, Kind=Event"), "is disallowed from being an owner"));
    const value* c = ref->if_contains("controller");
    if (!c || !c->is_bool() || !c->get_bool()) continue;
    if (!controller.empty())
      causes.push_back(
          invalid_value("metadata.ownerReferences", *owners,
                        fmt::format("Only one reference can have Controller set to true. Found \"true\" in references for {} and {}",
                                    controller, text_of(*ref, "name"))));
    controller = text_of(*ref, "name");
  }
}

void check_finalizers(const object& meta, std::vector<base::Cause>& causes) {
  const value* list = meta.if_contains("finalizers");
  if (!list || !list->is_array()) return;
  size_t i = 0;
  bool orphan = false, foreground = false;
  for (const value& f : list->get_array()) {
    std::string field = fmt::format("metadata.finalizers[{}]", i++);
    if (!f.is_string()) continue;
    std::string_view text = f.get_string();
    if (!is_qualified_name(text)) causes.push_back(invalid_value(field, f, qualified_detail));
    else if (text.find('/') == text.npos && text != "orphan" && text != "foregroundDeletion" && text != "kubernetes")
      causes.push_back(invalid_value(field, f, "name is neither a standard finalizer name nor is it fully qualified"));
    orphan |= text == "orphan";
    foreground |= text == "foregroundDeletion";
  }
  if (orphan && foreground)
    causes.push_back(invalid_value("metadata.finalizers", *list, "finalizer foregroundDeletion and orphan cannot be both set"));
}

std::set<std::string> finalizer_set(const object& meta) {
  std::set<std::string> out;
  if (const value* list = meta.if_contains("finalizers"); list && list->is_array())
    for (const value& f : list->get_array())
      if (f.is_string()) out.emplace(f.get_string());
  return out;
}

void append_member(std::string& out, std::string_view name, const value& v) {
  if (out.back() != '{') out += ',';
  append_json_string(out, name);
  out += ':';
  append_json(out, v);
}

void append_metadata(std::string& out, const object& meta, size_t& revision_offset) {
  out += '{';
  constexpr std::string_view first[] = {"name", "generateName", "namespace", "uid"};
  for (std::string_view name : first)
    if (const value* v = meta.if_contains(name)) append_member(out, name, *v);
  if (out.back() != '{') out += ',';
  out += "\"resourceVersion\":\"";
  revision_offset = out.size();
  out += '"';
  for (const auto& [name, v] : meta) {
    if (name == "resourceVersion" || name == "selfLink" || std::find(std::begin(first), std::end(first), name) != std::end(first)) continue;
    append_member(out, name, v);
  }
  out += '}';
}

}  // namespace

object& metadata_of(object& o) {
  value& m = o["metadata"];
  if (!m.is_object()) m.emplace_object();
  return m.get_object();
}

const object& metadata_of(const object& o) {
  static const object none;
  const value* m = o.if_contains("metadata");
  return m && m->is_object() ? m->get_object() : none;
}

std::string_view text_of(const object& o, std::string_view name) {
  const value* v = o.if_contains(name);
  return v && v->is_string() ? std::string_view(v->get_string()) : std::string_view();
}

void fill_new(object& meta, std::string_view ns, bool has_generation) {
  for (std::string_view name : {"resourceVersion", "selfLink", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"})
    meta.erase(name);
  meta["uid"] = base::uuid4();
  meta["creationTimestamp"] = base::now_rfc3339();
  if (!ns.empty()) meta["namespace"] = ns;
  else meta.erase("namespace");
  if (has_generation) meta["generation"] = 1;
}

void check_system_fields(const object& meta, const object& old, std::vector<base::Cause>& causes) {
  for (std::string_view name : {"creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"}) {
    const value* now = meta.if_contains(name);
    const value* before = old.if_contains(name);
    if (!now || now->is_null() || (before && *before == *now)) continue;
    if (now->is_string() && before && before->is_string()) {
      // One moment can be written in several ways.
      auto a = base::parse_rfc3339(now->get_string()), b = base::parse_rfc3339(before->get_string());
      if (a && b && *a == *b) continue;
    }
    causes.push_back(invalid_value(fmt::format("metadata.{}", name), *now, "field is immutable"));
  }
}

void keep_system_fields(object& meta, const object& old) {
  for (std::string_view name :
       {"uid", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds", "generateName", "namespace"}) {
    if (const value* v = old.if_contains(name)) meta[name] = *v;
    else meta.erase(name);
  }
  meta.erase("selfLink");
}

bool is_dns_label(std::string_view s) {
  if (s.empty() || s.size() > 63 || !alnum(s.front()) || !alnum(s.back())) return false;
  return std::all_of(s.begin(), s.end(), [](char c) { return alnum(c) || c == '-'; });
}

bool is_dns_subdomain(std::string_view s) {
  if (s.empty() || s.size() > 253) return false;
  for (size_t at = 0;;) {
    size_t dot = s.find('.', at);
    std::string_view part = s.substr(at, dot == s.npos ? dot : dot - at);
    if (part.empty() || !alnum(part.front()) || !alnum(part.back())) return false;
    if (!std::all_of(part.begin(), part.end(), [](char c) { return alnum(c) || c == '-'; })) return false;
    if (dot == s.npos) return true;
    at = dot + 1;
  }
}

bool is_label_value(std::string_view s) {
  if (s.empty()) return true;
  if (s.size() > 63 || !any_alnum(s.front()) || !any_alnum(s.back())) return false;
  return std::all_of(s.begin(), s.end(), [](char c) { return any_alnum(c) || c == '-' || c == '_' || c == '.'; });
}

bool is_qualified_name(std::string_view s) {
  if (size_t slash = s.find('/'); slash != s.npos) {
    if (!is_dns_subdomain(s.substr(0, slash))) return false;
    s.remove_prefix(slash + 1);
  }
  return !s.empty() && is_label_value(s);
}

void validate_metadata(const object& meta, bool namespaced, NameRule rule, std::vector<base::Cause>& causes) {
  std::string_view name = text_of(meta, "name");
  if (std::string prefix(text_of(meta, "generateName")); !prefix.empty()) {
    // What follows makes a trailing dash good.
    if (prefix.back() == '-' && prefix.size() > 1) prefix.back() = 'a';
    std::vector<base::Cause> found;
    check_name(prefix, rule, "metadata.generateName", found);
    for (base::Cause& c : found) causes.push_back(std::move(c));
  }
  if (name.empty()) causes.push_back(required("metadata.name", "name or generateName is required"));
  else check_name(name, rule, "metadata.name", causes);
  if (namespaced && text_of(meta, "namespace").empty()) causes.push_back(required("metadata.namespace"));
  check_labels(meta, causes);
  check_annotations(meta, causes);
  check_owners(meta, causes);
  check_finalizers(meta, causes);
}

void validate_metadata_update(const object& meta, const object& old, std::vector<base::Cause>& causes) {
  if (old.contains("deletionTimestamp")) {
    std::set<std::string> before = finalizer_set(old);
    std::string added;
    for (const std::string& f : finalizer_set(meta))
      if (!before.contains(f)) added += fmt::format("{}\"{}\"", added.empty() ? "" : ", ", f);
    if (!added.empty())
      causes.push_back(forbidden_field(
          "metadata.finalizers",
          fmt::format("no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}", added)));
  }
  for (std::string_view name : {"name", "namespace", "uid", "creationTimestamp"}) {
    std::string_view now = text_of(meta, name), before = text_of(old, name);
    if (now != before) causes.push_back(invalid_value(fmt::format("metadata.{}", name), value(now), "field is immutable"));
  }
}

bool has_finalizer(const object& meta, std::string_view name) { return finalizer_set(meta).contains(std::string(name)); }

bool has_finalizers(const object& meta) {
  const value* list = meta.if_contains("finalizers");
  return list && list->is_array() && !list->get_array().empty();
}

void set_finalizer(object& meta, std::string_view name, bool present) {
  value* list = meta.if_contains("finalizers");
  if (!list || !list->is_array()) {
    if (!present) return;
    list = &meta["finalizers"];
    list->emplace_array();
  }
  base::json::array& entries = list->get_array();
  auto at = std::find_if(entries.begin(), entries.end(), [&](const value& v) { return v.is_string() && v.get_string() == name; });
  if (present && at == entries.end()) entries.emplace_back(name);
  if (!present && at != entries.end()) entries.erase(at);
  if (entries.empty()) meta.erase("finalizers");
}

std::string canonical_text(const object& o, size_t& revision_offset) {
  std::string out;
  out.reserve(1024);
  out += '{';
  for (std::string_view name : {"apiVersion", "kind"})
    if (const value* v = o.if_contains(name)) append_member(out, name, *v);
  if (out.back() != '{') out += ',';
  out += "\"metadata\":";
  append_metadata(out, metadata_of(o), revision_offset);
  for (const auto& [name, v] : o)
    if (name != "apiVersion" && name != "kind" && name != "metadata") append_member(out, name, v);
  out += '}';
  return out;
}

bool same_value(const value& a, const value& b) {
  if (a.kind() != b.kind()) {
    if (a.is_number() && b.is_number()) return a.to_number<double>() == b.to_number<double>();
    return false;
  }
  return a == b;
}

base::Cause required(std::string field, std::string_view detail) {
  return {"FieldValueRequired", detail.empty() ? std::string("Required value") : fmt::format("Required value: {}", detail),
          std::move(field)};
}

base::Cause invalid_value(std::string field, const value& v, std::string_view detail) {
  return {"FieldValueInvalid", fmt::format("Invalid value: {}: {}", base::to_text(v), detail), std::move(field)};
}

base::Cause forbidden_field(std::string field, std::string_view detail) {
  return {"FieldValueForbidden", fmt::format("Forbidden: {}", detail), std::move(field)};
}

base::Cause not_supported(std::string field, std::string_view v, const std::vector<std::string_view>& supported) {
  std::string list;
  for (std::string_view s : supported) list += fmt::format("{}\"{}\"", list.empty() ? "" : ", ", s);
  return {"FieldValueNotSupported", fmt::format("Unsupported value: \"{}\": supported values: {}", v, list), std::move(field)};
}

}  // namespace server
