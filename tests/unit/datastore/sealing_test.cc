// Values that are encrypted in the file, and nowhere else.
#include <fmt/format.h>
#include <sqlite3.h>

#include "base/seal.h"
#include "tests/unit/datastore/fixture.h"

using namespace datastore;
using namespace datastore::testing;

namespace {

const std::string kValue = "the-word-nobody-may-read";

SqliteOptions options_in(const Directory& directory, bool sealing = true) {
  SqliteOptions options;
  options.path = directory.path + "/store.db";
  if (!sealing) return options;
  options.keyring = must(Keyring::open(directory.path + "/encryption.key"));
  options.sealed_prefixes = {"/s/"};
  return options;
}

void session(SqliteOptions options, const std::function<Task<>(SqliteStore&)>& body) {
  with_runtime([&](base::Runtime& runtime) -> Task<> {
    auto store = must(open_sqlite(runtime, options));
    co_await body(*store);
    co_await store->stop();
  });
}

// Everything the disk holds of the store, the write-ahead log included.
std::string on_disk(const Directory& directory) {
  std::string out = base::read_file(directory.path + "/store.db").value_or("");
  return out + base::read_file(directory.path + "/store.db-wal").value_or("");
}

bool readable(const Directory& directory) { return on_disk(directory).find(kValue) != std::string::npos; }

Task<> write(Store& store, std::string key, std::string value = kValue) {
  (void)must(co_await write_one(store, put(std::move(key), std::move(value))));
}

}  // namespace

TEST_CASE("a sealed message opens with its key and context alone") {
  std::string key(32, 'k'), other(32, 'o');
  std::string sealed = base::seal(key, "place", "text");
  CHECK(sealed.size() == 4 + base::kSealOverhead);
  CHECK(base::seal(key, "place", "text") != sealed);
  CHECK(must(base::unseal(key, "place", sealed)) == "text");
  CHECK_FALSE(base::unseal(other, "place", sealed));
  CHECK_FALSE(base::unseal(key, "elsewhere", sealed));
  CHECK_FALSE(base::unseal(key, "place", sealed.substr(1)));
  for (size_t i = 0; i < sealed.size(); ++i) {
    std::string bent = sealed;
    bent[i] = static_cast<char>(bent[i] ^ 1);
    CHECK_FALSE(base::unseal(key, "place", bent));
  }
  CHECK(must(base::unseal(key, "", base::seal(key, "", ""))).empty());
}

TEST_CASE("an encrypted value is nowhere in the files, and is read back after a restart") {
  Directory directory;
  session(options_in(directory), [&](SqliteStore& store) -> Task<> {
    co_await write(store, "/s/a");
    co_await write(store, "/s/a", kValue + "2");
    co_await write(store, "/p/a", "plain");
    CHECK(*store.get("/s/a")->value == kValue + "2");
    CHECK_FALSE(readable(directory));
    CHECK(on_disk(directory).find("plain") != std::string::npos);
    (void)must(co_await store.backup(directory.path + "/copy.db"));
    CHECK(base::read_file(directory.path + "/copy.db")->find(kValue) == std::string::npos);
  });
  CHECK_FALSE(readable(directory));
  session(options_in(directory), [&](SqliteStore& store) -> Task<> {
    CHECK(*store.get("/s/a")->value == kValue + "2");
    CHECK(*store.get("/p/a")->value == "plain");
    co_return;
  });
}

TEST_CASE("rotating the key seals everything anew and forgets the old key") {
  Directory directory;
  std::string first;
  session(options_in(directory), [&](SqliteStore& store) -> Task<> {
    for (int i = 0; i < 600; ++i) co_await write(store, fmt::format("/s/{}", i));
    Sealing before = must(co_await store.sealing());
    REQUIRE(before.by_key.size() == 1);
    first = before.by_key[0].first;
    CHECK(before.by_key[0].second == 600);
    CHECK(before.plain == 0);
  });
  auto options = options_in(directory);
  session(options, [&](SqliteStore& store) -> Task<> {
    must(options.keyring->rotate());
    co_await write(store, "/s/new");
    Sealing between = must(co_await store.sealing());
    CHECK(between.by_key.size() == 2);
    must(co_await store.reseal(true));
    CHECK(options.keyring->keys().size() == 1);
    Sealing after = must(co_await store.sealing());
    REQUIRE(after.by_key.size() == 1);
    CHECK(after.by_key[0].first != first);
    CHECK(after.by_key[0].second == 601);
    CHECK_FALSE(readable(directory));
  });
  session(options_in(directory), [&](SqliteStore& store) -> Task<> {
    CHECK(store.count("/s/") == 601);
    CHECK(*store.get("/s/17")->value == kValue);
    co_return;
  });
}

TEST_CASE("a database from before is read, and encrypted by resealing") {
  Directory directory;
  session(options_in(directory, false), [&](SqliteStore& store) -> Task<> {
    co_await write(store, "/s/a");
    co_await write(store, "/s/gone");
    (void)must(co_await write_one(store, erase("/s/gone")));
  });
  CHECK(readable(directory));
  session(options_in(directory), [&](SqliteStore& store) -> Task<> {
    CHECK(*store.get("/s/a")->value == kValue);
    CHECK(must(co_await store.sealing()).plain >= 1);
    datastore::Revision before = store.get("/s/a")->revision;
    must(co_await store.reseal(false));
    CHECK(must(co_await store.sealing()).plain == 0);
    CHECK(store.get("/s/a")->revision == before);
    CHECK_FALSE(readable(directory));
    co_await write(store, "/s/b");  // the file takes writes as before
  });
  CHECK_FALSE(readable(directory));
  session(options_in(directory), [&](SqliteStore& store) -> Task<> {
    CHECK(*store.get("/s/b")->value == kValue);
    co_return;
  });
}

TEST_CASE("a lost key file is named, and no new one is put in its place") {
  Directory directory;
  session(options_in(directory), [&](SqliteStore& store) -> Task<> { co_await write(store, "/s/a"); });
  const std::string file = directory.path + "/encryption.key";
  std::string text = must(base::read_file(file));
  REQUIRE(base::remove_all(file));
  auto refusal = [&](bool sealing) {
    base::Runtime runtime(1);
    auto store = open_sqlite(runtime, options_in(directory, sealing));
    REQUIRE_FALSE(store);
    return store.error().message;
  };
  std::string why = refusal(true);
  CHECK(why.find("/s/a") != std::string::npos);
  CHECK(why.find(file) != std::string::npos);
  CHECK_FALSE(base::exists(file));
  CHECK(refusal(false).find("no key file") != std::string::npos);
  REQUIRE(base::write_file_atomic(file, "nonsense\n"));
  CHECK(Keyring::open(file).error().message.find("line 1") != std::string::npos);
  REQUIRE(base::write_file_atomic(file, text));
  session(options_in(directory), [&](SqliteStore& store) -> Task<> {
    CHECK(*store.get("/s/a")->value == kValue);
    co_return;
  });
}

TEST_CASE("a value moved to another key does not open") {
  Directory directory;
  auto ring = must(Keyring::open(directory.path + "/encryption.key"));
  std::string sealed = ring->seal("/s/admin", kValue);
  CHECK(must(ring->open_value("/s/admin", sealed)) == kValue);
  CHECK_FALSE(ring->open_value("/s/guest", sealed));
}
