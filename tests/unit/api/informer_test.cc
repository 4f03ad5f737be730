#include <catch2/catch.hpp>

#include <fmt/format.h>

#include "api/informer.h"
#include "api/types/core_v1.h"
#include "base/channel.h"

using namespace base;

namespace {

Bytes config_map(std::string name, int revision, std::string value) {
  return make_bytes(fmt::format(
      R"({{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"namespace":"d","name":"{}","resourceVersion":"{}"}},"data":{{"k":"{}"}}}})",
      name, revision, value));
}

// Lists what it is told and hands out events from a channel; an entry without object is an error with that code.
struct Scripted final : api::Client {
  struct Step {
    api::WatchEvent event;
    int error = 0;
  };
  std::vector<api::ListPage> lists;
  size_t listed = 0;
  Channel<Step> steps{100};

  struct ScriptedWatch final : api::Watch {
    Channel<Step>& steps;
    explicit ScriptedWatch(Channel<Step>& s) : steps(s) {}
    Task<Result<std::optional<api::WatchEvent>>> next() override {
      auto s = co_await steps.pop();
      if (!s) co_return std::optional<api::WatchEvent>();
      if (s->error) co_return fail(s->error, s->error == 410 ? "Expired" : "InternalError", "scripted");
      co_return std::optional(s->event);
    }
  };
  Task<Result<api::ListPage>> list(api::Resource, std::string, api::ListOptions) override {
    co_return lists.at(std::min(listed++, lists.size() - 1));
  }
  Task<Result<std::unique_ptr<api::Watch>>> watch(api::Resource, std::string, api::WatchOptions) override {
    co_return std::make_unique<ScriptedWatch>(steps);
  }
  Task<Result<Bytes>> get(api::Resource, api::ObjectKey, std::string) override { co_return internal("unused"); }
  Task<Result<Bytes>> create(api::Resource, api::ObjectKey, std::string, api::WriteOptions) override { co_return internal("unused"); }
  Task<Result<Bytes>> update(api::Resource, api::ObjectKey, std::string, api::WriteOptions) override { co_return internal("unused"); }
  Task<Result<Bytes>> patch(api::Resource, api::ObjectKey, api::PatchType, std::string, api::WriteOptions) override {
    co_return internal("unused");
  }
  Task<Result<Bytes>> remove(api::Resource, api::ObjectKey, api::DeleteOptions) override { co_return internal("unused"); }
};

}  // namespace

TEST_CASE("an informer follows list and watch, keeps its indexes, and lists again after 410 without a gap") {
  Runtime runtime(2);
  Scripted client;
  client.lists.push_back({{config_map("a", 1, "x"), config_map("b", 2, "x")}, "2", ""});
  client.lists.push_back({{config_map("b", 2, "x"), config_map("c", 9, "z")}, "9", ""});
  std::vector<std::string> seen;
  run_to_end(runtime, [](Runtime& r, Scripted& c, std::vector<std::string>& log) -> Task<> {
    api::Informers informers(r, c);
    auto& maps = informers.get<api::core::ConfigMap>();
    Channel<int> progress(100);
    maps.add_index("value", [](const api::core::ConfigMap& m) { return std::vector{m.data.at("k")}; });
    maps.on_change([&](const auto& before, const auto& after) {
      log.push_back((before ? before->metadata.name + before->data.at("k") : "-") + ">" +
                    (after ? after->metadata.name + after->data.at("k") : "-"));
      progress.push(1);
    });
    informers.start();
    co_await informers.wait_synced();
    CHECK(maps.list("d").size() == 2);
    CHECK(maps.list("e").empty());
    CHECK(maps.by_index("value", "x").size() == 2);
    c.steps.push({{api::WatchEvent::Type::modified, config_map("a", 3, "y")}});
    c.steps.push({{api::WatchEvent::Type::deleted, config_map("a", 4, "y")}});
    for (int i = 0; i < 4; ++i) co_await progress.pop();
    CHECK(maps.by_index("value", "y").empty());
    CHECK_FALSE(maps.get("d", "a"));
    c.steps.push({{}, 410});
    co_await progress.pop();
    CHECK(maps.get("d", "c")->data.at("k") == "z");
    co_await informers.stop();
  }(runtime, client, seen));
  CHECK(seen == std::vector<std::string>{"->ax", "->bx", "ax>ay", "ay>-", "->cz"});
}
