// Large request bodies: sent while the answer is awaited, by a coroutine beside the exchange.
#include <fmt/format.h>

#include "ingress/front_state.h"

namespace ingress {

// Runs beside the exchange: from the client to the backend until the body's end.
Task<> Front::send_body(std::shared_ptr<Front> self, std::shared_ptr<Upload> upload) {
  struct Ended {
    Upload& u;
    ~Ended() {
      u.ended = true;
      u.changed.notify();
    }
  } ended{*upload};
  Front& f = *self;
  Stream& to = *upload->to;
  if (f.expect_ && f.in_.empty() && !f.answered_) {
    std::string_view go_on[] = {"HTTP/1.1 100 Continue\r\n\r\n"};
    auto told = co_await f.client_->write(go_on);
    if (!told) co_return;
  }
  f.expect_ = false;
  std::string piece(32 * 1024, '\0');
  while (!f.request_body_.done()) {
    f.client_->set_read_deadline(Clock::now() + f.proxy_.times().body);
    auto n = co_await f.request_body_.read(*f.client_, f.in_, piece);
    if (!n) {
      to.close();  // a body cut short must not look whole
      co_return;
    }
    std::string_view data(piece.data(), *n);
    to.set_write_deadline(Clock::now() + f.proxy_.times().answer);
    if (f.chunked_) {
      char size[24];
      std::string_view line(size, static_cast<size_t>(fmt::format_to(size, "{:x}\r\n", data.size()) - size));
      std::string_view parts[] = {line, data, "\r\n"};
      if (data.empty()) break;  // the end, which follows
      auto sent = co_await to.write(std::span<const std::string_view>(parts));
      if (!sent) co_return;
    } else if (!data.empty()) {
      auto sent = co_await to.write(data);
      if (!sent) co_return;
    }
  }
  if (f.chunked_) {
    auto sent = co_await to.write("0\r\n\r\n");
    if (!sent) co_return;
  }
  upload->complete = true;
}

// The answer is complete; a body that is still on its way is given up, and the connection with it.
Task<> Front::end_upload(std::shared_ptr<Upload> upload) {
  if (!upload->complete) {
    keep_alive_ = false;
    upload->to->close();
    if (!upload->ended) client_->set_read_deadline(Clock::now());
  }
  while (!upload->ended) {
    uint64_t seen = upload->changed.version();
    if (upload->ended) break;
    co_await upload->changed.wait(seen);
  }
}

}  // namespace ingress
