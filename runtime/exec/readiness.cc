#include "runtime/exec/readiness.h"

#include <fcntl.h>

#include <mutex>

#include <boost/asio/posix/stream_descriptor.hpp>

namespace runtime {

namespace asio = boost::asio;

struct Readiness::State {
  mutable std::mutex mutex;
  asio::posix::stream_descriptor descriptor;
  base::Event readable, writable;

  State(const base::Executor& e, int fd) : descriptor(e, fd) {}
};

Readiness::Readiness(base::Runtime& runtime, base::Fd fd) {
  ::fcntl(fd.get(), F_SETFL, ::fcntl(fd.get(), F_GETFL) | O_NONBLOCK);
  state_ = std::make_shared<State>(runtime.strand(), fd.release());
}

Readiness::~Readiness() { close(); }

Readiness::Hold::Hold(const Readiness& r) : r_(r) { r_.state_->mutex.lock(); }
Readiness::Hold::~Hold() { r_.state_->mutex.unlock(); }

int Readiness::fd() const { return state_->descriptor.is_open() ? state_->descriptor.native_handle() : -1; }

base::Task<bool> Readiness::wait(std::shared_ptr<State> state, bool write) {
  base::Event& event = write ? state->writable : state->readable;
  uint64_t seen;
  {
    std::scoped_lock lock(state->mutex);
    if (!state->descriptor.is_open()) co_return false;
    seen = event.version();
    // Started under the lock, answered through an event: the descriptor's object is never touched by two threads at once.
    auto type = write ? asio::posix::stream_descriptor::wait_write : asio::posix::stream_descriptor::wait_read;
    state->descriptor.async_wait(type, [state, &event](const boost::system::error_code&) { event.notify(); });
  }
  co_await event.wait(seen);
  std::scoped_lock lock(state->mutex);
  co_return state->descriptor.is_open();
}

base::Task<bool> Readiness::readable() { return wait(state_, false); }
base::Task<bool> Readiness::writable() { return wait(state_, true); }

void Readiness::close() {
  std::scoped_lock lock(state_->mutex);
  boost::system::error_code ignored;
  if (state_->descriptor.is_open()) state_->descriptor.close(ignored);
}

}  // namespace runtime
