// API Priority and Fairness: who is matched, who runs, who waits, who is refused.
#include <atomic>
#include <set>
#include <thread>

#include "api/codec.h"
#include "base/interrupt.h"
#include "http_client.h"
#include "server/apiserver/flow/defaults.h"
#include "server/apiserver/flow/flow_control.h"

using namespace test;
using namespace server;
using namespace server::flow;
using api::flowcontrol::FlowSchema;
using api::flowcontrol::PriorityLevelConfiguration;

namespace {

struct Objects {
  std::vector<FlowSchema> schemas;
  std::vector<PriorityLevelConfiguration> levels;
};

Objects defaults() {
  Objects out;
  for (const DefaultObject& d : default_objects()) {
    value v(d.object);
    if (base::get_string(v, "kind") == "FlowSchema") out.schemas.push_back(*api::decode<FlowSchema>(v));
    else out.levels.push_back(*api::decode<PriorityLevelConfiguration>(v));
  }
  for (auto& s : out.schemas) s.metadata.uid = "schema-" + s.metadata.name;
  for (auto& l : out.levels) l.metadata.uid = "level-" + l.metadata.name;
  return out;
}

UserInfo user(std::string name, std::vector<std::string> groups) {
  groups.push_back("system:authenticated");
  return {std::move(name), "", std::move(groups), {}};
}

RequestView request(const UserInfo& u, std::string_view verb, std::string_view group, std::string_view resource,
                    std::string_view ns = "default", std::string_view sub = "") {
  return {u, true, verb, group, resource, sub, ns, ""};
}

std::string schema_of(FlowControl& control, const RequestView& r) {
  Ticket t = control.admit(r, 1);
  return std::string(t.schema_uid());
}

const char* kTwo =
    R"({"apiVersion":"flowcontrol.apiserver.k8s.io/v1","kind":"PriorityLevelConfiguration","metadata":{"name":"two","uid":"two"},"spec":{"type":"Limited",
  "limited":{"nominalConcurrencyShares":2,"borrowingLimitPercent":0,"limitResponse":{"type":"Queue","queuing":{"queues":64,"handSize":6,"queueLengthLimit":3}}}}})";
const char* kAll =
    R"({"apiVersion":"flowcontrol.apiserver.k8s.io/v1","kind":"FlowSchema","metadata":{"name":"all","uid":"all"},"spec":{"matchingPrecedence":50,
  "priorityLevelConfiguration":{"name":"two"},"distinguisherMethod":{"type":"ByUser"},"rules":[{"subjects":[{"kind":"Group","group":{"name":"system:authenticated"}}],
  "resourceRules":[{"verbs":["*"],"apiGroups":["*"],"resources":["*"],"clusterScope":true,"namespaces":["*"]}]}]}})";

// Two of seven seats for a level of its own; nobody else's.
void configure_small(FlowControl& control) {
  control.configure({*api::decode<FlowSchema>(kAll)}, {*api::decode<PriorityLevelConfiguration>(kTwo)});
}

void run(std::function<Task<>(base::Runtime&)> f) {
  base::Runtime runtime(1);
  base::run_to_end(runtime, f(runtime));
}

// Of this thread: the machine may be busy.
double cpu_nanoseconds() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) * 1e9 + static_cast<double>(t.tv_nsec);
}

}  // namespace

TEST_CASE("requests find the schema that Kubernetes' defaults mean for them") {
  FlowControl control(600);
  Objects o = defaults();
  control.configure(o.schemas, o.levels);
  UserInfo admin = user("root", {"system:masters"}), node = user("system:node:a", {"system:nodes"}), someone = user("eve", {}),
           nobody{"system:anonymous", "", {"system:unauthenticated"}, {}};
  UserInfo account = user("system:serviceaccount:shop:web", {"system:serviceaccounts"}),
           system_account = user("system:serviceaccount:kube-system:dns", {"system:serviceaccounts"});
  UserInfo manager = user("system:kube-controller-manager", {}), groupless{"ghost", "", {}, {}};
  CHECK(schema_of(control, request(admin, "list", "", "pods")) == "schema-exempt");
  CHECK(schema_of(control, {nobody, false, "get", "", "", "", "", "/healthz"}) == "schema-probes");
  CHECK(schema_of(control, {nobody, false, "get", "", "", "", "", "/version"}) == "schema-global-default");
  CHECK(schema_of(control, request(node, "patch", "", "nodes", "", "status")) == "schema-system-node-high");
  CHECK(schema_of(control, request(node, "update", "coordination.k8s.io", "leases", "kube-node-lease")) == "schema-system-node-high");
  CHECK(schema_of(control, request(node, "list", "", "pods", "")) == "schema-system-nodes");
  CHECK(schema_of(control, request(manager, "update", "coordination.k8s.io", "leases", "kube-system")) == "schema-system-leader-election");
  CHECK(schema_of(control, request(manager, "update", "", "endpoints")) == "schema-endpoint-controller");
  CHECK(schema_of(control, request(manager, "list", "", "pods")) == "schema-kube-controller-manager");
  CHECK(schema_of(control, request(system_account, "create", "coordination.k8s.io", "leases", "shop")) ==
        "schema-workload-leader-election");
  CHECK(schema_of(control, request(system_account, "list", "", "pods")) == "schema-kube-system-service-accounts");
  CHECK(schema_of(control, request(account, "list", "", "pods")) == "schema-service-accounts");
  CHECK(schema_of(control, request(someone, "list", "", "pods")) == "schema-global-default");
  CHECK(schema_of(control, request(groupless, "list", "", "pods")) == "schema-catch-all");
}

TEST_CASE("a hand of queues is dealt without repetition and depends on the flow alone") {
  std::set<std::vector<uint32_t>> hands;
  for (int i = 0; i < 100; ++i) {
    auto hash = flow_hash("schema", "user" + std::to_string(i));
    auto hand = deal(hash, 64, 6);
    CHECK(hand == deal(hash, 64, 6));
    REQUIRE(hand.size() == 6);
    CHECK(std::set<uint32_t>(hand.begin(), hand.end()).size() == 6);
    for (uint32_t q : hand) CHECK(q < 64);
    hands.insert(hand);
  }
  CHECK(hands.size() > 90);
  CHECK(deal(12345, 3, 8).size() == 3);
}

TEST_CASE("a level runs as many as it has seats, queues some more of each flow and refuses the rest") {
  FlowControl control(7);  // catch-all has five shares beside
  configure_small(control);
  UserInfo eve = user("eve", {}), bob = user("bob", {});
  std::vector<Ticket> held;
  size_t running = 0, waiting = 0, refused = 0;
  for (int i = 0; i < 42; ++i) {
    held.push_back(control.admit(request(eve, "get", "", "pods"), 1));
    running += held.back().state() == Ticket::State::running;
    waiting += held.back().state() == Ticket::State::waiting;
    refused += held.back().state() == Ticket::State::refused;
  }
  CHECK(running == 2);
  CHECK(waiting == 18);  // six queues of three
  CHECK(refused == 22);
  // Somebody else still finds room in a queue of his own.
  CHECK(control.admit(request(bob, "get", "", "pods"), 1).state() == Ticket::State::waiting);
  std::string metrics;
  control.write_metrics(metrics);
  CHECK(metrics.find(
            "apiserver_flowcontrol_rejected_requests_total{flow_schema=\"all\",priority_level=\"two\",reason=\"queue-full\"} 22\n") !=
        std::string::npos);
  CHECK(metrics.find("apiserver_flowcontrol_current_executing_seats{priority_level=\"two\"} 2\n") != std::string::npos);
  held.clear();
  metrics.clear();
  control.write_metrics(metrics);
  CHECK(metrics.find("apiserver_flowcontrol_current_executing_seats{priority_level=\"two\"} 0\n") != std::string::npos);
  CHECK(metrics.find("apiserver_flowcontrol_current_inqueue_requests{priority_level=\"two\"} 0\n") != std::string::npos);
}

TEST_CASE("who waits is served in order, or told to come again when his time is up") {
  run([](base::Runtime&) -> Task<> {
    FlowControl control(7);
    auto level = *api::decode<PriorityLevelConfiguration>(kTwo);
    level.spec.limited->limitResponse->queuing->queues = 1;
    control.configure({*api::decode<FlowSchema>(kAll)}, {level});
    UserInfo eve = user("eve", {});
    auto ask = [&] { return control.admit(request(eve, "get", "", "pods"), 1); };
    Ticket a = ask(), b = ask(), c = ask(), d = ask(), e = ask();
    CHECK(ask().state() == Ticket::State::refused);
    c = Ticket();  // gone before its turn: the next takes it
    a.release();
    CHECK((co_await control.wait(d)));
    CHECK(d.state() == Ticket::State::running);
    auto late = co_await control.wait(e, std::chrono::milliseconds(1));
    REQUIRE_FALSE(late);
    CHECK(late.error().code == 429);
    CHECK(late.error().retry_after_seconds == 1);
    std::string metrics;
    control.write_metrics(metrics);
    CHECK(
        metrics.find("apiserver_flowcontrol_rejected_requests_total{flow_schema=\"all\",priority_level=\"two\",reason=\"time-out\"} 1\n") !=
        std::string::npos);
  });
}

TEST_CASE("a flow with much to do does not hold up one with little") {
  run([](base::Runtime&) -> Task<> {
    FlowControl control(7);
    configure_small(control);
    UserInfo hog = user("hog", {}), mouse = user("mouse", {});
    std::vector<Ticket> running;
    for (int i = 0; i < 2; ++i) running.push_back(control.admit(request(hog, "get", "", "pods"), 1));
    std::vector<Ticket> queued;
    for (int i = 0; i < 12; ++i) queued.push_back(control.admit(request(hog, "get", "", "pods"), 1));
    Ticket small = control.admit(request(mouse, "get", "", "pods"), 1);
    REQUIRE(small.state() == Ticket::State::waiting);
    // The mouse waits for its turn among the hog's queues, six at most, and not for twelve requests.
    size_t before = 0;
    for (; before < queued.size(); ++before) {
      running.erase(running.begin());
      auto seated = co_await control.wait(small, std::chrono::milliseconds(0));
      if (seated) break;
      // It gave up its place: it asks again, later than before.
      small = control.admit(request(mouse, "get", "", "pods"), 1);
      if (small.state() == Ticket::State::running) break;
      for (auto& t : queued) {
        if (t.state() != Ticket::State::waiting) continue;
        auto granted = co_await control.wait(t, std::chrono::milliseconds(0));
        if (granted) {
          running.push_back(std::move(t));
          break;
        }
      }
    }
    CHECK(before < 8);
  });
}

TEST_CASE("idle seats are lent as far as their level lends them") {
  FlowControl control(20);
  auto lender = *api::decode<PriorityLevelConfiguration>(
      R"({"metadata":{"name":"lender"},"spec":{"type":"Limited","limited":{"nominalConcurrencyShares":10,"lendablePercent":50,
    "limitResponse":{"type":"Reject"}}}})");
  auto taker = *api::decode<PriorityLevelConfiguration>(kTwo);
  taker.spec.limited->nominalConcurrencyShares = 5;
  taker.spec.limited->borrowingLimitPercent.reset();
  taker.spec.limited->limitResponse->type = "Reject";
  control.configure({*api::decode<FlowSchema>(kAll)}, {lender, taker});  // shares 10, 5 and 5 of the catch-all: seats 10, 5, 5
  UserInfo eve = user("eve", {});
  std::vector<Ticket> running;
  for (;;) {
    Ticket t = control.admit(request(eve, "get", "", "pods"), 1);
    if (t.state() != Ticket::State::running) break;
    running.push_back(std::move(t));
  }
  CHECK(running.size() == 10);  // its five, and half of the lender's ten
  running.clear();
  // Wide requests take more seats at once, and the widest still fits alone.
  Ticket wide = control.admit(request(eve, "list", "", "pods"), 100);
  CHECK(wide.state() == Ticket::State::running);
}

TEST_CASE("a level that is taken away serves those it has to their end") {
  run([](base::Runtime&) -> Task<> {
    FlowControl control(7);
    configure_small(control);
    UserInfo eve = user("eve", {});
    Ticket a = control.admit(request(eve, "get", "", "pods"), 1), b = control.admit(request(eve, "get", "", "pods"), 1);
    Ticket c = control.admit(request(eve, "get", "", "pods"), 1);
    CHECK(c.state() == Ticket::State::waiting);
    control.configure({}, {});
    Ticket d = control.admit(request(eve, "get", "", "pods"), 1);
    CHECK(d.state() == Ticket::State::running);
    CHECK(d.schema_uid() != "all");
    a.release();
    CHECK((co_await control.wait(c)));
    b.release();
    c.release();
  });
}

TEST_CASE("requests pass while the configuration changes, and all seats come back") {
  FlowControl control(7);
  configure_small(control);
  auto changed = [](const char* uid, bool exempt) {
    auto o = *api::decode<PriorityLevelConfiguration>(kTwo);
    o.metadata.uid = uid;
    if (exempt) o.spec.type = "Exempt";
    return o;
  };
  std::atomic<bool> stop = false;
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i)
    threads.emplace_back([&, i] {
      UserInfo who = user("u" + std::to_string(i), {});
      while (!stop) {
        Ticket t = control.admit(request(who, "get", "", "pods"), 2);
        std::string_view uid = t.level_uid();
        if (uid != "two" && uid != "other") stop = true;
        std::this_thread::yield();
      }
    });
  for (int i = 0; i < 300; ++i) {
    control.configure({*api::decode<FlowSchema>(kAll)}, {changed(i % 2 ? "two" : "other", i % 3 == 0)});
    std::string text;
    control.write_metrics(text);
    CHECK(text.find("apiserver_flowcontrol_current_executing_seats{priority_level=\"two\"}") ==
          text.rfind("apiserver_flowcontrol_current_executing_seats{priority_level=\"two\"}"));
  }
  CHECK_FALSE(stop);
  stop = true;
  for (auto& t : threads) t.join();
  configure_small(control);
  UserInfo eve = user("eve", {});
  Ticket a = control.admit(request(eve, "get", "", "pods"), 1), b = control.admit(request(eve, "get", "", "pods"), 1),
         c = control.admit(request(eve, "get", "", "pods"), 1);
  CHECK(a.state() == Ticket::State::running);
  CHECK(b.state() == Ticket::State::running);
  CHECK(c.state() == Ticket::State::waiting);
}

TEST_CASE("flow control objects are there, tell what dangles, and mandatory ones come back") {
  with_cluster([](Cluster c) -> Task<> {
    Http http(c, certificate(c, "root", {"system:masters"}));
    const std::string schemas = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas",
                      levels = "/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations";
    auto list = co_await http.get(schemas);
    CHECK(base::find_array(list.json(), "items")->size() == 13);
    CHECK(base::find_array((co_await http.get(levels)).json(), "items")->size() == 8);
    auto exempt = (co_await http.get(schemas + "/exempt"));
    CHECK(exempt.headers.get("X-Kubernetes-PF-FlowSchema-UID") == text(exempt.json(), "metadata.uid"));
    CHECK(!exempt.headers.get("X-Kubernetes-PF-PriorityLevel-UID").empty());
    auto condition = [](const value& v) { return text(base::find_array(v, "status.conditions")->at(0), "status"); };
    CHECK(condition(exempt.json()) == "False");
    auto made = co_await http.send(
        "POST", schemas,
        R"({"apiVersion":"flowcontrol.apiserver.k8s.io/v1","kind":"FlowSchema","metadata":{"name":"lost"},"spec":{"priorityLevelConfiguration":{"name":"nowhere"},
      "rules":[{"subjects":[{"kind":"User","user":{"name":"x"}}],"nonResourceRules":[{"verbs":["get"],"nonResourceURLs":["/x"]}]}]}})");
    CHECK(made.status == 201);
    CHECK((co_await http.send("DELETE", schemas + "/catch-all")).status == 200);
    auto until = base::Clock::now() + std::chrono::seconds(20);
    bool dangles = false, back = false;
    while (base::Clock::now() < until && !(dangles && back)) {
      value lost = (co_await http.get(schemas + "/lost")).json();
      const auto* conditions = base::find_array(lost, "status.conditions");
      dangles = conditions && conditions->size() == 1 && text(conditions->at(0), "status") == "True" &&
                text(conditions->at(0), "reason") == "NotFound";
      back = (co_await http.get(schemas + "/catch-all")).status == 200;
      co_await base::sleep_for(std::chrono::milliseconds(10));
    }
    CHECK(dangles);
    CHECK(back);
  }, true);
}

TEST_CASE("what a request costs when nobody waits", "[.speed]") {
  FlowControl control(600);
  Objects o = defaults();
  control.configure(o.schemas, o.levels);
  UserInfo admin = user("root", {"system:masters"}), eve = user("eve", {"developers"});
  for (const UserInfo* u : {&admin, &eve}) {
    constexpr int n = 1'000'000;
    const double begin = cpu_nanoseconds();
    for (int i = 0; i < n; ++i) Ticket t = control.admit(request(*u, "get", "", "pods"), 1);
    const double nanoseconds = cpu_nanoseconds() - begin;
    WARN(u->name << ": " << nanoseconds / n << " ns");
  }
}
