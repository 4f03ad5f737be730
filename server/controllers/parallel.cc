#include "server/controllers/parallel.h"

#include <mutex>

namespace server::controllers {
namespace {

// Shared with tasks that may outlive the one who waits, when it is cancelled.
struct Group {
  std::mutex mutex;
  size_t left = 0;
  base::Result<> first_failure;
  base::Event changed;

  void ended(base::Result<> r) {
    {
      std::scoped_lock lock(mutex);
      if (!r && first_failure) first_failure = std::move(r);
      --left;
    }
    changed.notify();
  }
};

base::Task<> run_one(std::shared_ptr<Group> group, base::Task<base::Result<>> work) {
  base::Result<> r;
  try {
    r = co_await std::move(work);
  } catch (...) {
    group->ended(base::internal("interrupted"));
    throw;
  }
  group->ended(std::move(r));
}

}  // namespace

base::Task<base::Result<>> together(base::Tasks& tasks, std::vector<base::Task<base::Result<>>> work, size_t width) {
  if (work.size() == 1) co_return co_await std::move(work.front());
  auto group = std::make_shared<Group>();
  size_t next = 0;
  for (;;) {
    uint64_t seen = group->changed.version();
    size_t start = 0;
    {
      std::scoped_lock lock(group->mutex);
      if (next == work.size() && group->left == 0) co_return std::move(group->first_failure);
      start = std::min(width - group->left, work.size() - next);
      group->left += start;
    }
    for (size_t i = 0; i < start; ++i) tasks.spawn("parallel writes", run_one(group, std::move(work[next++])));
    co_await group->changed.wait(seen);
  }
}

}  // namespace server::controllers
