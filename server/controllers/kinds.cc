#include "server/controllers/kinds.h"

#include <set>

#include "api/schema.h"

namespace server::controllers {

Kinds::Kinds(Context& context) : custom_(context.informers.get<api::apiextensions::CustomResourceDefinition>()) {}

std::vector<StoredKind> Kinds::all() const {
  std::vector<StoredKind> out;
  std::set<std::pair<std::string, std::string>> seen;
  for (const api::Kind& k : api::Schema::builtin().kinds()) {
    if (k.plural.empty() || k.is_virtual || k.group == "metrics.k8s.io" || k.group == "apiregistration.k8s.io" || k.group == "meta")
      continue;
    if (k.group.empty() && (k.plural == "bindings" || k.plural == "componentstatuses")) continue;
    if (k.group == "events.k8s.io") continue;  // the same objects as events of the core group
    if (k.group == "policy" && k.kind == "Eviction") continue;
    if (seen.emplace(k.group, k.plural).second) out.push_back({{k.group, k.version, k.plural}, k.kind, k.namespaced});
  }
  for (const auto& c : custom_.list())
    for (const auto& v : c->spec.versions)
      if (v.served && seen.emplace(c->spec.group, c->spec.names.plural).second)
        out.push_back({{c->spec.group, v.name, c->spec.names.plural}, c->spec.names.kind, c->spec.scope == "Namespaced"});
  return out;
}

std::optional<StoredKind> Kinds::find(const std::string& api_version, const std::string& kind) const {
  auto [group, version] = api::split_api_version(api_version);
  if (const api::Kind* k = api::Schema::builtin().kind(group, version, kind); k && !k->plural.empty() && !k->is_virtual)
    return StoredKind{{k->group, k->version, k->plural}, k->kind, k->namespaced};
  for (const auto& c : custom_.list())
    if (c->spec.group == group && c->spec.names.kind == kind)
      for (const auto& v : c->spec.versions)
        if (v.served && v.name == version)
          return StoredKind{{c->spec.group, v.name, c->spec.names.plural}, kind, c->spec.scope == "Namespaced"};
  return std::nullopt;
}

void Kinds::on_change(std::function<void()> f) {
  custom_.on_change([f = std::move(f)](const auto&, const auto&) { f(); });
}

}  // namespace server::controllers
