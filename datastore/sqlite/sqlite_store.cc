#include "datastore/sqlite/sqlite_store.h"

#include "datastore/sqlite/writer.h"

namespace datastore {

using namespace std::chrono_literals;

namespace {

class SqliteStoreImpl final : public SqliteStore {
 public:
  SqliteStoreImpl(base::Runtime& runtime, SqliteOptions options) : writer_(runtime, std::move(options)) {}

  Result<> open() { return writer_.open(); }

  RecordPtr get(std::string_view key) const override { return writer_.history().get(key); }
  size_t count(std::string_view prefix) const override { return writer_.history().count(prefix); }
  Revision revision() const override { return writer_.hub().published(); }
  Revision compacted() const override { return writer_.history().compacted(); }
  void compact(Revision before) override { writer_.compact(before); }
  Stats stats() const override { return writer_.stats(); }
  Task<> stop() override { return writer_.stop(); }
  Result<> health() const override { return writer_.health(); }
  uint64_t size_bytes() const override { return writer_.stats().file_bytes; }
  WriteTimes write_times() const override { return writer_.stats().times; }
  Task<Result<Sealing>> sealing() override { return writer_.sealing(); }
  Task<Result<>> reseal(bool with_new_key) override { return writer_.reseal(with_new_key); }
  Task<Result<>> backup(std::string path) override { return writer_.backup(std::move(path)); }
  Task<Result<std::vector<RecordPtr>>> write(std::vector<Write> writes) override { return writer_.write(std::move(writes)); }

  Task<Result<ListResult>> list(std::string prefix, ListOptions options) const override {
    if (options.at > revision()) CO_CHECK_OK(co_await writer_.wait_for(options.at, base::Clock::now() + 3s));
    if (options.at != 0) CO_CHECK_OK(writer_.check_volatile(prefix, options.at));
    co_return writer_.history().list(prefix, options);
  }

  Result<std::unique_ptr<Watcher>> watch(std::string prefix, Revision from, Narrow narrow) override {
    if (from != 0) CHECK_OK(writer_.check_volatile(prefix, from));
    return writer_.hub().subscribe(writer_.history(), std::move(prefix), from, std::move(narrow));
  }

 private:
  Writer writer_;
};

}  // namespace

Result<std::unique_ptr<SqliteStore>> open_sqlite(base::Runtime& runtime, SqliteOptions options) {
  auto store = std::make_unique<SqliteStoreImpl>(runtime, std::move(options));
  CHECK_OK(store->open());
  return store;
}

}  // namespace datastore
