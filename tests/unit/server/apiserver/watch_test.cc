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
