#include "api/reconciler.h"

#include <boost/system/system_error.hpp>

#include "base/log.h"

namespace api {
namespace {

base::Task<> work(Reconciler& reconciler, WorkQueue& queue) {
  for (;;) {
    auto key = co_await queue.get();
    if (!key) co_return;
    std::string failure;
    std::optional<base::Duration> again;
    try {
      auto result = co_await reconciler.reconcile(ObjectKey::parse(*key));
      if (result) again = *result;
      else failure = result.error().message;
    } catch (const boost::system::system_error&) {
      queue.done(*key);
      throw;  // cancelled
    } catch (const std::exception& e) {
      failure = e.what();
    }
    if (failure.empty()) {
      queue.forget(*key);
      if (again) queue.add_after(*key, *again);
    } else {
      base::log::debug(reconciler.name(), "{}: {}", *key, failure);
      queue.add_failed(*key);
    }
    queue.done(*key);
  }
}

}  // namespace

void run_reconciler(base::Tasks& tasks, Reconciler& reconciler, WorkQueue& queue, int workers) {
  for (int i = 0; i < workers; ++i) tasks.spawn(std::string(reconciler.name()), work(reconciler, queue));
}

}  // namespace api
