#include "fixture.h"

using namespace test;

TEST_CASE("a pod needs its service account, and gets token, tolerations, priority and class of service") {
  with_cluster([](Cluster c) -> Task<> {
    auto early = co_await c.admin->create(pods, {"default", ""}, pod("p"));
    CHECK((!early && early.error().code == 403));
    co_await default_account(c);
    auto made = co_await c.admin->create(pods, {"default", ""}, pod("p"));
    REQUIRE(made);
    value v = parse(*made);
    CHECK(text(v, "spec.serviceAccountName") == "default");
    CHECK(base::find_array(v, "spec.volumes")->size() == 1);
    CHECK(base::find_array(v, "spec.tolerations")->size() == 2);
    CHECK(text(v, "status.phase") == "Pending");
    CHECK(text(v, "status.qosClass") == "BestEffort");
    CHECK(text(v, "spec.restartPolicy") == "Always");
    CHECK(base::get_int(v, "spec.priority", -1) == 0);
  });
}

TEST_CASE("binding assigns a pod once") {
  with_cluster([](Cluster c) -> Task<> {
    co_await default_account(c);
    CHECK((co_await c.admin->create(pods, {"default", ""}, pod("p"))));
    api::WriteOptions binding;
    binding.subresource = "binding";
    std::string body = R"({"apiVersion":"v1","kind":"Binding","metadata":{"name":"p"},"target":{"kind":"Node","name":"n1"}})";
    auto bound = co_await c.admin->create(pods, {"default", "p"}, body, binding);
    CHECK(bound);
    auto again = co_await c.admin->create(pods, {"default", "p"}, body, binding);
    CHECK((!again && again.error().code == 409));
    auto read = co_await c.admin->get(pods, {"default", "p"});
    CHECK(text(parse(*read), "spec.nodeName") == "n1");
    CHECK(base::get_int(parse(*read), "metadata.generation") == 1);
    api::ListOptions mine;
    mine.field_selector = "spec.nodeName=n1";
    auto list = co_await c.admin->list(pods, "", mine);
    REQUIRE(list);
    CHECK(list->items.size() == 1);
  });
}

TEST_CASE("a pod on a node is deleted gracefully, one on none at once") {
  with_cluster([](Cluster c) -> Task<> {
    co_await default_account(c);
    CHECK((co_await c.admin->create(pods, {"default", ""}, pod("free"))));
    CHECK((co_await c.admin->remove(pods, {"default", "free"})));
    CHECK(!(co_await c.admin->get(pods, {"default", "free"})));
    CHECK((co_await c.admin->create(pods, {"default", ""}, pod("bound", R"(,"nodeName":"n1")"))));
    auto removed = co_await c.admin->remove(pods, {"default", "bound"});
    REQUIRE(removed);
    value v = parse(*removed);
    CHECK(base::get_int(v, "metadata.deletionGracePeriodSeconds") == 30);
    api::DeleteOptions longer;
    longer.grace_period_seconds = 60;
    removed = co_await c.admin->remove(pods, {"default", "bound"}, longer);
    CHECK(base::get_int(parse(*removed), "metadata.deletionGracePeriodSeconds") == 30);
    api::DeleteOptions shorter;
    shorter.grace_period_seconds = 5;
    removed = co_await c.admin->remove(pods, {"default", "bound"}, shorter);
    CHECK(base::get_int(parse(*removed), "metadata.deletionGracePeriodSeconds") == 5);
    shorter.grace_period_seconds = 0;
    CHECK((co_await c.admin->remove(pods, {"default", "bound"}, shorter)));
    CHECK(!(co_await c.admin->get(pods, {"default", "bound"})));
  });
}

TEST_CASE("eviction respects a disruption budget") {
  with_cluster([](Cluster c) -> Task<> {
    co_await default_account(c);
    std::string body =
        R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","labels":{"a":"b"}},"spec":{"nodeName":"n1","containers":[{"name":"c","image":"x"}]}})";
    CHECK((co_await c.admin->create(pods, {"default", ""}, body)));
    api::WriteOptions status, eviction;
    status.subresource = "status";
    eviction.subresource = "eviction";
    CHECK((co_await c.admin->patch(pods, {"default", "p"}, api::PatchType::merge, R"({"status":{"phase":"Running"}})", status)));
    CHECK((co_await c.admin->create(
        {"policy", "v1", "poddisruptionbudgets"}, {"default", ""},
        R"({"apiVersion":"policy/v1","kind":"PodDisruptionBudget","metadata":{"name":"b"},"spec":{"minAvailable":1,"selector":{"matchLabels":{"a":"b"}}}})")));
    std::string evict = R"({"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"p"}})";
    auto refused = co_await c.admin->create(pods, {"default", "p"}, evict, eviction);
    CHECK((!refused && refused.error().code == 429));
    CHECK((co_await c.admin->patch(
        {"policy", "v1", "poddisruptionbudgets"}, {"default", "b"}, api::PatchType::merge,
        R"({"status":{"disruptionsAllowed":1,"observedGeneration":1,"currentHealthy":2,"desiredHealthy":1,"expectedPods":2}})", status)));
    auto allowed = co_await c.admin->create(pods, {"default", "p"}, evict, eviction);
    CHECK(allowed);
    auto read = co_await c.admin->get(pods, {"default", "p"});
    REQUIRE(read);
    CHECK(!text(parse(*read), "metadata.deletionTimestamp").empty());
  });
}
