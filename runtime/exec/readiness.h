// Waits until a descriptor can be read or written. Safe from any thread; one waiter per direction.
#pragma once

#include <memory>

#include "base/fd.h"
#include "base/io.h"

namespace runtime {

class Readiness {
 public:
  // Takes the descriptor and makes it non-blocking.
  Readiness(base::Runtime& runtime, base::Fd fd);
  ~Readiness();
  // -1 once closed. Valid while the caller knows that nobody closes.
  int fd() const;
  // Calls f with the descriptor unless it is closed, which it then cannot be meanwhile.
  template <class F>
  auto with(F f) const {
    Hold hold(*this);
    return f(fd());
  }
  // False when it has been closed.
  base::Task<bool> readable();
  base::Task<bool> writable();
  // Wakes all who wait.
  void close();

 private:
  struct State;
  class Hold {
   public:
    explicit Hold(const Readiness& r);
    ~Hold();

   private:
    const Readiness& r_;
  };
  static base::Task<bool> wait(std::shared_ptr<State> state, bool write);
  std::shared_ptr<State> state_;
};

}  // namespace runtime
