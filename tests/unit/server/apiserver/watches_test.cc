// Watches over HTTP: where they begin, what they tell, and who is closed when it does not listen.
#include <fmt/format.h>

#include <deque>
#include <map>
#include <set>

#include "http_client.h"

using namespace test;
using namespace std::chrono_literals;

namespace {

const std::string maps = "/api/v1/namespaces/default/configmaps";

std::vector<value> lines(const std::string& body) {
  std::vector<value> out;
  for (size_t at = 0, end; (end = body.find('\n', at)) != std::string::npos; at = end + 1)
    out.push_back(*base::parse_json(std::string_view(body).substr(at, end - at)));
  return out;
}

Task<std::string> make(Cluster c, std::string name, std::string data = "1") {
  auto made = co_await c.admin->create(configmaps, {"default", ""}, configmap(name, data));
  REQUIRE(made);
  co_return text(parse(*made), "metadata.resourceVersion");
}

}  // namespace

TEST_CASE("a watch begins where its options say, and combinations without meaning are refused") {
  with_cluster([](Cluster c) -> Task<> {
    Http http(c, certificate(c, "root", {"system:masters"}));
    std::string first = co_await make(c, "a");
    (void)co_await make(c, "b");
    struct Case {
      std::string query;
      int status;
      std::string types;  // first letters of what comes within the second the watch lasts
    };
    const Case cases[] = {
        {"", 200, "AA"},
        {"resourceVersion=0", 200, "AA"},
        {"resourceVersion=" + first, 200, "A"},
        {"resourceVersion=0&allowWatchBookmarks=true", 200, "AAB"},
        {"sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true", 200, "AAB"},
        {"sendInitialEvents=true&resourceVersionMatch=NotOlderThan", 200, "AA"},
        {"sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=" + first + "&allowWatchBookmarks=true", 200, "AAB"},
        {"sendInitialEvents=false&resourceVersionMatch=NotOlderThan&resourceVersion=0", 200, ""},
        {"sendInitialEvents=false&resourceVersionMatch=NotOlderThan&resourceVersion=" + first, 200, "A"},
        {"sendInitialEvents=true", 422, ""},
        {"sendInitialEvents=true&resourceVersionMatch=Exact", 422, ""},
        {"resourceVersionMatch=NotOlderThan&resourceVersion=" + first, 422, ""},
        {"resourceVersion=abc", 400, ""},
        {"timeoutSeconds=x", 400, ""},
        {"fieldSelector=data.a%3D1", 400, ""},
    };
    base::Tasks tasks(c.runtime);
    for (const Case& one : cases)
      tasks.spawn("watch", [](Http& h, Case k) -> Task<> {
        std::string end = k.query.find("timeoutSeconds") == std::string::npos ? "&timeoutSeconds=1" : "";
        auto r = co_await h.get(maps + "?watch=true&" + k.query + end);
        INFO(k.query);
        CHECK(r.status == k.status);
        if (k.status != 200) co_return;
        std::string types;
        for (const value& e : lines(r.body)) {
          std::string type = text(e, "type");
          bool last = base::find(e, "object.metadata.annotations");
          // The bookmark at the watch's end is told to those who take bookmarks; only the one of the initial events is of interest here.
          if (type == "BOOKMARK" && k.query.find("sendInitialEvents=true") != std::string::npos && !last) continue;
          types += type[0];
        }
        CHECK(types == k.types);
      }(http, one));
    while (tasks.running() > 0) co_await base::sleep_for(10ms);
    co_await tasks.stop();
  }, true);
}

TEST_CASE("a bookmark has the kind and a version, and everything up to it has been told") {
  with_cluster([](Cluster c) -> Task<> {
    Http http(c, certificate(c, "root", {"system:masters"}));
    (void)co_await make(c, "a");
    base::Tasks tasks(c.runtime);
    tasks.spawn("writer", [](Cluster cl) -> Task<> {
      for (int i = 0; i < 10; ++i) (void)co_await make(cl, "w" + std::to_string(i));
    }(c));
    auto r = co_await http.get(
        maps + "?watch=1&timeoutSeconds=1&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan");
    co_await tasks.stop();
    auto events = lines(r.body);
    REQUIRE(events.size() >= 13);
    CHECK(text(events.back(), "type") == "BOOKMARK");
    CHECK(text(events.back(), "object.kind") == "ConfigMap");
    CHECK(text(events.back(), "object.apiVersion") == "v1");
    uint64_t told = 0;
    bool initial = true;
    std::set<std::string> names;
    for (const value& e : events) {
      uint64_t revision = std::stoull(text(e, "object.metadata.resourceVersion"));
      if (text(e, "type") == "BOOKMARK") {
        initial = false;
        CHECK(revision >= told);
      } else {
        if (!initial) CHECK(revision > told);  // the initial ones are by name
        CHECK(names.insert(text(e, "object.metadata.name")).second);
      }
      told = std::max(told, revision);
    }
    CHECK(names.size() == 11);
  }, true);
}

TEST_CASE("a watch from a compacted version opens and says 410") {
  with_cluster([](Cluster c) -> Task<> {
    Http http(c, certificate(c, "root", {"system:masters"}));
    std::string old = co_await make(c, "a");
    for (int i = 0; i < 5; ++i) (void)co_await make(c, "b" + std::to_string(i));
    c.store.compact(c.store.revision());
    for (int i = 0; i < 400 && c.store.compacted() < c.store.revision(); ++i) co_await base::sleep_for(5ms);
    auto r = co_await http.get(maps + "?watch=1&timeoutSeconds=5&resourceVersion=" + old);
    CHECK(r.status == 200);
    auto events = lines(r.body);
    REQUIRE(events.size() == 1);
    CHECK(text(events[0], "type") == "ERROR");
    CHECK(text(events[0], "object.reason") == "Expired");
    CHECK(base::get_int(events[0], "object.code") == 410);
    CHECK(text(events[0], "object.message").starts_with("too old resource version: " + old + " ("));
  }, true);
}

TEST_CASE("a client that does not read is closed and holds up nobody") {
  Settings settings;
  settings.store = [](datastore::SqliteOptions& o) { o.watch_queue = 50; };
  with_cluster([](Cluster c) -> Task<> {
    Http slow(c, certificate(c, "root", {"system:masters"})), http(c, certificate(c, "root", {"system:masters"}));
    auto version = std::to_string(c.store.revision());
    base::http::ClientRequest request;
    request.method = "GET";
    request.url = slow.url() + maps + "?watch=1&timeoutSeconds=60&resourceVersion=" + version;
    auto stuck = co_await slow.client().send(std::move(request));
    REQUIRE(stuck);  // its body stays unread
    auto lively = co_await c.admin->watch(configmaps, "default", {.label_selector = {}, .field_selector = {}, .resource_version = version});
    REQUIRE(lively);
    // More than sockets and buffers on the way hold.
    const std::string data(200'000, 'x');
    constexpr int writes = 150;
    auto slowest = 0ms;
    for (int i = 0; i < writes; ++i) {
      (void)co_await make(c, "m" + std::to_string(i), data);
      auto begin = base::Clock::now();
      auto event = co_await (*lively)->next();
      REQUIRE(event);
      slowest = std::max(slowest, std::chrono::duration_cast<std::chrono::milliseconds>(base::Clock::now() - begin));
    }
    CHECK(slowest < 2s);
    // What it gets when it reads at last: events in order without a gap, then the end.
    auto body = co_await (*stuck)->body();
    REQUIRE(body);
    int next = 0;
    bool expired = false;
    for (const value& e : lines(*body)) {
      if (text(e, "type") == "ERROR") {
        expired = base::get_int(e, "object.code") == 410;
        continue;
      }
      CHECK(!expired);
      CHECK(text(e, "object.metadata.name") == "m" + std::to_string(next++));
    }
    CHECK(expired);
    CHECK(next < writes);
  }, true, settings);
}

TEST_CASE("a deletion is told with the last state and its own version, in every form") {
  with_cluster([](Cluster c) -> Task<> {
    Http http(c, certificate(c, "root", {"system:masters"}));
    std::string made = co_await make(c, "a", "last");
    CHECK((co_await c.admin->remove(configmaps, {"default", "a"})));
    std::string at = std::to_string(c.store.revision());
    for (const char* accept : {"application/json", "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
                               "application/json;as=Table;g=meta.k8s.io;v=v1"}) {
      INFO(accept);
      auto r = co_await http.get(maps + "?watch=1&timeoutSeconds=1&resourceVersion=" + made, {{"Accept", accept}});
      auto events = lines(r.body);
      REQUIRE(events.size() == 1);
      CHECK(text(events[0], "type") == "DELETED");
      std::string version = text(events[0], "object.metadata.resourceVersion");
      CHECK(version == at);
    }
  }, true);
}

namespace {

using State = std::map<std::string, std::string>;  // version by name

State state_of(const value& list) {
  State out;
  for (const value& item : *base::find_array(list, "items")) out[text(item, "metadata.name")] = text(item, "metadata.resourceVersion");
  return out;
}

}  // namespace

// Filter, order, uniqueness, atomicity, reliability, resumability and bookmarks, as etcd's robustness suite defines them: what a watch tells leads from the
// list at its beginning to the list at any later moment.
TEST_CASE("whatever is written, list plus watch is the list later") {
  with_cluster([](Cluster c) -> Task<> {
    Http http(c, certificate(c, "root", {"system:masters"}));
    std::vector<std::string> versions;
    auto random = [state = uint32_t{12345}](uint32_t n) mutable {
      state = state * 1664525 + 1013904223;
      return (state >> 16) % n;
    };
    auto write = [&](int rounds) -> Task<> {
      for (int i = 0; i < rounds; ++i) {
        std::string name = "m" + std::to_string(random(12));
        std::string label = fmt::format(R"(,"labels":{{"x":"{}"}})", random(3));
        switch (random(4)) {
          case 0: (void)co_await c.admin->remove(configmaps, {"default", name}); break;
          case 1: (void)co_await c.admin->create(configmaps, {"default", ""}, configmap(name, std::to_string(i), label)); break;
          case 2: (void)co_await c.admin->create(configmaps, {"kube-public", ""}, configmap(name, std::to_string(i), label)); break;
          default: (void)co_await c.admin->update(configmaps, {"default", name}, configmap(name, std::to_string(i), label)); break;
        }
        versions.push_back(std::to_string(c.store.revision()));
      }
    };
    co_await write(150);
    base::Tasks tasks(c.runtime);
    struct Watched {
      std::string selector, from, body;
    };
    auto watched = std::make_shared<std::deque<Watched>>();
    for (const char* selector : {"", "&labelSelector=x%3D1", "&labelSelector=x!%3D1", "&fieldSelector=metadata.name%3Dm3",
                                 "&fieldSelector=metadata.name!%3Dm3&labelSelector=x+in+(0,2)"})
      for (int i = 0; i < 3; ++i) {
        watched->push_back({selector, versions[random(static_cast<uint32_t>(versions.size()))], {}});
        tasks.spawn("watch", [](Http& h, Watched& w) -> Task<> {
          auto r = co_await h.get(maps + "?watch=1&timeoutSeconds=2&allowWatchBookmarks=true&resourceVersion=" + w.from + w.selector);
          CHECK(r.status == 200);
          w.body = r.body;
        }(http, watched->back()));
      }
    co_await base::sleep_for(200ms);
    co_await write(150);
    while (tasks.running() > 0) co_await base::sleep_for(10ms);
    co_await tasks.stop();
    for (const Watched& w : *watched) {
      INFO(w.selector << " from " << w.from);
      auto at = [&](std::string version) -> Task<State> {
        auto r = co_await http.get(maps + "?resourceVersionMatch=Exact&resourceVersion=" + version + w.selector);
        CHECK(r.status == 200);
        co_return state_of(r.json());
      };
      State now = co_await at(w.from);
      uint64_t last = std::stoull(w.from);
      auto events = lines(w.body);
      REQUIRE(!events.empty());
      CHECK(text(events.back(), "type") == "BOOKMARK");
      size_t n = 0;
      for (const value& e : events) {
        std::string type = text(e, "type"), version = text(e, "object.metadata.resourceVersion"), name = text(e, "object.metadata.name");
        if (type == "BOOKMARK") {
          CHECK(std::stoull(version) >= last);
          CHECK((co_await at(version)) == now);
          continue;
        }
        REQUIRE(std::stoull(version) > last);
        last = std::stoull(version);
        if (type == "ADDED") CHECK(now.emplace(name, version).second);
        else if (type == "MODIFIED") CHECK(now.contains(name));
        else CHECK(now.erase(name) == 1);
        if (type == "MODIFIED") now[name] = version;
        if (++n % 10 == 0) CHECK((co_await at(version)) == now);
      }
      CHECK(std::stoull(text(events.back(), "object.metadata.resourceVersion")) >= std::stoull(versions.back()));
    }
  }, true);
}

TEST_CASE("one object is read, not watched, but for the old form of the path") {
  with_cluster([](Cluster c) -> Task<> {
    Http http(c, certificate(c, "root", {"system:masters"}));
    (void)co_await make(c, "a");
    (void)co_await make(c, "b");
    auto r = co_await http.get(maps + "/a?watch=true&timeoutSeconds=1");
    CHECK(text(r.json(), "metadata.name") == "a");
    for (const char* old : {"/api/v1/watch/namespaces/default/configmaps/a?timeoutSeconds=1",
                            "/api/v1/namespaces/default/configmaps?watch=1&timeoutSeconds=1&fieldSelector=metadata.name%3Da"}) {
      INFO(old);
      auto events = lines((co_await http.get(old)).body);
      REQUIRE(events.size() == 1);
      CHECK(text(events[0], "type") == "ADDED");
      CHECK(text(events[0], "object.metadata.name") == "a");
    }
    auto both = lines((co_await http.get("/api/v1/watch/namespaces/default/configmaps?timeoutSeconds=1")).body);
    CHECK(both.size() == 2);
  }, true);
}
