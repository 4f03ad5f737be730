#include "server/apiserver/flow/controller.h"

#include "api/codec.h"
#include "base/log.h"
#include "base/time.h"
#include "server/apiserver/flow/defaults.h"
#include "server/apiserver/registry/keys.h"

namespace server::flow {
namespace {

using api::flowcontrol::FlowSchema;
using api::flowcontrol::PriorityLevelConfiguration;
using base::json::array;
using base::json::object;
using base::json::value;
using namespace std::chrono_literals;

constexpr std::string_view kGroup = "flowcontrol.apiserver.k8s.io";
const std::string& prefix() {
  static const std::string text = "/registry/" + std::string(kGroup) + "/";
  return text;
}

struct State {
  std::vector<FlowSchema> schemas;
  std::vector<PriorityLevelConfiguration> levels;
  datastore::Revision revision = 0;
};

Task<Result<State>> read(datastore::Store& store) {
  CO_TRY(datastore::ListResult all, co_await store.list(prefix()));
  State out;
  out.revision = all.revision;
  for (const datastore::RecordPtr& r : all.records) {
    if (resource_in_key(r->key).second == "flowschemas") {
      if (auto o = api::decode<FlowSchema>(*r->value)) out.schemas.push_back(std::move(*o));
    } else if (auto o = api::decode<PriorityLevelConfiguration>(*r->value)) {
      out.levels.push_back(std::move(*o));
    }
  }
  co_return out;
}

bool says(const FlowSchema& s, bool exists) {
  for (const auto& c : s.status.conditions)
    if (c.type == "Dangling")
      return c.status == (exists ? "False" : "True") &&
             c.message.find('"' + s.spec.priorityLevelConfiguration.name + '"') != std::string::npos;
  return false;
}

Task<> tell(State state, std::shared_ptr<api::Client> client) {
  for (const FlowSchema& s : state.schemas) {
    const std::string& level = s.spec.priorityLevelConfiguration.name;
    bool exists = std::any_of(state.levels.begin(), state.levels.end(), [&](const auto& l) { return l.metadata.name == level; });
    if (says(s, exists)) continue;
    value patch = object{{"status", object{{"conditions", array{dangling_condition(level, exists, base::now_rfc3339())}}}}};
    api::WriteOptions options;
    options.subresource = "status";
    options.field_manager = "api-priority-and-fairness-config-consumer-v1";
    auto done = co_await client->patch({std::string(kGroup), "v1", "flowschemas"}, {"", s.metadata.name}, api::PatchType::merge,
                                       base::to_text(patch), options);
    if (!done && done.error().code != 404) base::log::warn("flow", "status of FlowSchema {}: {}", s.metadata.name, done.error().message);
  }
}

// Mandatory objects that were deleted come back; changed ones get their spec back.
Task<> put_back(State state, std::shared_ptr<api::Client> client) {
  for (DefaultObject& d : default_objects()) {
    if (!d.mandatory) continue;
    value v(std::move(d.object));
    const bool schema = base::get_string(v, "kind") == "FlowSchema";
    api::Resource resource{std::string(kGroup), "v1", schema ? "flowschemas" : "prioritylevelconfigurations"};
    std::string name(base::get_string(v, "metadata.name"));
    bool there = false, same = false;
    // The exempt level's numbers are the one part that is the administrator's.
    if (schema) {
      auto want = api::decode<FlowSchema>(v);
      for (const FlowSchema& s : state.schemas)
        if (s.metadata.name == name) there = true, same = want && s.spec == want->spec;
    } else {
      auto want = api::decode<PriorityLevelConfiguration>(v);
      for (const PriorityLevelConfiguration& l : state.levels)
        if (l.metadata.name == name) there = true, same = want && (l.spec == want->spec || (name == "exempt" && l.spec.type == "Exempt"));
    }
    if (there && same) continue;
    Result<base::Bytes> done;
    if (!there) {
      done = co_await client->create(resource, {"", name}, base::to_text(v));
    } else {
      value patch = object{{"spec", v.as_object()["spec"]}};
      done = co_await client->patch(resource, {"", name}, api::PatchType::merge, base::to_text(patch));
    }
    if (!done && done.error().code != 409) base::log::warn("flow", "{} {}: {}", resource.resource, name, done.error().message);
  }
}

}  // namespace

Task<Result<>> load(datastore::Store& store, FlowControl& control) {
  CO_TRY(State state, co_await read(store));
  control.configure(std::move(state.schemas), std::move(state.levels));
  co_return Result<>{};
}

Task<> follow(datastore::Store& store, std::shared_ptr<api::Client> client, FlowControl& control) {
  for (;;) {
    auto state = co_await read(store);
    if (!state) {
      co_await base::sleep_for(5s);
      continue;
    }
    control.configure(state->schemas, state->levels);
    co_await put_back(*state, client);
    co_await tell(*state, client);
    auto watcher = store.watch(prefix(), state->revision);
    if (!watcher) continue;  // compacted meanwhile: read again
    // Whatever changed, all of it is read again: a handful of objects that hardly ever change.
    auto events = co_await (*watcher)->next();
    if (!events && events.error().code != 410) co_return;
    co_await base::sleep_for(20ms);  // several changes at once are one
  }
}

}  // namespace server::flow
