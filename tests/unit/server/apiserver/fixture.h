// An API server on a fresh store in a directory of its own, and a coroutine run against it.
#pragma once

#include <catch2/catch.hpp>

#include <functional>
#include <string>

#include "base/bytes.h"
#include "base/files.h"
#include "base/json.h"
#include "datastore/sqlite/sqlite_store.h"
#include "server/apiserver/apiserver.h"

namespace test {

using base::Bytes;
using base::Result;
using base::Task;
using base::json::value;

struct Cluster {
  base::Runtime& runtime;
  datastore::Store& store;
  server::ApiServer& api;
  std::shared_ptr<api::Client> admin;
  std::string directory;
};

// What tests set differently.
struct Settings {
  std::function<void(server::ApiServerOptions&)> server;
  std::function<void(datastore::SqliteOptions&)> store;
};

// Runs f against a started server; `listen` opens a port on loopback.
inline void with_cluster(std::function<Task<>(Cluster)> f, bool listen = false, Settings settings = {}) {
  std::string directory = "/tmp/appliance-unit-" + base::hex_encode(base::random_bytes(8));
  REQUIRE(base::make_dirs(directory));
  {
    base::Runtime runtime(2);
    datastore::SqliteOptions so;
    so.path = directory + "/state.db";
    so.indexer = server::indexer();
    so.tag = server::tag();
    if (settings.store) settings.store(so);
    auto store = datastore::open_sqlite(runtime, so);
    REQUIRE(store);
    server::ApiServerOptions options;
    options.data_dir = directory;
    options.bind_address = "127.0.0.1";
    options.port = 0;
    options.node_name = "n1";
    options.listen = listen;
    if (settings.server) settings.server(options);
    server::ApiServer api(runtime, **store, options);
    std::string failure;
    base::run_to_end(runtime,
                     [](base::Runtime& rt, datastore::Store& st, server::ApiServer& a, std::string dir,
                        std::function<Task<>(Cluster)>& body, std::string& why) -> Task<> {
                       auto started = co_await a.start();
                       if (!started) {
                         why = started.error().message;
                         co_return;
                       }
                       co_await body(Cluster{rt, st, a, a.client(server::UserInfo::admin()), dir});
                       co_await a.stop();
                       co_await st.stop();
                     }(runtime, **store, api, directory, f, failure));
    CHECK(failure == "");
  }
  (void)base::remove_all(directory);
}

inline value parse(const Bytes& text) {
  auto v = base::parse_json(*text, 256);
  REQUIRE(v);
  return std::move(*v);
}

inline std::string text(const value& v, std::string_view path) { return std::string(base::get_string(v, path)); }

const inline api::Resource configmaps{"", "v1", "configmaps"}, pods{"", "v1", "pods"}, namespaces{"", "v1", "namespaces"},
    secrets{"", "v1", "secrets"}, services{"", "v1", "services"}, serviceaccounts{"", "v1", "serviceaccounts"}, nodes{"", "v1", "nodes"},
    deployments{"apps", "v1", "deployments"};

inline std::string configmap(const std::string& name, const std::string& data = "1", const std::string& more = "") {
  return R"({"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":")" + name + "\"" + more + R"(},"data":{"a":")" + data + "\"}}";
}

inline std::string pod(const std::string& name, const std::string& more = "") {
  return R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":")" + name + R"("},"spec":{"containers":[{"name":"c","image":"x"}])" + more +
         "}}";
}

inline Task<> default_account(Cluster c) {
  auto made = co_await c.admin->create(serviceaccounts, {"default", ""},
                                       R"({"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"default"}})");
  CHECK(made);
}

}  // namespace test
