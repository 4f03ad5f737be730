// The agent's end of the tunnel (docs/design/tunnel.md): one control connection to the server, and a new connection for each stream it asks for.
#pragma once

#include <functional>
#include <string>

#include "agent/streams/scope.h"
#include "base/channel.h"
#include "base/http/server.h"
#include "base/http/tls.h"
#include "base/io.h"

namespace agent {

struct TunnelOptions {
  std::string server_url;                               // https://host:6443
  std::function<base::http::TlsContextPtr()> tls;
  base::http::Handler handler;                          // the node API
};

class Tunnel {
 public:
  Tunnel(base::Runtime& runtime, TunnelOptions options);
  // Connects, and connects again when the connection is lost, until cancelled.
  base::Task<> run();
  base::Task<> stop();

 private:
  base::Task<base::Result<>> control();
  base::Task<base::Result<>> read_control(std::shared_ptr<base::http::Stream> stream, std::shared_ptr<Turn> writing);
  base::Task<> serve_stream(std::string id);
  base::Task<> report_failures(std::shared_ptr<base::http::Stream> stream, std::shared_ptr<Turn> writing);
  base::Task<base::Result<std::unique_ptr<base::http::Stream>>> connect(std::string path, std::string protocol);

  const TunnelOptions options_;
  base::Tasks tasks_;
  base::Channel<std::string> failures_{64};  // lines for the server; further ones are dropped
};

}  // namespace agent
