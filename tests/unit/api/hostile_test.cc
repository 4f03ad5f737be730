// Objects of every wrong shape through everything the server does with what clients send. The sanitizers are the judge.
#include <catch2/catch.hpp>
#include <random>

#include "api/apply.h"
#include "api/defaults.h"
#include "api/patch.h"
#include "api/protobuf.h"
#include "api/prune.h"
#include "api/table.h"
#include "api/validation/validate.h"
#include "api/yaml.h"

namespace {

using base::json::value;

constexpr std::pair<std::string_view, std::string_view> kObjects[] = {
    {"Pod",
     R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","labels":{"a":"b"},"finalizers":["x/y"],"managedFields":[{"manager":"m","operation":"Update",
      "apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":{"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{".":{},"f:image":{}}}}}}]},
      "spec":{"hostNetwork":true,"containers":[{"name":"c","image":"i","ports":[{"containerPort":80}],"env":[{"name":"E","valueFrom":{"fieldRef":{"fieldPath":"x"}}}],
      "resources":{"limits":{"cpu":"1"},"requests":{"cpu":"2"}},"volumeMounts":[{"name":"v","mountPath":"/"}],"livenessProbe":{"httpGet":{"port":"x"}}}],
      "volumes":[{"name":"v","configMap":{"name":"m","items":[{"key":"k","path":"p"}]}}],"tolerations":[{"key":"k"}],"affinity":{"nodeAffinity":
      {"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[{"matchExpressions":[{"key":"k","operator":"In","values":["v"]}]}]}}}},
      "status":{"phase":"Running","containerStatuses":[{"name":"c","state":{"waiting":{"reason":"x"}}}],"podIPs":[{"ip":"1.2.3.4"}]}})"},
    {"Service",
     R"({"apiVersion":"v1","kind":"Service","metadata":{"name":"s"},"spec":{"type":"LoadBalancer","sessionAffinity":"ClientIP","ports":[{"port":80,"nodePort":1}],
      "externalIPs":["1.2.3.4"],"selector":{"a":"b"}},"status":{"loadBalancer":{"ingress":[{"ip":"1.1.1.1"}]}}})"},
    {"ReplicationController",
     R"({"apiVersion":"v1","kind":"ReplicationController","spec":{"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c"}]}}}})"},
};

class Mutator {
 public:
  explicit Mutator(unsigned seed) : random_(seed) {}
  size_t below(size_t n) { return n ? random_() % n : 0; }
  value odd() {
    static const char* texts[] = {"null", "true", "-1", "1e300", "\"\"", "\"x\"", "[]", "{}", "[null]", "[[1]]", "{\"a\":null}", "{\"name\":5}", "[{\"name\":{}}]",
                                  "9223372036854775807", "\"-\"", "\"100%\"", "{\"$patch\":\"delete\"}", "[{\"$patch\":\"replace\"}]", "{\"limits\":{\"cpu\":\"1\"}}"};
    return *base::parse_json(texts[below(std::size(texts))]);
  }
  void mutate(value& v, int depth = 0) {
    if (below(4) == 0 || depth > 12) {
      v = odd();
    } else if (auto* o = v.if_object(); o && !o->empty()) {
      auto it = o->begin() + static_cast<std::ptrdiff_t>(below(o->size()));
      size_t what = below(8);
      if (what == 0) o->erase(it);
      else if (what == 1) (*o)["$setElementOrder/" + std::string(it->key())] = odd();
      else if (what == 2) (*o)["$deleteFromPrimitiveList/" + std::string(it->key())] = odd();
      else if (what == 3) (*o)["$retainKeys"] = odd();
      else mutate(it->value(), depth + 1);
    } else if (auto* a = v.if_array(); a && !a->empty()) {
      mutate((*a)[below(a->size())], depth + 1);
    } else {
      v = odd();
    }
  }

 private:
  std::mt19937 random_;
};

}  // namespace

TEST_CASE("objects of any shape harm nothing") {
  Mutator m(1);
  for (int round = 0; round < 3000; ++round) {
    auto [name, text] = kObjects[m.below(std::size(kObjects))];
    const api::Kind& kind = *api::Schema::builtin().kind("v1", name);
    value good = *base::parse_json(text), bad = good;
    for (size_t n = 1 + m.below(3); n > 0; --n) m.mutate(bad);
    (void)api::strategic_merge_patch(*kind.type, good, bad);
    (void)api::strategic_merge_patch(*kind.type, bad, good);
    (void)api::merge_patch(good, bad);
    (void)api::json_patch(good, bad);
    (void)api::table_cells(kind, bad, "2026-01-01T00:00:00Z");
    (void)api::to_protobuf(bad);
    auto yaml = api::parse_yaml(api::to_yaml(bad));
    CHECK((!yaml || *yaml == bad || base::to_text(bad).find("e300") != std::string::npos ||
           base::to_text(bad).find("E300") != std::string::npos));
    std::vector<std::string> problems;
    value pruned = bad;
    bool sound = api::prune(kind, pruned, problems).has_value();
    for (value* v : {&pruned, &bad}) {
      api::apply_defaults(kind, *v);
      api::normalise(*kind.type, *v);
      (void)api::validate_create(kind, *v);
      (void)api::validate_update(kind, good, *v);
      (void)api::validate_update(kind, *v, good);
      (void)api::apply(kind, good, *v, {"m", {}, "t"}, true);
      (void)api::apply(kind, *v, good, {"m", {}, "t"}, false);
      value changed = *v;
      if (changed.is_object()) api::track_update(kind, good, changed, {"m", {}, "t"});
    }
    if (sound && pruned.is_object()) {
      auto bytes = api::to_protobuf(pruned);
      if (bytes) CHECK(api::from_protobuf(*bytes));
    }
  }
}
