#include "fixture.h"

using namespace test;

namespace {
Task<api::WatchEvent> next(api::Watch& w) {
  auto e = co_await w.next();
  REQUIRE(e);
  REQUIRE(*e);
  co_return std::move(**e);
}
}  // namespace

TEST_CASE("a watch tells every change after its version, in order") {
  with_cluster([](Cluster c) -> Task<> {
    auto list = co_await c.admin->list(configmaps, "default", {});
    REQUIRE(list);
    api::WatchOptions from;
    from.resource_version = list->resource_version;
    CHECK((co_await c.admin->create(configmaps, {"default", ""}, configmap("a"))));
    CHECK((co_await c.admin->create(configmaps, {"kube-system", ""}, configmap("elsewhere"))));
    CHECK((co_await c.admin->update(configmaps, {"default", "a"}, configmap("a", "2"))));
    CHECK((co_await c.admin->remove(configmaps, {"default", "a"})));
    auto watch = co_await c.admin->watch(configmaps, "default", from);
    REQUIRE(watch);
    auto e = co_await next(**watch);
    CHECK(e.type == api::WatchEvent::Type::added);
    e = co_await next(**watch);
    CHECK(e.type == api::WatchEvent::Type::modified);
    std::string modified_at = text(parse(e.object), "metadata.resourceVersion");
    e = co_await next(**watch);
    CHECK(e.type == api::WatchEvent::Type::deleted);
    CHECK(text(parse(e.object), "data.a") == "2");
    CHECK(std::stoll(text(parse(e.object), "metadata.resourceVersion")) > std::stoll(modified_at));
  });
}

TEST_CASE("an object that begins or ceases to match a selector is added or deleted") {
  with_cluster([](Cluster c) -> Task<> {
    api::WatchOptions options;
    options.label_selector = "x=y";
    auto watch = co_await c.admin->watch(configmaps, "default", options);
    REQUIRE(watch);
    CHECK((co_await c.admin->create(configmaps, {"default", ""}, configmap("a"))));
    CHECK((co_await c.admin->patch(configmaps, {"default", "a"}, api::PatchType::merge, R"({"metadata":{"labels":{"x":"y"}}})")));
    auto e = co_await next(**watch);
    CHECK(e.type == api::WatchEvent::Type::added);
    CHECK((co_await c.admin->patch(configmaps, {"default", "a"}, api::PatchType::merge, R"({"metadata":{"labels":{"x":"z"}}})")));
    e = co_await next(**watch);
    CHECK(e.type == api::WatchEvent::Type::deleted);
    CHECK(text(parse(e.object), "metadata.labels.x") == "y");
  });
}

TEST_CASE("a watch of one node's pods, or of one name, is told of those alone, moves in and out included") {
  with_cluster([](Cluster c) -> Task<> {
    co_await default_account(c);
    api::WatchOptions mine, named, both;
    mine.field_selector = "spec.nodeName=n1";
    named.field_selector = "metadata.name=late";
    both.field_selector = "spec.nodeName=n1,metadata.name!=there";
    CHECK((co_await c.admin->create(pods, {"default", ""}, pod("there", R"(,"nodeName":"n1")"))));
    CHECK((co_await c.admin->create(pods, {"default", ""}, pod("later", R"(,"nodeName":"n2")"))));
    auto everywhere = co_await c.admin->watch(pods, "", mine), one = co_await c.admin->watch(pods, "default", named),
         other = co_await c.admin->watch(pods, "default", both);
    REQUIRE((everywhere && one && other));
    CHECK((co_await c.admin->create(pods, {"default", ""}, pod("late"))));
    api::WriteOptions binding;
    binding.subresource = "binding";
    CHECK((co_await c.admin->create(
        pods, {"default", "late"},
        R"({"apiVersion":"v1","kind":"Binding","metadata":{"name":"late"},"target":{"kind":"Node","name":"n1"}})", binding)));
    CHECK((co_await c.admin->patch(pods, {"default", "later"}, api::PatchType::merge, R"({"metadata":{"labels":{"a":"b"}}})")));
    api::DeleteOptions now;
    now.grace_period_seconds = 0;
    CHECK((co_await c.admin->remove(pods, {"default", "late"}, now)));
    CHECK((co_await c.admin->remove(pods, {"default", "there"}, now)));
    auto check = [](api::Watch& watch, std::vector<std::string> wanted) -> Task<> {
      for (const std::string& want : wanted) {
        auto e = co_await next(watch);
        const char* type = e.type == api::WatchEvent::Type::added      ? "added"
                           : e.type == api::WatchEvent::Type::modified ? "modified"
                                                                       : "deleted";
        CHECK(type + (" " + text(parse(e.object), "metadata.name")) == want);
      }
    };
    co_await check(**everywhere, {"added there", "added late", "deleted late", "deleted there"});
    co_await check(**one, {"added late", "modified late", "deleted late"});
    co_await check(**other, {"added late", "deleted late"});
    api::ListOptions by_name;
    by_name.field_selector = "metadata.name=late";
    CHECK((co_await c.admin->list(pods, "default", by_name))->items.empty());
    by_name.field_selector = "metadata.name=later";
    CHECK((co_await c.admin->list(pods, "default", by_name))->items.size() == 1);
    CHECK((co_await c.admin->list(pods, "", by_name))->items.size() == 1);
  });
}

TEST_CASE("a watch without version begins with what is there") {
  with_cluster([](Cluster c) -> Task<> {
    CHECK((co_await c.admin->create(configmaps, {"default", ""}, configmap("a"))));
    auto watch = co_await c.admin->watch(configmaps, "default", {});
    REQUIRE(watch);
    auto e = co_await next(**watch);
    CHECK(e.type == api::WatchEvent::Type::added);
    CHECK(text(parse(e.object), "metadata.name") == "a");
  });
}
