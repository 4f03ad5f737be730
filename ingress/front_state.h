// The state of one client's connection, shared by the files that implement it: front.cc (requests and tries), answer.cc (from the backend to the
// client), upload.cc (large bodies on their way to the backend).
#pragma once

#include <memory>
#include <string>

#include "base/http/body.h"
#include "base/http/wire.h"
#include "ingress/path.h"
#include "ingress/proxy.h"

namespace ingress {

using base::Clock;
using base::Result;
using base::Task;
using base::http::Body;
using base::http::Head;
using base::http::Stream;

inline constexpr size_t kHeadLimit = 64 * 1024;
inline constexpr size_t kMaxFields = 200;

// A request body that is sent while the answer is awaited. The backend's stream is shared with the coroutine that sends.
struct Upload {
  std::shared_ptr<Stream> to;
  bool ended = false;
  bool complete = false;
  base::Event changed;
};

class Front final : public base::http::Connection, public std::enable_shared_from_this<Front> {
 public:
  Front(Proxy& proxy, Proxy::Lane& lane, std::unique_ptr<Stream> client, bool tls, uint16_t port)
      : proxy_(proxy), lane_(lane), client_(std::move(client)), peer_(client_->peer_address()), tls_(tls), port_(port) {
    if (auto sni = canonical_host(client_->sni())) sni_ = std::move(*sni);
  }

  Task<> serve() override;
  void finish() override {
    finishing_ = true;
    if (idle_) client_->close();
  }

 private:
  enum class Outcome { done, again, broken };

  static constexpr int kEnded = -1, kNothing = -2;
  Task<int> receive_head(size_t& head_size);
  int take_head(std::string_view text);  // 0: forward it; else the status to answer
  Task<> refuse(int status, std::string_view text);
  Task<> forward();
  Task<bool> collect_body();
  Task<Outcome> attempt(const Endpoint& endpoint, BackendConnection c);
  Task<Result<size_t>> answer_head(BackendConnection& c, Stream& backend, Upload* upload);
  Task<bool> relay(BackendConnection& c, Stream& backend, size_t head_size, bool& reusable);
  Task<bool> relay_length(BackendConnection& c, Stream& backend, uint64_t left);
  Task<bool> relay_chunks(BackendConnection& c, Stream& backend);
  Task<bool> relay_until_close(BackendConnection& c, Stream& backend);
  Task<> tunnel(BackendConnection& c, Stream& backend);
  Task<> end_upload(std::shared_ptr<Upload> upload);
  static Task<> send_body(std::shared_ptr<Front> self, std::shared_ptr<Upload> upload);
  Task<bool> client_is_gone();
  Task<Result<>> to_client(std::span<const std::string_view> parts);
  Task<> linger();

  Proxy& proxy_;
  Proxy::Lane& lane_;
  std::unique_ptr<Stream> client_;
  const std::string peer_;
  const bool tls_;
  const uint16_t port_;
  std::string sni_;
  base::http::ReadBuffer in_;
  bool idle_ = true, finishing_ = false;

  // The request at hand.
  std::string up_head_, body_, down_head_, note_;
  Body request_body_;
  BackendPtr backend_;
  int minor_ = 1;
  bool keep_alive_ = true, repeatable_ = true, upgrade_ = false, head_method_ = false, chunked_ = false, expect_ = false;
  bool answered_ = false;  // some of the answer went to the client
};

}  // namespace ingress
