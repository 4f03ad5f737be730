#include "fixture.h"

using namespace test;

namespace {
const api::Resource quotas{"", "v1", "resourcequotas"}, ranges{"", "v1", "limitranges"};

Task<> quota(Cluster c, std::string hard, std::string used) {
  CHECK((co_await c.admin->create(quotas, {"default", ""},
                                  R"({"apiVersion":"v1","kind":"ResourceQuota","metadata":{"name":"q"},"spec":{"hard":)" + hard + "}}")));
  api::WriteOptions status;
  status.subresource = "status";
  CHECK((co_await c.admin->patch(quotas, {"default", "q"}, api::PatchType::merge,
                                 R"({"status":{"hard":)" + hard + ",\"used\":" + used + "}}", status)));
}
}  // namespace

TEST_CASE("of 64 racing creates a quota of 10 admits exactly 10") {
  with_cluster([](Cluster c) -> Task<> {
    co_await quota(c, R"({"configmaps":"10"})", R"({"configmaps":"0"})");
    base::Tasks tasks(c.runtime);
    auto admitted = std::make_shared<std::atomic<int>>(0), refused = std::make_shared<std::atomic<int>>(0);
    for (int i = 0; i < 64; ++i)
      tasks.spawn("create", [](Cluster cl, int n, std::shared_ptr<std::atomic<int>> yes, std::shared_ptr<std::atomic<int>> no) -> Task<> {
        auto made = co_await cl.admin->create(configmaps, {"default", ""}, configmap("c" + std::to_string(n)));
        if (made) ++*yes;
        else if (made.error().code == 403) ++*no;
      }(c, i, admitted, refused));
    while (tasks.running() > 0) co_await base::sleep_for(std::chrono::milliseconds(5));
    co_await tasks.stop();
    CHECK(*admitted == 10);
    CHECK(*refused == 54);
    auto read = co_await c.admin->get(quotas, {"default", "q"});
    CHECK(text(parse(*read), "status.used.configmaps") == "10");
    auto more = co_await c.admin->create(configmaps, {"default", ""}, configmap("more"));
    REQUIRE(!more);
    CHECK(more.error().message ==
          "configmaps \"more\" is forbidden: exceeded quota: q, requested: configmaps=1, used: configmaps=10, limited: configmaps=10");
  });
}

TEST_CASE("a quota on compute makes stating it a duty, which a limit range can do") {
  with_cluster([](Cluster c) -> Task<> {
    co_await default_account(c);
    co_await quota(c, R"({"requests.cpu":"1"})", R"({"requests.cpu":"0"})");
    auto silent = co_await c.admin->create(pods, {"default", ""}, pod("p"));
    REQUIRE(!silent);
    CHECK(silent.error().message.find("must specify requests.cpu") != std::string::npos);
    CHECK((co_await c.admin->create(
        ranges, {"default", ""},
        R"({"apiVersion":"v1","kind":"LimitRange","metadata":{"name":"l"},"spec":{"limits":[{"type":"Container","default":{"cpu":"600m"},"defaultRequest":{"cpu":"600m"},"max":{"cpu":"700m"}}]}})")));
    auto first = co_await c.admin->create(pods, {"default", ""}, pod("p"));
    REQUIRE(first);
    CHECK(text(parse(*first), "status.qosClass") == "Burstable");
    auto second = co_await c.admin->create(pods, {"default", ""}, pod("p2"));
    CHECK((!second && second.error().message.find("exceeded quota") != std::string::npos));
    auto big = co_await c.admin->create(
        pods, {"default", ""},
        R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"big"},"spec":{"containers":[{"name":"c","image":"x","resources":{"limits":{"cpu":"2"}}}]}})");
    CHECK((!big && big.error().message.find("maximum cpu usage per Container is 700m, but limit is 2") != std::string::npos));
  });
}
