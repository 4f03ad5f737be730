// exec and attach on the wire (sub-protocols of k8s.io/apimachinery's remotecommand): standard streams, terminal sizes and the final Status,
// over WebSocket channels (v5, v4, their base64 forms, and the unversioned first one) or SPDY/3.1 streams (v4 down to v1).
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "agent/streams/scope.h"
#include "base/http/server.h"

namespace agent {

struct RemoteCommandOptions {
  bool in = false, out = false, err = false, tty = false;
};

struct TerminalSize {
  uint16_t width = 0, height = 0;
};
// {"Width":80,"Height":24}, as clients send it on the resize channel.
std::optional<TerminalSize> parse_terminal_size(std::string_view json);

// What happened to the command, as the error channel reports it.
struct CommandOutcome {
  int exit_code = 0;
  std::string error;  // non-empty: it could not be run, or we lost it
};
// metav1.Status: Success, or Failure with reason NonZeroExitCode and the code as a cause.
std::string outcome_status(const CommandOutcome& outcome);

// The client's side of one exec or attach. Strand-bound.
class RemoteCommand {
 public:
  virtual ~RemoteCommand() = default;
  // Bytes for standard input; 0 at its end (also when the client has gone).
  virtual Task<size_t> read_stdin(std::span<char> into) = 0;
  virtual Task<Result<>> write_stdout(std::string_view bytes) = 0;
  virtual Task<Result<>> write_stderr(std::string_view bytes) = 0;
  // The next size of the client's terminal; empty when none will come.
  virtual Task<std::optional<TerminalSize>> next_size() = 0;
  // Returns when the client has gone away.
  virtual Task<> gone() = 0;
};

using CommandRunner = std::function<Task<CommandOutcome>(RemoteCommand& client)>;

// Negotiates the protocol, runs, reports the outcome, closes. When the client goes away first, the runner is cancelled.
// Sends 400 itself when the request is no upgrade or the options make no sense.
Task<> serve_remote_command(base::Runtime& runtime, base::http::Request& request, base::http::Response& response,
                            RemoteCommandOptions options, CommandRunner runner);

}  // namespace agent
