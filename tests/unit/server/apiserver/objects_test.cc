#include "fixture.h"

using namespace test;

TEST_CASE("an object gets what the server owns, and only that") {
  with_cluster([](Cluster c) -> Task<> {
    auto made = co_await c.admin->create(configmaps, {"default", ""},
                                         configmap("a", "1", R"(,"uid":"mine","creationTimestamp":"2000-01-01T00:00:00Z")"));
    REQUIRE(made);
    value v = parse(*made);
    CHECK(text(v, "metadata.uid").size() == 36);
    CHECK(text(v, "metadata.creationTimestamp") > "2020");
    CHECK(text(v, "metadata.namespace") == "default");
    auto read = co_await c.admin->get(configmaps, {"default", "a"});
    REQUIRE(read);
    CHECK(**read == **made);
    auto twice = co_await c.admin->create(configmaps, {"default", ""}, configmap("a"));
    REQUIRE(!twice);
    CHECK(twice.error().code == 409);
    CHECK(twice.error().message == "configmaps \"a\" already exists");
  });
}

TEST_CASE("what is wrong is refused in Kubernetes' words") {
  with_cluster([](Cluster c) -> Task<> {
    auto r = co_await c.admin->create(configmaps, {"nowhere", ""}, configmap("a"));
    CHECK((!r && r.error().code == 404 && r.error().message == "namespaces \"nowhere\" not found"));
    r = co_await c.admin->create(configmaps, {"default", ""}, configmap("Not_A_Name"));
    CHECK((!r && r.error().code == 422 && !r.error().causes.empty() && r.error().causes[0].field == "metadata.name"));
    r = co_await c.admin->create(configmaps, {"default", ""}, R"({"apiVersion":"v1","kind":"ConfigMap","metadata":{}})");
    CHECK((!r && r.error().code == 422));
    r = co_await c.admin->create(configmaps, {"default", ""}, R"({"apiVersion":"v1","kind":"Secret","metadata":{"name":"a"}})");
    CHECK((!r && r.error().code == 400));
    r = co_await c.admin->create(configmaps, {"default", ""}, configmap("a", "1", R"(,"namespace":"other")"));
    CHECK((!r && r.error().code == 400));
    r = co_await c.admin->create(configmaps, {"default", ""}, "{");
    CHECK((!r && r.error().code == 400));
    r = co_await c.admin->get(configmaps, {"default", "none"});
    CHECK((!r && r.error().code == 404 && r.error().message == "configmaps \"none\" not found"));
    r = co_await c.admin->get({"apps", "v1", "nothings"}, {"default", "none"});
    CHECK((!r && r.error().code == 404));
  });
}

TEST_CASE("of two writers with one resourceVersion exactly one wins") {
  with_cluster([](Cluster c) -> Task<> {
    auto made = co_await c.admin->create(configmaps, {"default", ""}, configmap("a"));
    REQUIRE(made);
    std::string version = text(parse(*made), "metadata.resourceVersion");
    std::string body = configmap("a", "2", ",\"resourceVersion\":\"" + version + "\"");
    auto first = co_await c.admin->update(configmaps, {"default", "a"}, body);
    CHECK(first);
    auto second = co_await c.admin->update(configmaps, {"default", "a"}, configmap("a", "3", ",\"resourceVersion\":\"" + version + "\""));
    REQUIRE(!second);
    CHECK(base::is_conflict(second.error()));
    CHECK(second.error().message ==
          "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes to the latest "
          "version and try again");
    auto unconditional = co_await c.admin->update(configmaps, {"default", "a"}, configmap("a", "4"));
    CHECK(unconditional);
    auto same = co_await c.admin->update(configmaps, {"default", "a"}, configmap("a", "4"));
    REQUIRE(same);
    CHECK(text(parse(*same), "metadata.resourceVersion") == text(parse(*unconditional), "metadata.resourceVersion"));
  });
}

TEST_CASE("racing increments lose nothing") {
  with_cluster([](Cluster c) -> Task<> {
    auto made = co_await c.admin->create(configmaps, {"default", ""}, configmap("n", "0"));
    REQUIRE(made);
    base::Tasks tasks(c.runtime);
    auto wins = std::make_shared<std::atomic<int>>(0);
    constexpr int writers = 8, rounds = 20;
    for (int i = 0; i < writers; ++i)
      tasks.spawn("writer", [](Cluster cl, std::shared_ptr<std::atomic<int>> w) -> Task<> {
        for (int done = 0; done < rounds;) {
          auto read = co_await cl.admin->get(configmaps, {"default", "n"});
          value v = *base::parse_json(**read);
          int n = std::stoi(text(v, "data.a"));
          auto wrote = co_await cl.admin->update(
              configmaps, {"default", "n"},
              configmap("n", std::to_string(n + 1), ",\"resourceVersion\":\"" + text(v, "metadata.resourceVersion") + "\""));
          if (!wrote) continue;
          ++done;
          ++*w;
        }
      }(c, wins));
    while (tasks.running() > 0) co_await base::sleep_for(std::chrono::milliseconds(5));
    co_await tasks.stop();
    auto read = co_await c.admin->get(configmaps, {"default", "n"});
    CHECK(text(parse(*read), "data.a") == std::to_string(writers * rounds));
    CHECK(*wins == writers * rounds);
  });
}

TEST_CASE("generateName makes names of its own") {
  with_cluster([](Cluster c) -> Task<> {
    std::string body = R"({"apiVersion":"v1","kind":"ConfigMap","metadata":{"generateName":"cm-"}})";
    auto a = co_await c.admin->create(configmaps, {"default", ""}, body);
    auto b = co_await c.admin->create(configmaps, {"default", ""}, body);
    REQUIRE((a && b));
    CHECK(text(parse(*a), "metadata.name").size() == 8);
    CHECK(text(parse(*a), "metadata.name") != text(parse(*b), "metadata.name"));
  });
}

TEST_CASE("a dry run answers and leaves no trace") {
  with_cluster([](Cluster c) -> Task<> {
    api::WriteOptions dry;
    dry.dry_run = true;
    auto before = c.store.revision();
    auto made = co_await c.admin->create(configmaps, {"default", ""}, configmap("a"), dry);
    REQUIRE(made);
    CHECK(text(parse(*made), "metadata.name") == "a");
    CHECK(c.store.revision() == before);
    CHECK(!(co_await c.admin->get(configmaps, {"default", "a"})));
  });
}

TEST_CASE("finalizers hold a deleted object until the last one goes") {
  with_cluster([](Cluster c) -> Task<> {
    CHECK((co_await c.admin->create(configmaps, {"default", ""}, configmap("a", "1", R"(,"finalizers":["x.example/f"])"))));
    CHECK((co_await c.admin->remove(configmaps, {"default", "a"})));
    auto read = co_await c.admin->get(configmaps, {"default", "a"});
    REQUIRE(read);
    value v = parse(*read);
    CHECK(!text(v, "metadata.deletionTimestamp").empty());
    auto more = co_await c.admin->patch(configmaps, {"default", "a"}, api::PatchType::merge,
                                        R"({"metadata":{"finalizers":["x.example/f","y.example/g"]}})");
    CHECK((!more && more.error().code == 422));
    auto undo = co_await c.admin->patch(configmaps, {"default", "a"}, api::PatchType::merge, R"({"metadata":{"deletionTimestamp":null}})");
    REQUIRE(undo);
    CHECK(!text(parse(*undo), "metadata.deletionTimestamp").empty());
    CHECK((co_await c.admin->patch(configmaps, {"default", "a"}, api::PatchType::merge, R"({"metadata":{"finalizers":null}})")));
    auto gone = co_await c.admin->get(configmaps, {"default", "a"});
    CHECK((!gone && gone.error().code == 404));
  });
}

TEST_CASE("preconditions and propagation of a deletion are kept") {
  with_cluster([](Cluster c) -> Task<> {
    auto made = co_await c.admin->create(configmaps, {"default", ""}, configmap("a"));
    REQUIRE(made);
    api::DeleteOptions wrong;
    wrong.uid = "other";
    auto refused = co_await c.admin->remove(configmaps, {"default", "a"}, wrong);
    CHECK((!refused && refused.error().code == 409));
    api::DeleteOptions orphan;
    orphan.propagation_policy = "Orphan";
    CHECK((co_await c.admin->remove(configmaps, {"default", "a"}, orphan)));
    auto read = co_await c.admin->get(configmaps, {"default", "a"});
    REQUIRE(read);
    const value v = parse(*read);
    REQUIRE(base::find_array(v, "metadata.finalizers"));
    CHECK(base::find_array(v, "metadata.finalizers")->at(0) == "orphan");
  });
}

TEST_CASE("pages of a list show one state") {
  with_cluster([](Cluster c) -> Task<> {
    for (int i = 0; i < 7; ++i)
      CHECK((co_await c.admin->create(configmaps, {"default", ""},
                                      configmap("p" + std::to_string(i), "1", i % 2 ? R"(,"labels":{"odd":"yes"})" : ""))));
    api::ListOptions options;
    options.limit = 3;
    auto page = co_await c.admin->list(configmaps, "default", options);
    REQUIRE(page);
    CHECK(page->items.size() == 3);
    REQUIRE(!page->continue_token.empty());
    CHECK((co_await c.admin->remove(configmaps, {"default", "p5"})));
    CHECK((co_await c.admin->create(configmaps, {"default", ""}, configmap("p6a"))));
    size_t total = page->items.size();
    std::string version = page->resource_version;
    while (!page->continue_token.empty()) {
      options.continue_token = page->continue_token;
      page = co_await c.admin->list(configmaps, "default", options);
      REQUIRE(page);
      CHECK(page->resource_version == version);
      total += page->items.size();
    }
    CHECK(total == 7);
    api::ListOptions odd;
    odd.label_selector = "odd=yes";
    odd.limit = 2;
    page = co_await c.admin->list(configmaps, "default", odd);
    REQUIRE(page);
    CHECK(page->items.size() == 2);
    odd.field_selector = "metadata.name=p1";
    page = co_await c.admin->list(configmaps, "", odd);
    REQUIRE(page);
    CHECK(page->items.size() == 1);
    api::ListOptions bad;
    bad.field_selector = "data.a=1";
    page = co_await c.admin->list(configmaps, "", bad);
    CHECK((!page && page.error().code == 400));
    bad = {};
    bad.continue_token = "nonsense";
    page = co_await c.admin->list(configmaps, "", bad);
    CHECK((!page && page.error().code == 400));
  });
}

TEST_CASE("spec and status are kept apart, and only a changed spec is a new generation") {
  with_cluster([](Cluster c) -> Task<> {
    std::string body =
        R"({"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"d"},"spec":{"replicas":2,"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"x"}]}}},"status":{"replicas":9}})";
    auto made = co_await c.admin->create(deployments, {"default", ""}, body);
    REQUIRE(made);
    value v = parse(*made);
    CHECK(base::get_int(v, "metadata.generation") == 1);
    CHECK(base::get_int(v, "status.replicas") == 0);
    auto r =
        co_await c.admin->patch(deployments, {"default", "d"}, api::PatchType::merge, R"({"spec":{"replicas":3},"status":{"replicas":7}})");
    REQUIRE(r);
    v = parse(*r);
    CHECK(base::get_int(v, "metadata.generation") == 2);
    CHECK(base::get_int(v, "status.replicas") == 0);
    api::WriteOptions status;
    status.subresource = "status";
    r = co_await c.admin->patch(deployments, {"default", "d"}, api::PatchType::merge, R"({"spec":{"replicas":5},"status":{"replicas":7}})",
                                status);
    REQUIRE(r);
    v = parse(*r);
    CHECK(base::get_int(v, "metadata.generation") == 2);
    CHECK(base::get_int(v, "spec.replicas") == 3);
    CHECK(base::get_int(v, "status.replicas") == 7);
    r = co_await c.admin->patch(deployments, {"default", "d"}, api::PatchType::merge, R"({"metadata":{"labels":{"x":"y"}}})");
    REQUIRE(r);
    CHECK(base::get_int(parse(*r), "metadata.generation") == 2);
    api::WriteOptions scale;
    scale.subresource = "scale";
    auto s = co_await c.admin->get(deployments, {"default", "d"}, "scale");
    REQUIRE(s);
    CHECK(text(parse(*s), "status.selector") == "a=b");
    s = co_await c.admin->patch(deployments, {"default", "d"}, api::PatchType::merge, R"({"spec":{"replicas":4}})", scale);
    REQUIRE(s);
    CHECK(base::get_int(parse(*s), "spec.replicas") == 4);
  });
}

TEST_CASE("a namespace goes when it is finalized, takes nothing new while it goes, and some never go") {
  with_cluster([](Cluster c) -> Task<> {
    CHECK((co_await c.admin->create(namespaces, {}, R"({"apiVersion":"v1","kind":"Namespace","metadata":{"name":"x"}})")));
    auto removed = co_await c.admin->remove(namespaces, {"", "x"});
    REQUIRE(removed);
    CHECK(text(parse(*removed), "status.phase") == "Terminating");
    auto late = co_await c.admin->create(configmaps, {"x", ""}, configmap("a"));
    REQUIRE(!late);
    CHECK(late.error().code == 403);
    CHECK(late.error().causes.at(0).reason == "NamespaceTerminating");
    api::WriteOptions finalize;
    finalize.subresource = "finalize";
    CHECK((co_await c.admin->update(
        namespaces, {"", "x"}, R"({"apiVersion":"v1","kind":"Namespace","metadata":{"name":"x"},"spec":{"finalizers":[]}})", finalize)));
    CHECK(!(co_await c.admin->get(namespaces, {"", "x"})));
    auto never = co_await c.admin->remove(namespaces, {"", "kube-system"});
    CHECK((!never && never.error().code == 403));
  });
}

TEST_CASE("server-side apply creates, keeps ownership and reports conflicts") {
  with_cluster([](Cluster c) -> Task<> {
    api::WriteOptions a, b;
    a.field_manager = "a";
    b.field_manager = "b";
    CHECK((co_await c.admin->patch(configmaps, {"default", "s"}, api::PatchType::apply, configmap("s", "1"), a)));
    auto conflict = co_await c.admin->patch(configmaps, {"default", "s"}, api::PatchType::apply, configmap("s", "2"), b);
    REQUIRE(!conflict);
    CHECK(conflict.error().code == 409);
    b.force = true;
    auto forced = co_await c.admin->patch(configmaps, {"default", "s"}, api::PatchType::apply, configmap("s", "2"), b);
    REQUIRE(forced);
    CHECK(text(parse(*forced), "data.a") == "2");
  });
}

TEST_CASE("string data of a secret becomes data") {
  with_cluster([](Cluster c) -> Task<> {
    auto made = co_await c.admin->create(secrets, {"default", ""},
                                         R"({"apiVersion":"v1","kind":"Secret","metadata":{"name":"s"},"stringData":{"k":"v"}})");
    REQUIRE(made);
    value v = parse(*made);
    CHECK(text(v, "data.k") == "dg==");
    CHECK(text(v, "type") == "Opaque");
    CHECK(!base::find(v, "stringData"));
  });
}

TEST_CASE("events of the newer group are the same objects") {
  with_cluster([](Cluster c) -> Task<> {
    std::string body =
        R"({"apiVersion":"v1","kind":"Event","metadata":{"name":"e"},"involvedObject":{"kind":"Pod","namespace":"default","name":"p"},"reason":"R","message":"hello","type":"Normal"})";
    CHECK((co_await c.admin->create({"", "v1", "events"}, {"default", ""}, body)));
    auto other = co_await c.admin->get({"events.k8s.io", "v1", "events"}, {"default", "e"});
    REQUIRE(other);
    value v = parse(*other);
    CHECK(text(v, "apiVersion") == "events.k8s.io/v1");
    CHECK(text(v, "note") == "hello");
    CHECK(text(v, "regarding.name") == "p");
    api::ListOptions options;
    options.field_selector = "involvedObject.name=p,type!=Warning";
    auto list = co_await c.admin->list({"", "v1", "events"}, "default", options);
    REQUIRE(list);
    CHECK(list->items.size() == 1);
  });
}

TEST_CASE("who reads an autoscaler as v1 and writes it back loses nothing of v2") {
  with_cluster([](Cluster c) -> Task<> {
    const api::Resource v1{"autoscaling", "v1", "horizontalpodautoscalers"}, v2{"autoscaling", "v2", "horizontalpodautoscalers"};
    const std::string target = R"("scaleTargetRef":{"apiVersion":"apps/v1","kind":"Deployment","name":"d"})";
    const std::string body =
        R"({"apiVersion":"autoscaling/v2","kind":"HorizontalPodAutoscaler","metadata":{"name":"h"},"spec":{)" + target +
        R"(,"maxReplicas":3,"metrics":[{"type":"Resource","resource":{"name":"memory","target":{"type":"Utilization","averageUtilization":70}}},)"
        R"({"type":"Resource","resource":{"name":"cpu","target":{"type":"Utilization","averageUtilization":50}}}],)"
        R"("behavior":{"scaleDown":{"stabilizationWindowSeconds":60}}}})";
    auto made = co_await c.admin->create(v2, {"default", ""}, body);
    REQUIRE(made);
    value before = parse(*made);
    auto old = co_await c.admin->get(v1, {"default", "h"});
    REQUIRE(old);
    value v = parse(*old);
    CHECK(base::get_int(v, "spec.targetCPUUtilizationPercentage") == 50);
    CHECK(!base::find(v, "spec.metrics"));
    CHECK(!base::find(v, "spec.behavior"));
    // As it is: no change at all.
    auto same = co_await c.admin->update(v1, {"default", "h"}, base::to_text(v));
    REQUIRE(same);
    CHECK(text(parse(*same), "metadata.resourceVersion") == text(before, "metadata.resourceVersion"));
    base::make_object(v, "spec")["maxReplicas"] = 5;
    base::make_object(v, "spec")["targetCPUUtilizationPercentage"] = 60;
    CHECK((co_await c.admin->update(v1, {"default", "h"}, base::to_text(v))));
    value now = parse(*co_await c.admin->get(v2, {"default", "h"}));
    CHECK(base::get_int(now, "spec.maxReplicas") == 5);
    CHECK(base::get_int(now, "spec.behavior.scaleDown.stabilizationWindowSeconds") == 60);
    const auto* metrics = base::find_array(now, "spec.metrics");
    REQUIRE((metrics && metrics->size() == 2));
    CHECK(base::get_int(metrics->at(0), "resource.target.averageUtilization") == 70);
    CHECK(base::get_int(metrics->at(1), "resource.target.averageUtilization") == 60);
    CHECK(!base::find(now, "metadata.annotations"));
  });
}
