#include <dirent.h>
#include <sys/stat.h>

#include "http_client.h"
#include "server/apiserver/audit/auditor.h"

using namespace test;
using namespace server::audit;

namespace {

server::UserInfo user(std::string name, std::vector<std::string> groups = {}) { return {std::move(name), "", std::move(groups), {}}; }

Decision decide(const Policy& p, const server::UserInfo& u, std::string_view verb, std::string_view resource,
                std::string_view ns = "default", std::string_view group = "", std::string_view sub = "", std::string_view name = "") {
  return p.decide({u, verb, true, group, resource, sub, ns, name, ""});
}

std::vector<std::string> entries(const std::string& folder) {
  std::vector<std::string> out;
  DIR* d = ::opendir(folder.c_str());
  REQUIRE(d);
  while (const dirent* e = ::readdir(d))
    if (e->d_name[0] != '.') out.emplace_back(e->d_name);
  ::closedir(d);
  return out;
}

std::vector<value> lines(const std::string& path) {
  std::vector<value> out;
  auto text = base::read_file(path);
  REQUIRE(text);
  for (size_t at = 0, end; (end = text->find('\n', at)) != std::string::npos; at = end + 1) {
    auto v = base::parse_json(std::string_view(*text).substr(at, end - at));
    REQUIRE(v);
    out.push_back(std::move(*v));
  }
  return out;
}

// Of this thread: the machine may be busy.
double cpu_nanoseconds() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) * 1e9 + static_cast<double>(t.tv_nsec);
}

}  // namespace

TEST_CASE("the first rule of a policy that matches decides") {
  auto policy = Policy::parse(R"(
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: None, users: ["system:kube-proxy"], verbs: [watch], resources: [{group: "", resources: [endpoints, services]}]}
- {level: None, userGroups: ["system:authenticated"], nonResourceURLs: ["/api*", /version]}
- {level: Request, resources: [{group: "", resources: [configmaps]}], namespaces: [kube-system], omitStages: [ResponseStarted]}
- {level: Metadata, resources: [{group: "", resources: [secrets, "pods/*", "*/status"]}]}
- {level: RequestResponse, resources: [{group: apps}], omitManagedFields: true}
- {level: Metadata, resources: [{group: batch, resources: [jobs], resourceNames: [one]}]}
)");
  REQUIRE(policy);
  auto proxy = user("system:kube-proxy"), eve = user("eve", {"system:authenticated"});
  CHECK(decide(*policy, proxy, "watch", "services").level == Level::none);
  CHECK(decide(*policy, eve, "get", "configmaps", "kube-system").level == Level::request);
  CHECK(decide(*policy, eve, "get", "configmaps", "kube-system").omitted == (kReceived | kStarted));
  CHECK(decide(*policy, eve, "get", "configmaps").level == Level::none);
  CHECK(decide(*policy, eve, "get", "secrets").level == Level::metadata);
  CHECK(decide(*policy, eve, "get", "pods").level == Level::none);
  CHECK(decide(*policy, eve, "get", "pods", "default", "", "log").level == Level::metadata);
  CHECK(decide(*policy, eve, "patch", "nodes", "", "", "status").level == Level::metadata);
  CHECK(decide(*policy, eve, "create", "deployments", "default", "apps").level == Level::request_response);
  CHECK(decide(*policy, eve, "create", "deployments", "default", "apps").omit_managed_fields);
  CHECK(decide(*policy, eve, "get", "jobs", "default", "batch", "", "one").level == Level::metadata);
  CHECK(decide(*policy, eve, "get", "jobs", "default", "batch", "", "two").level == Level::none);
  CHECK(policy->decide({eve, "get", false, "", "", "", "", "", "/apis"}).level == Level::none);
  for (const char* bad : {"kind: Policy", "{apiVersion: audit.k8s.io/v1, kind: Policy}",
                          "{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: Some}]}",
                          "{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: None, nonResourceURLs: [x]}]}",
                          "{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: None, omitStages: [Never]}]}",
                          "{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: None, nonResourceURLs: [/x], namespaces: [a]}]}"})
    CHECK_FALSE(Policy::parse(bad));
}

TEST_CASE("without a policy what people do is logged, and what the system says to itself is not") {
  const Policy& p = Policy::standard();
  auto node = user("system:node:a", {"system:nodes"}), eve = user("eve", {"system:authenticated"});
  CHECK(decide(p, node, "update", "leases", "kube-node-lease", "coordination.k8s.io").level == Level::none);
  CHECK(decide(p, node, "patch", "nodes", "", "", "status").level == Level::none);
  CHECK(decide(p, node, "watch", "pods", "").level == Level::none);
  CHECK(decide(p, node, "create", "events").level == Level::none);
  CHECK(decide(p, node, "delete", "pods").level == Level::metadata);
  CHECK(p.decide({eve, "get", false, "", "", "", "", "", "/readyz"}).level == Level::none);
  for (const char* verb : {"get", "list", "create", "delete"}) CHECK(decide(p, eve, verb, "secrets").level == Level::metadata);
  CHECK(decide(p, eve, "get", "secrets").omitted == kReceived);
}

TEST_CASE("an event is one line of JSON whatever a client sends") {
  auto eve = user("eve \"x\"\n", {"a", "b"});
  Event e;
  e.user = &eve;
  e.id = "1";
  e.uri = "/api?x=\"\\\x01\xff";
  e.verb = "get";
  e.agent = "a\tb";
  e.status = 404;
  e.reason = "NotFound";
  e.received = e.at = *base::parse_rfc3339("2026-01-02T03:04:05.678901Z");
  std::string line;
  append_event(line, e);
  CHECK(std::count(line.begin(), line.end(), '\n') == 1);
  auto v = base::parse_json(line);
  REQUIRE(v);
  CHECK(text(*v, "user.username") == "eve \"x\"\n");
  CHECK(text(*v, "requestURI") == "/api?x=\"\\\x01\xc3\xbf");
  CHECK(text(*v, "requestReceivedTimestamp") == "2026-01-02T03:04:05.678901Z");
  CHECK(base::get_int(*v, "responseStatus.code") == 404);
}

TEST_CASE("the log is private, rotates by size and keeps so many old files") {
  std::string folder = "/tmp/appliance-audit-" + base::hex_encode(base::random_bytes(8));
  for (int round = 0; round < 4; ++round) {
    Log log({.path = folder + "/audit.log", .max_megabytes = 1, .max_backups = 2, .max_age_days = 1});
    REQUIRE(log.start());
    std::string line(1023, 'x');
    line += '\n';
    for (int i = 0; i < 1100; ++i) log.append(line);
    log.stop();
    CHECK(log.lines() == 1100);
    CHECK(log.dropped() == 0);
    struct stat s{};
    REQUIRE(::stat((folder + "/audit.log").c_str(), &s) == 0);
    CHECK((s.st_mode & 0777) == 0600);
  }
  CHECK(entries(folder).size() == 3);
  Log log({.path = folder + "/audit.log"});
  REQUIRE(log.start());
  std::string huge(5u << 20, 'x');
  log.append(huge);
  log.append(huge);
  log.append(huge);
  log.stop();
  CHECK(log.dropped() >= 1);
  (void)base::remove_all(folder);
}

TEST_CASE("the audit log tells who did what, and secrets only as the policy says") {
  std::string directory;
  with_cluster(
      [&](Cluster c) -> Task<> {
        directory = c.directory;
        Http root(c, certificate(c, "root", {"system:masters"})), eve(c, certificate(c, "eve", {}));
        const std::string secret_path = "/api/v1/namespaces/default/secrets", maps = "/api/v1/namespaces/default/configmaps";
        CHECK((co_await root.send("POST", secret_path,
                                  R"({"apiVersion":"v1","kind":"Secret","metadata":{"generateName":"s-"},"stringData":{"a":"hush-hush"}})",
                                  {{"Audit-Id", "mine"}}))
                  .status == 201);
        CHECK((co_await eve.get(secret_path)).status == 403);
        CHECK((co_await root.get(secret_path, {{"Impersonate-User", "bob"}, {"Impersonate-Group", "system:masters"}})).status == 200);
        CHECK((co_await root.send("POST", maps, configmap("a"), {{"User-Agent", "test/1"}})).status == 201);
        CHECK((co_await root.get("/api/v1/configmaps?watch=1&timeoutSeconds=1")).status == 200);
        CHECK((co_await root.get(maps + "/a", {{"Authorization", "Bearer x"}})).status == 200);  // the certificate holds
        Http nobody(c);
        CHECK((co_await nobody.get(maps, {{"Authorization", "Bearer x"}})).status == 401);
        CHECK((co_await root.get("/readyz")).status == 200);
        auto inside = c.api.controller_client("namespace-controller");
        CHECK_FALSE((co_await inside->create(api::Resource{"", "v1", "configmaps"}, {"default", {}}, configmap("b"))));
        CHECK((co_await inside->remove(api::Resource{"", "v1", "configmaps"}, {"default", "a"})));
    CHECK((co_await c.admin->create(api::Resource{"", "v1", "configmaps"}, {"default", {}}, configmap("by-the-server"))));
        auto metrics = (co_await root.get("/metrics")).body;
        CHECK(metrics.find("apiserver_audit_event_total ") != std::string::npos);
      },
      true, {.server = [](server::ApiServerOptions& o) {
        (void)base::write_file_atomic(o.data_dir + "/policy.yaml",
                                      R"({"apiVersion":"audit.k8s.io/v1","kind":"Policy","omitStages":["RequestReceived"],"rules":[
      {"level":"None","nonResourceURLs":["/readyz","/metrics"]},{"level":"Metadata","resources":[{"group":"","resources":["secrets"]}]},
      {"level":"RequestResponse","verbs":["create"],"omitManagedFields":true},{"level":"Metadata"}]})");
        o.audit.policy_file = o.data_dir + "/policy.yaml";
        o.audit.log.path = "/tmp/appliance-audit-" + o.data_dir.substr(o.data_dir.rfind('-') + 1) + "/audit.log";
      }});
  std::string folder = "/tmp/appliance-audit-" + directory.substr(directory.rfind('-') + 1);
  auto raw = base::read_file(folder + "/audit.log");
  REQUIRE(raw);
  CHECK(raw->find("hush-hush") == std::string::npos);
  CHECK(raw->find(base::base64_encode("hush-hush")) == std::string::npos);
  auto all = lines(folder + "/audit.log");
  auto find = [&](auto match) -> value {
    for (const value& v : all)
      if (match(v)) return v;
    return {};
  };
  value made = find([](const value& v) { return text(v, "auditID") == "mine"; });
  CHECK(text(made, "objectRef.name").starts_with("s-"));
  CHECK(text(made, "level") == "Metadata");
  CHECK(text(made, "stage") == "ResponseComplete");
  CHECK(text(made, "user.username") == "root");
  CHECK(base::get_int(made, "responseStatus.code") == 201);
  CHECK(base::find_array(made, "sourceIPs")->at(0) == "127.0.0.1");
  value refused = find([](const value& v) { return text(v, "user.username") == "eve"; });
  CHECK(base::get_int(refused, "responseStatus.code") == 403);
  CHECK(text(refused, "responseStatus.reason") == "Forbidden");
  CHECK(base::find_object(refused, "annotations")->at("authorization.k8s.io/decision") == "forbid");
  CHECK(text(find([](const value& v) { return base::find(v, "impersonatedUser") != nullptr; }), "impersonatedUser.username") == "bob");
  value map = find([](const value& v) { return text(v, "objectRef.resource") == "configmaps" && text(v, "verb") == "create"; });
  CHECK(text(map, "requestObject.data.a") == "1");
  CHECK(text(map, "responseObject.metadata.uid").size() == 36);
  CHECK_FALSE(base::find(map, "responseObject.metadata.managedFields"));
  CHECK(text(map, "userAgent") == "test/1");
  CHECK_FALSE(find([](const value& v) { return text(v, "verb") == "watch" && text(v, "stage") == "ResponseStarted"; }).is_null());
  CHECK_FALSE(find([](const value& v) { return text(v, "verb") == "watch" && text(v, "stage") == "ResponseComplete"; }).is_null());
  CHECK_FALSE(find([](const value& v) { return base::get_int(v, "responseStatus.code") == 401; }).is_null());
  CHECK(find([](const value& v) { return text(v, "requestURI") == "/readyz"; }).is_null());
  auto by_controller = [&](std::string_view verb) {
    return find([&](const value& v) {
      return text(v, "user.username") == "system:serviceaccount:kube-system:namespace-controller" && text(v, "verb") == verb;
    });
  };
  CHECK(base::get_int(by_controller("create"), "responseStatus.code") == 403);
  CHECK(base::get_int(by_controller("delete"), "responseStatus.code") == 200);
  CHECK(text(by_controller("delete"), "requestURI") == "/api/v1/namespaces/default/configmaps/a");
  CHECK(text(by_controller("delete"), "userAgent") == "kube-controller-manager");
  value named = find([](const value& v) { return text(v, "objectRef.name") == "by-the-server"; });
  CHECK(text(named, "objectRef.uid").size() == 36);
  CHECK_FALSE(base::find(named, "responseObject.metadata.managedFields"));
  (void)base::remove_all(folder);
}

TEST_CASE("what an audit event costs", "[.speed]") {
  std::string folder = "/tmp/appliance-audit-" + base::hex_encode(base::random_bytes(8));
  auto auditor = make_auditor({.policy_file = {}, .log = {.path = folder + "/audit.log"}});
  REQUIRE(auditor);
  auto eve =
      user("system:serviceaccount:default:eve", {"system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"});
  constexpr int n = 200'000;
  const double begin = cpu_nanoseconds();
  for (int i = 0; i < n; ++i) {
    Decision d = (*auditor)->decide({eve, "create", true, "", "configmaps", "", "default", "", ""});
    Event e;
    e.level = d.level;
    e.id = "8996989f-ff14-429d-aebe-98ea8f0ed9e6";
    e.uri = "/api/v1/namespaces/default/configmaps";
    e.verb = "create";
    e.source = "10.0.0.1";
    e.agent = "kubectl/v1.32.3 (linux/amd64) kubernetes/32cc146";
    e.user = &eve;
    e.is_resource = true;
    e.version = "v1";
    e.resource = "configmaps";
    e.ns = "default";
    e.name = "some-name";
    e.status = 201;
    e.received = e.at = base::WallClock::now();
    e.decision = "allow";
    (*auditor)->write(e);
  }
  const double nanoseconds = cpu_nanoseconds() - begin;
  WARN(nanoseconds / n << " ns, dropped " << (*auditor)->log().dropped());
  (*auditor)->stop();
  (void)base::remove_all(folder);
}
