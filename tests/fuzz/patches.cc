// The three patch formats on a pod or any document: document, byte 1, patch.
#include "api/patch.h"
#include "api/schema.h"
#include "base/json.h"
#include "fuzz.h"

const std::vector<std::string_view> fuzz::seeds = {
    R"({"spec":{"containers":[{"name":"a","image":"b","ports":[{"containerPort":1}]}]}})" "\1" R"({"spec":{"containers":[{"name":"a","$patch":"delete"}],"$setElementOrder/containers":[{"name":"a"}]}})",
    R"({"a":[1,{"b/c":2}]})" "\1" R"([{"op":"test","path":"/a/0","value":1},{"op":"copy","from":"/a","path":"/a/-"},{"op":"move","from":"/a/1/b~1c","path":"/d"},{"op":"remove","path":"/a/0"}])",
    R"({"metadata":{"finalizers":["a"],"labels":{"x":"y"}}})" "\1" R"({"metadata":{"$deleteFromPrimitiveList/finalizers":["a"],"labels":{"$patch":"replace","z":null},"$retainKeys":["labels"]}})"};

void fuzz::one(std::string_view input) {
  auto document = base::parse_json(take(input), 64), patch = base::parse_json(input, 64);
  if (!document || !patch) return;
  auto patched = api::json_patch(*document, *patch);
  if (patched) (void)base::to_text(*patched);
  (void)base::to_text(api::merge_patch(*document, *patch));
  static const api::Type& pod = *api::Schema::builtin().kind("v1", "Pod")->type;
  auto merged = api::strategic_merge_patch(pod, *document, *patch);
  if (merged) (void)base::to_text(*merged);
}
