// What is kept beside stored bytes, and events made once for many watchers.
#include <catch2/catch.hpp>

#include "base/json.h"
#include "server/apiserver/http/event_cache.h"
#include "server/apiserver/registry/attributes.h"

using namespace server;

namespace {

// What a start reads from stored bytes is what the write had.
void same_as_written(std::string_view key, std::string_view group, std::string_view resource, const std::string& text) {
  INFO(text);
  auto whole = base::parse_json(text, 256);
  REQUIRE(whole);
  auto written = make_attributes(group, resource, *whole, 0);
  auto read = read_attributes(key, text);
  CHECK(read->labels == written->labels);
  CHECK(read->fields == written->fields);
  CHECK(read->uid == written->uid);
  CHECK(read->deleting == written->deleting);
}

}  // namespace

TEST_CASE("attributes read from stored bytes are those of the object") {
  same_as_written(
      "/registry/core/pods/a/b", "core", "pods",
      R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"b","namespace":"a","uid":"u","resourceVersion":"7","labels":{"x":"1","a":"2"},)"
      R"("annotations":{"k":"a \"quoted\" { brace \\","uid":"no"},"managedFields":[{"fieldsV1":{"f:spec":{"k:{\"name\":\"c\"}":{}}}}]},)"
      R"("spec":{"nodeName":"n1","containers":[{"name":"c","nodeName":"not me"}],"hostNetwork":true,"restartPolicy":"Always"},)"
      R"("status":{"phase":"Running","podIP":"10.0.0.1","podIPs":[{"ip":"10.0.0.1"}],"conditions":[]}})");
  same_as_written("/registry/core/pods/a/b", "core", "pods",
                  R"({"metadata":{"name":"b","deletionTimestamp":"2026-01-01T00:00:00Z"},"spec":{},"status":{}})");
  same_as_written(
      "/registry/core/events/a/b", "core", "events",
      R"({"metadata":{"name":"b"},"involvedObject":{"kind":"Pod","name":"p","fieldPath":"spec.containers{c}"},"reason":"a \u00fc \\","source":{"component":"kubelet"},"type":"Normal"})");
  same_as_written("/registry/batch/jobs/a/b", "batch", "jobs",
                  R"({"metadata":{"name":"b"},"spec":{"completions":3},"status":{"succeeded":2}})");
  same_as_written("/registry/core/namespaces/a", "core", "namespaces",
                  R"({"metadata":{"name":"a","labels":{}},"status":{"phase":"Active"}})");
  same_as_written("/registry/core/nodes/a", "core", "nodes", R"({"metadata":{}})");
}

TEST_CASE("an event is made once for each form, and again for another version of the object") {
  EventCache cache;
  auto record = [](std::string text) {
    auto r = std::make_shared<datastore::Record>();
    r->value = base::make_bytes(std::move(text));
    return r;
  };
  int made = 0;
  auto get = [&](const RecordPtr& r, const std::string& form, WatchItem::Type type = WatchItem::Type::added) {
    return *cache.get({type, r, r->revision, false}, form, [&] { return std::to_string(++made); });
  };
  RecordPtr one = record("1"), two = record("2");
  CHECK(get(one, "table") == "1");
  CHECK(get(one, "table") == "1");
  CHECK(get(one, "protobuf") == "2");
  CHECK(get(one, "table", WatchItem::Type::deleted) == "3");
  CHECK(get(two, "table") == "4");
  CHECK(get(one, "table") == "1");
  std::vector<RecordPtr> others;
  for (int i = 0; i < 10'000; ++i) get(others.emplace_back(record("x")), "table");
  CHECK(made == 10'004);
  CHECK(get(one, "table") == "10005");  // long ago
}
