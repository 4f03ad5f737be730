#include "agent/streams/scope.h"

#include <algorithm>
#include <cstring>

#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/system/system_error.hpp>

namespace agent {

namespace asio = boost::asio;

Task<> with_children(base::Runtime& runtime, std::function<Task<>(base::Tasks&)> body) {
  base::Tasks children(runtime);
  std::exception_ptr failure;
  try {
    co_await body(children);
  } catch (...) {
    failure = std::current_exception();
  }
  // A cancellation of ours must not keep us from waiting for the children; it is raised afterwards.
  co_await asio::this_coro::throw_if_cancelled(false);
  for (bool ended = false; !ended;) {
    try {
      co_await children.stop();
      ended = true;
    } catch (const boost::system::system_error&) {
    }
  }
  co_await asio::this_coro::throw_if_cancelled(true);
  if (failure) std::rethrow_exception(failure);
  auto state = co_await asio::this_coro::cancellation_state;
  if (state.cancelled() != asio::cancellation_type::none) throw boost::system::system_error(asio::error::operation_aborted);
}

Task<Turn::Guard> Turn::take() {
  for (;;) {
    uint64_t seen = free_.version();
    if (!busy_) break;
    co_await free_.wait(seen);
  }
  busy_ = true;
  co_return Guard(this);
}

Task<> BytePipe::push(std::string bytes) {
  if (bytes.empty()) co_return;
  for (;;) {
    uint64_t seen = changed_.version();
    if (ended_ || discarded_) co_return;
    if (size_ < bound_) break;
    co_await changed_.wait(seen);
  }
  size_ += bytes.size();
  chunks_.push_back(std::move(bytes));
  changed_.notify();
}

Task<size_t> BytePipe::read(std::span<char> into) {
  for (;;) {
    uint64_t seen = changed_.version();
    if (!chunks_.empty()) break;
    if (ended_ || discarded_) co_return 0;
    co_await changed_.wait(seen);
  }
  size_t n = 0;
  while (n < into.size() && !chunks_.empty()) {
    const std::string& front = chunks_.front();
    size_t take = std::min(into.size() - n, front.size() - offset_);
    std::memcpy(into.data() + n, front.data() + offset_, take);
    n += take;
    offset_ += take;
    if (offset_ == front.size()) {
      chunks_.pop_front();
      offset_ = 0;
    }
  }
  bool was_full = size_ >= bound_;
  size_ -= n;
  if (was_full && size_ < bound_) changed_.notify();
  co_return n;
}

void BytePipe::end() {
  ended_ = true;
  changed_.notify();
}

void BytePipe::discard() {
  discarded_ = true;
  chunks_.clear();
  size_ = offset_ = 0;
  changed_.notify();
}

}  // namespace agent
