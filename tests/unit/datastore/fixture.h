// A store of a backend in a directory of its own, and coroutines run to their end.
#pragma once

#include <stdlib.h>

#include <catch2/catch.hpp>
#include <functional>
#include <memory>
#include <string>

#include "base/files.h"
#include "datastore/sqlite/sqlite_store.h"

namespace datastore::testing {

class Directory {
 public:
  Directory() {
    char name[] = "/tmp/datastore-test-XXXXXX";
    path = ::mkdtemp(name);
  }
  ~Directory() { (void)base::remove_all(path); }
  std::string path;
};

// Runs a coroutine on a runtime with two threads; the store is stopped and destroyed before the runtime.
inline void with_runtime(const std::function<Task<>(base::Runtime&)>& body) {
  base::Runtime runtime(2);
  base::run_to_end(runtime, body(runtime));
}

template <class T>
T must(Result<T> result) {
  INFO((result ? std::string() : result.error().message));
  REQUIRE(result.has_value());
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

inline Write put(std::string key, std::string value, std::optional<Revision> expected = std::nullopt) {
  Write w;
  w.key = std::move(key);
  w.value = base::make_bytes(std::move(value));
  w.expected = expected;
  return w;
}

inline Write erase(std::string key, std::optional<Revision> expected = std::nullopt) {
  Write w;
  w.key = std::move(key);
  w.expected = expected;
  return w;
}

inline Task<Result<RecordPtr>> write_one(Store& store, Write write) {
  std::vector<Write> writes;
  writes.push_back(std::move(write));
  auto written = co_await store.write(std::move(writes));
  if (!written) co_return std::unexpected(written.error());
  co_return written->front();
}

}  // namespace datastore::testing
