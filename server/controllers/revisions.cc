#include "server/controllers/revisions.h"

#include <map>

namespace server::controllers {

namespace apps = api::apps;

namespace {

// Members by name, as Go writes maps.
void sort_members(base::json::value& v) {
  if (base::json::array* list = v.if_array())
    for (base::json::value& e : *list) sort_members(e);
  base::json::object* o = v.if_object();
  if (!o) return;
  std::map<std::string, base::json::value> members;
  for (auto& m : *o) members.emplace(m.key(), std::move(m.value()));
  o->clear();
  for (auto& [name, member] : members) {
    sort_members(member);
    o->emplace(name, std::move(member));
  }
}

}  // namespace

std::string revision_data(const core::PodTemplateSpec& t) {
  base::json::value body = api::encode_json(t);
  base::make_object(body, "metadata");
  base::json::object& spec = base::make_object(body, "spec");
  for (const char* containers : {"containers", "initContainers"})
    if (base::json::value* list = spec.if_contains(containers); list && list->is_array())
      for (base::json::value& c : list->get_array()) base::make_object(c, "resources");
  body.as_object()["$patch"] = "replace";
  sort_members(body);
  return base::to_text(base::json::object{{"spec", base::json::object{{"template", std::move(body)}}}});
}

Result<core::PodTemplateSpec> template_of(const apps::ControllerRevision& r) {
  TRY(auto data, base::parse_json(r.data.text));
  const auto* t = base::find(data, "spec.template");
  if (!t) return base::internal("revision " + r.metadata.name + " holds no template");
  return api::decode<core::PodTemplateSpec>(*t);
}

Revisions::Revisions(Context& context) : client_(context.client), revisions_(context.informers.get<apps::ControllerRevision>()) {
  index_by_owner(revisions_);
}

std::vector<RevisionPtr> Revisions::of(const std::string& owner_uid) const {
  auto out = revisions_.by_index(by_owner, owner_uid);
  std::sort(out.begin(), out.end(), [](const RevisionPtr& a, const RevisionPtr& b) { return a->revision < b->revision; });
  return out;
}

Task<Result<RevisionPtr>> Revisions::current(const api::KindInfo& kind, meta::ObjectMeta owner, core::PodTemplateSpec t,
                                             std::optional<int32_t> collisions) {
  const std::string data = revision_data(t);
  auto all = of(owner.uid);
  RevisionPtr same;
  for (const RevisionPtr& r : all) {
    auto kept = template_of(*r);
    if (kept && revision_data(*kept) == data) same = r;
  }
  if (same && same == all.back()) co_return same;
  const int64_t next = all.empty() ? 1 : all.back()->revision + 1;
  if (same) {  // rolled back
    apps::ControllerRevision moved = *same;
    moved.revision = next;
    CO_TRY(auto r, co_await api::update(client_, std::move(moved)));
    co_return std::make_shared<const apps::ControllerRevision>(std::move(r));
  }
  apps::ControllerRevision fresh;
  std::string hash = short_hash(data + (collisions ? std::to_string(*collisions) : ""));
  fresh.metadata.name = owner.name.substr(0, 223) + "-" + hash;
  fresh.metadata.namespace_ = owner.namespace_;
  fresh.metadata.labels = t.metadata.labels;
  fresh.metadata.labels[revision_label] = hash;
  fresh.metadata.ownerReferences.push_back(controller_reference(kind, owner));
  fresh.data.text = data;
  fresh.revision = next;
  ObjectKey key{owner.namespace_, fresh.metadata.name};
  auto r = co_await api::create(client_, std::move(fresh));
  if (!r && base::is_already_exists(r.error())) r = co_await api::get<apps::ControllerRevision>(client_, key);  // our cache is behind
  if (!r) co_return std::unexpected(std::move(r).error());
  co_return std::make_shared<const apps::ControllerRevision>(std::move(*r));
}

Task<Result<>> Revisions::trim(std::string owner_uid, std::vector<std::string> in_use, int32_t limit) {
  auto all = of(owner_uid);
  std::erase_if(all, [&](const RevisionPtr& r) {
    auto used = [&](const std::string& id) { return std::find(in_use.begin(), in_use.end(), id) != in_use.end(); };
    auto it = r->metadata.labels.find(revision_label);
    return used(r->metadata.name) || (it != r->metadata.labels.end() && used(it->second));
  });
  for (size_t i = 0; i + size_t(std::max(0, limit)) < all.size(); ++i) {
    auto r = co_await api::remove<apps::ControllerRevision>(client_, {all[i]->metadata.namespace_, all[i]->metadata.name});
    if (!r && !base::is_not_found(r.error())) co_return r;
  }
  co_return Result<>{};
}

}  // namespace server::controllers
