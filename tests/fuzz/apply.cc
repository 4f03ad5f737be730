// Server-side apply and the ownership of fields: live object, byte 1, applied one, both pruned as the server does.
#include "api/apply.h"
#include "api/prune.h"
#include "api/schema.h"
#include "base/json.h"
#include "fuzz.h"

const std::vector<std::string_view> fuzz::seeds = {
    R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","managedFields":[{"manager":"m","operation":"Apply","apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":{"f:spec":{"f:containers":{"k:{\"name\":\"a\"}":{".":{},"f:image":{}}}}}}]},"spec":{"containers":[{"name":"a","image":"b"}]}})"
    "\1"
    R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","finalizers":["x/y"]},"spec":{"containers":[{"name":"a","image":"c","ports":[{"containerPort":80}]}]}})",
    "null\1"
    R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","labels":{"a":"b"}}})"};

void fuzz::one(std::string_view input) {
  static const api::Kind& pod = *api::Schema::builtin().kind("v1", "Pod");
  auto live = base::parse_json(take(input), 64), applied = base::parse_json(input, 64);
  if (!live || !applied || !applied->is_object() || (!live->is_object() && !live->is_null())) return;
  for (base::json::value* v : {&*live, &*applied})
    if (v->is_object()) (v->as_object()["apiVersion"] = "v1", v->as_object()["kind"] = "Pod");
  std::vector<std::string> problems;
  if (live->is_object() && !api::prune(pod, *live, problems)) return;
  if (!api::prune(pod, *applied, problems)) return;
  base::json::value updated = *applied;
  api::track_update(pod, *live, updated, {"other", "", "2026-01-01T00:00:00Z"});
  if (auto* metadata = base::find(*applied, "metadata"); metadata && metadata->is_object())
    applied->as_object()["metadata"].as_object().erase("managedFields");
  const api::Manager manager{"m", "", "2026-01-01T00:00:00Z"};
  auto first = api::apply(pod, *live, *applied, manager, false);
  if (!first) first = api::apply(pod, *live, *applied, manager, true);
  if (!first) return;
  // The first may still leave nobody as owner, which the second puts right; then nothing changes any more.
  auto second = api::apply(pod, *first, *applied, manager, false);
  require(second.has_value());
  auto third = api::apply(pod, *second, *applied, manager, false);
  require(third && *third == *second);
}
