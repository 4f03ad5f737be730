// Creating and changing: names, races, what may not change, and what becomes of fields nobody knows.
#include <fmt/format.h>

#include "http_client.h"

using namespace test;
using namespace std::chrono_literals;

namespace {

const std::string maps = "/api/v1/namespaces/default/configmaps", deploys = "/apis/apps/v1/namespaces/default/deployments";

std::string deployment(const std::string& name, const std::string& spec = "", const std::string& top = "") {
  return R"({"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":")" + name + R"("},"spec":{)" + spec +
         R"("selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"x"}]}}})" +
         top + "}";
}

std::vector<std::string> warnings(const Answer& r) {
  std::vector<std::string> out;
  for (const auto& [name, v] : r.headers)
    if (name == "Warning") out.emplace_back(v);
  return out;
}

}  // namespace

TEST_CASE("of 32 clients that swap by version each success counts once") {
  with_cluster([](Cluster c) -> Task<> {
    CHECK((co_await c.admin->create(configmaps, {"default", ""}, configmap("n", "0"))));
    base::Tasks tasks(c.runtime);
    auto wins = std::make_shared<std::atomic<int>>(0);
    for (int i = 0; i < 32; ++i)
      tasks.spawn("client", [](Cluster cl, std::shared_ptr<std::atomic<int>> w) -> Task<> {
        for (int tries = 0; tries < 60; ++tries) {
          auto read = co_await cl.admin->get(configmaps, {"default", "n"});
          value v = *base::parse_json(**read);
          int n = std::stoi(text(v, "data.a"));
          std::string body = configmap("n", std::to_string(n + 1), ",\"resourceVersion\":\"" + text(v, "metadata.resourceVersion") + "\"");
          auto wrote = co_await cl.admin->update(configmaps, {"default", "n"}, body);
          if (wrote) ++*w;
          else CHECK(base::is_conflict(wrote.error()));
        }
      }(c, wins));
    while (tasks.running() > 0) co_await base::sleep_for(5ms);
    co_await tasks.stop();
    auto read = co_await c.admin->get(configmaps, {"default", "n"});
    CHECK(text(parse(*read), "data.a") == std::to_string(*wins));
    CHECK(*wins >= 60);
  });
}

TEST_CASE("a generated name that is taken is tried eight times") {
  auto calls = std::make_shared<int>(0);
  Settings settings;
  settings.server = [calls](server::ApiServerOptions& o) {
    o.name_suffix = [calls](size_t n) { return std::string(n, ++*calls % 10 == 0 ? 'b' : 'c'); };
  };
  with_cluster([calls](Cluster c) -> Task<> {
    const std::string body = R"({"apiVersion":"v1","kind":"ConfigMap","metadata":{"generateName":"cm-"}})";
    auto first = co_await c.admin->create(configmaps, {"default", ""}, body);
    REQUIRE(first);
    CHECK(text(parse(*first), "metadata.name") == "cm-ccccc");
    auto second = co_await c.admin->create(configmaps, {"default", ""}, body);
    REQUIRE(!second);
    CHECK(*calls == 9);
    CHECK(second.error().code == 409);
    CHECK(second.error().reason == "AlreadyExists");
    CHECK(second.error().message ==
          "configmaps \"cm-ccccc\" already exists, the server was not able to generate a unique name for the object");
    // The tenth suffix is another one.
    auto third = co_await c.admin->create(configmaps, {"default", ""}, body);
    REQUIRE(third);
    CHECK(text(parse(*third), "metadata.name") == "cm-bbbbb");
    auto lengthy =
        co_await c.admin->create(configmaps, {"default", ""},
                                 R"({"apiVersion":"v1","kind":"ConfigMap","metadata":{"generateName":")" + std::string(70, 'x') + "\"}}");
    REQUIRE(lengthy);
    CHECK(text(parse(*lengthy), "metadata.name").size() == 63);
    auto wrong = co_await c.admin->create(configmaps, {"default", ""},
                                          R"({"apiVersion":"v1","kind":"ConfigMap","metadata":{"generateName":"Wrong_"}})");
    REQUIRE(!wrong);
    CHECK(wrong.error().code == 422);
    CHECK(wrong.error().causes.at(0).field == "metadata.generateName");
  }, false, settings);
}

TEST_CASE("what the server decides cannot be said otherwise") {
  with_cluster([](Cluster c) -> Task<> {
    Http http(c, certificate(c, "root", {"system:masters"}));
    auto r = co_await http.send("POST", maps, configmap("a", "1", R"(,"resourceVersion":"99")"));
    CHECK(r.status == 400);
    CHECK(text(r.json(), "message") == "resourceVersion should not be set on objects to be created");
    r = co_await http.send("POST", maps, configmap("a"));
    REQUIRE(r.status == 201);
    value made = r.json();
    struct Case {
      const char* more;
      int status;
      const char* says;
    };
    const Case cases[] = {
        {R"(,"creationTimestamp":"2001-01-01T00:00:00Z")", 422,
         "metadata.creationTimestamp: Invalid value: \"2001-01-01T00:00:00Z\": field is immutable"},
        {R"(,"deletionTimestamp":"2001-01-01T00:00:00Z")", 422,
         "metadata.deletionTimestamp: Invalid value: \"2001-01-01T00:00:00Z\": field is immutable"},
        {R"(,"uid":"other")", 409, "Precondition failed: UID in precondition: other"},
        {R"(,"resourceVersion":"1")", 409, "the object has been modified; please apply your changes to the latest version and try again"},
        {R"(,"resourceVersion":"x")", 409, "the object has been modified"},
        {R"(,"namespace":"other")", 400, "the namespace of the provided object does not match the namespace sent on the request"},
        {R"(,"generation":7,"selfLink":"/x")", 200, ""},
        {R"(,"creationTimestamp":null)", 200, ""},
    };
    for (const Case& one : cases) {
      INFO(one.more);
      r = co_await http.send("PUT", maps + "/a", configmap("a", "1", one.more));
      CHECK(r.status == one.status);
      if (*one.says) CHECK(text(r.json(), "message").find(one.says) != std::string::npos);
    }
    r = co_await http.send("PUT", maps + "/a", R"({"apiVersion":"v1","kind":"ConfigMap","metadata":{}})");
    CHECK(r.status == 400);
    CHECK(text(r.json(), "message") == "the name of the object (a based on URL) was undeterminable: name must be provided");
    r = co_await http.send("PUT", maps + "/a", configmap("b"));
    CHECK(text(r.json(), "message") == "the name of the object (b) does not match the name on the URL (a)");
    r = co_await http.send("PUT", maps + "/none", configmap("none"));
    CHECK(r.status == 404);
    r = co_await http.send("POST", maps, R"({"apiVersion":"apps/v1","kind":"ConfigMap","metadata":{"name":"x"}})");
    CHECK(r.status == 400);
    CHECK(text(r.json(), "message") == "the API version in the data (apps/v1) does not match the expected API version (v1)");
    r = co_await http.send("POST", "/api/v1/namespaces",
                           R"({"apiVersion":"v1","kind":"Namespace","metadata":{"name":"x","namespace":"y"}})");
    CHECK(r.status == 201);
    CHECK(!base::find(r.json(), "metadata.namespace"));
    auto now = (co_await http.get(maps + "/a")).json();
    CHECK(text(now, "metadata.uid") == text(made, "metadata.uid"));
    CHECK(text(now, "metadata.resourceVersion") == text(made, "metadata.resourceVersion"));
  }, true);
}

TEST_CASE("unknown and repeated fields are refused, warned of or dropped") {
  with_cluster([](Cluster c) -> Task<> {
    Http http(c, certificate(c, "root", {"system:masters"}));
    const std::string body = deployment("d", R"("paused":true,"paused":true,"foo":1,)", R"(,"bar":2)");
    const std::string said = R"(duplicate field "spec.paused")", foo = R"(unknown field "spec.foo")", bar = R"(unknown field "bar")";
    auto r = co_await http.send("POST", deploys + "?fieldValidation=Strict", body);
    CHECK(r.status == 400);
    std::string message = text(r.json(), "message");
    CHECK(message.starts_with("Deployment in version \"v1\" cannot be handled as a Deployment: strict decoding error: "));
    CHECK(message.ends_with(said + ", " + foo + ", " + bar));
    r = co_await http.send("POST", deploys + "?dryRun=All&fieldValidation=Warn", body);
    CHECK(r.status == 201);
    CHECK(warnings(r).size() == 3);
    for (const std::string& w : warnings(r)) CHECK(w.starts_with("299 - \""));
    CHECK(!base::find(r.json(), "spec.foo"));
    r = co_await http.send("POST", deploys + "?dryRun=All&fieldValidation=Ignore", body);
    CHECK(r.status == 201);
    CHECK(warnings(r).empty());
    r = co_await http.send("POST", deploys + "?fieldValidation=Loose", body);
    CHECK(r.status == 422);
    CHECK(text(r.json(), "message") ==
          "CreateOptions.meta.k8s.io \"\" is invalid: fieldValidation: Unsupported value: \"Loose\": supported values: \"\", \"Ignore\", "
          "\"Strict\", \"Warn\"");

    const std::string yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: y1\ndata:\n  a: '1'\n  a: '2'\nfoo: 1\n";
    r = co_await http.send("POST", maps + "?fieldValidation=Strict", yaml, {{"Content-Type", "application/yaml"}});
    CHECK(r.status == 400);
    CHECK(text(r.json(), "message") ==
          "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: yaml: unmarshal errors:\n  line 7: key "
          "\"a\" already "
          "set in map, unknown field \"foo\"");
    r = co_await http.send("POST", maps, yaml, {{"Content-Type", "application/yaml"}});
    CHECK(r.status == 201);
    CHECK(warnings(r).size() == 2);

    CHECK((co_await http.send("POST", deploys, deployment("d"))).status == 201);
    r = co_await http.send("PATCH", deploys + "/d?fieldValidation=Strict", R"({"spec":{"foo":1,"paused":true,"paused":false}})",
                           {{"Content-Type", "application/merge-patch+json"}});
    CHECK(r.status == 422);
    message = text(r.json(), "message");
    CHECK(message.find("patch: Invalid value: ") != std::string::npos);
    CHECK(message.find("strict decoding error: ") != std::string::npos);
    for (const std::string& part : {said, foo}) CHECK(message.find(part) != std::string::npos);
    r = co_await http.send("PATCH", deploys + "/d", R"([{"op":"add","path":"/spec/foo","value":1}])",
                           {{"Content-Type", "application/json-patch+json"}});
    CHECK(r.status == 200);
    CHECK(warnings(r) == std::vector<std::string>{R"(299 - "unknown field \"spec.foo\"")"});
    r = co_await http.send("PATCH", deploys + "/d", R"({"spec":{"replicas":"many"}})",
                           {{"Content-Type", "application/strategic-merge-patch+json"}});
    CHECK(r.status == 422);
    CHECK(text(r.json(), "message").find("patch: Invalid value: \"map[spec:map[replicas:many]]\": ") != std::string::npos);
    CHECK(text(r.json(), "message").find("json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32") !=
          std::string::npos);
  }, true);
}

TEST_CASE("a dry run of anything answers as if and changes nothing") {
  with_cluster([](Cluster c) -> Task<> {
    co_await default_account(c);
    Http http(c, certificate(c, "root", {"system:masters"}));
    CHECK((co_await http.send("POST", deploys, deployment("d"))).status == 201);
    CHECK((co_await http.send("POST", maps, configmap("a"))).status == 201);
    CHECK((co_await http.send("POST", "/api/v1/namespaces/default/pods", pod("p"))).status == 201);
    const auto before = c.store.revision();
    struct Case {
      const char* method;
      std::string path, body;
      const char* type;
      int status;
    };
    const std::string json = "application/json", merge = "application/merge-patch+json";
    const Case cases[] = {
        {"POST", maps + "?dryRun=All", configmap("b"), "application/json", 201},
        {"POST", maps + "?dryRun=All", configmap("a"), "application/json", 409},
        {"PUT", maps + "/a?dryRun=All", configmap("a", "2"), "application/json", 200},
        {"PATCH", maps + "/a?dryRun=All", R"({"data":{"a":"3"}})", "application/merge-patch+json", 200},
        {"PATCH", maps + "/a?dryRun=All&fieldManager=m&force=true", configmap("a", "4"), "application/apply-patch+yaml", 200},
        {"PATCH", maps + "/new?dryRun=All&fieldManager=m", configmap("new", "4"), "application/apply-patch+yaml", 201},
        {"PATCH", deploys + "/d/scale?dryRun=All", R"({"spec":{"replicas":5}})", "application/merge-patch+json", 200},
        {"PATCH", deploys + "/d/status?dryRun=All", R"({"status":{"replicas":5}})", "application/merge-patch+json", 200},
        {"POST", "/api/v1/namespaces/default/pods/p/eviction?dryRun=All",
         R"({"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"p"}})", "application/json", 201},
        {"POST", "/api/v1/namespaces/default/pods/p/eviction",
         R"({"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"p"},"deleteOptions":{"dryRun":["All"]}})", "application/json",
         201},
        {"DELETE", maps + "/a?dryRun=All", "", "application/json", 200},
        {"DELETE", maps + "/a", R"({"apiVersion":"v1","kind":"DeleteOptions","dryRun":["All"]})", "application/json", 200},
        {"DELETE", maps + "?dryRun=All", "", "application/json", 200},
        {"DELETE", deploys + "/d?dryRun=All&propagationPolicy=Foreground", "", "application/json", 202},
        {"DELETE", maps + "/a?dryRun=Some", "", "application/json", 422},
    };
    for (const Case& one : cases) {
      INFO(one.method << " " << one.path);
      auto r = co_await http.send(one.method, one.path, one.body, {{"Content-Type", one.type}});
      INFO(r.body);
      CHECK(r.status == one.status);
      CHECK(c.store.revision() == before);
    }
  }, true);
}

TEST_CASE("a patch of 10,000 operations is taken, one more is not") {
  with_cluster([](Cluster c) -> Task<> {
    Http http(c, certificate(c, "root", {"system:masters"}));
    CHECK((co_await http.send("POST", maps, configmap("a"))).status == 201);
    auto operations = [](int n) {
      std::string out = "[";
      for (int i = 0; i < n; ++i) out += fmt::format(R"({}{{"op":"replace","path":"/data/a","value":"{}"}})", i ? "," : "", i);
      return out + "]";
    };
    auto r = co_await http.send("PATCH", maps + "/a", operations(10'000), {{"Content-Type", "application/json-patch+json"}});
    CHECK(r.status == 200);
    CHECK(text(r.json(), "data.a") == "9999");
    r = co_await http.send("PATCH", maps + "/a", operations(10'001), {{"Content-Type", "application/json-patch+json"}});
    CHECK(r.status == 413);
  }, true);
}

TEST_CASE("of those who create one name at once exactly one does") {
  with_cluster([](Cluster c) -> Task<> {
    auto won = std::make_shared<std::atomic<int>>(0), lost = std::make_shared<std::atomic<int>>(0);
    base::Tasks tasks(c.runtime);
    for (int i = 0; i < 32; ++i)
      tasks.spawn("creator", [](Cluster cl, std::shared_ptr<std::atomic<int>> yes, std::shared_ptr<std::atomic<int>> no) -> Task<> {
        for (int n = 0; n < 10; ++n) {
          auto made = co_await cl.admin->create(configmaps, {"default", ""}, configmap("n" + std::to_string(n)));
          if (made) ++*yes;
          else if (base::is_already_exists(made.error())) ++*no;
        }
      }(c, won, lost));
    while (tasks.running() > 0) co_await base::sleep_for(5ms);
    co_await tasks.stop();
    CHECK(*won == 10);
    CHECK(*lost == 310);
  });
}

TEST_CASE("what one connection has written every other reads") {
  with_cluster([](Cluster c) -> Task<> {
    Http writer(c, certificate(c, "root", {"system:masters"})), reader(c, certificate(c, "root", {"system:masters"}));
    CHECK((co_await writer.send("POST", maps, configmap("a", "0"))).status == 201);
    for (int i = 1; i <= 200; ++i) {
      std::string data = std::to_string(i);
      auto wrote = co_await writer.send("PUT", maps + "/a", configmap("a", data));
      REQUIRE(wrote.status == 200);
      auto read = co_await reader.get(i % 2 ? maps + "/a" : maps + "?limit=1");
      value v = read.json();
      REQUIRE(text(i % 2 ? v : base::find_array(v, "items")->at(0), "data.a") == data);
    }
  }, true);
}

TEST_CASE("patches that name no version never conflict, those that do are exact") {
  with_cluster([](Cluster c) -> Task<> {
    CHECK((co_await c.admin->create(configmaps, {"default", ""}, configmap("a"))));
    base::Tasks tasks(c.runtime);
    for (int i = 0; i < 16; ++i)
      tasks.spawn("patcher", [](Cluster cl, int mine) -> Task<> {
        for (int n = 0; n < 5; ++n) {
          auto done = co_await cl.admin->patch(configmaps, {"default", "a"}, api::PatchType::merge,
                                               fmt::format(R"({{"data":{{"k{}-{}":"1"}}}})", mine, n));
          CHECK(done);
        }
      }(c, i));
    while (tasks.running() > 0) co_await base::sleep_for(5ms);
    co_await tasks.stop();
    value v = parse(*co_await c.admin->get(configmaps, {"default", "a"}));
    CHECK(base::find_object(v, "data")->size() == 81);
    auto stale = co_await c.admin->patch(configmaps, {"default", "a"}, api::PatchType::merge,
                                         R"({"metadata":{"resourceVersion":"1"},"data":{"b":"1"}})");
    REQUIRE(!stale);
    CHECK(base::is_conflict(stale.error()));
    auto exact =
        co_await c.admin->patch(configmaps, {"default", "a"}, api::PatchType::merge,
                                R"({"metadata":{"resourceVersion":")" + text(v, "metadata.resourceVersion") + R"("},"data":{"b":"1"}})");
    CHECK(exact);
  });
}
