#include "agent/pods/probe.h"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

#include "agent/pods/grpc_health.h"
#include "agent/streams/scope.h"
#include "base/http/client.h"

namespace agent {

namespace http = base::http;
using namespace std::chrono_literals;

std::string_view probe_name(ProbeKind kind) {
  switch (kind) {
    case ProbeKind::startup: return "Startup";
    case ProbeKind::liveness: return "Liveness";
    default: return "Readiness";
  }
}

ProbeTimes probe_times(const api::core::Probe& p) {
  ProbeTimes t;
  t.initial_delay = std::chrono::seconds(p.initialDelaySeconds.value_or(0));
  t.timeout = std::chrono::seconds(std::max(1, p.timeoutSeconds.value_or(1)));
  t.period = std::chrono::seconds(p.periodSeconds.value_or(0) > 0 ? *p.periodSeconds : 10);
  t.success_threshold = p.successThreshold.value_or(0) > 0 ? *p.successThreshold : 1;
  t.failure_threshold = p.failureThreshold.value_or(0) > 0 ? *p.failureThreshold : 3;
  return t;
}

Verdict ProbeState::note(Verdict result) {
  if (result == Verdict::unknown) return verdict_;
  run_ = result == last_ ? run_ + 1 : 1;
  last_ = result;
  if (run_ >= (result == Verdict::success ? times_.success_threshold : times_.failure_threshold)) verdict_ = result;
  return verdict_;
}

uint16_t resolve_port(const api::IntOrString& port, const api::core::Container& container) {
  if (!port.is_string) return port.number > 0 && port.number < 65536 ? static_cast<uint16_t>(port.number) : 0;
  for (const auto& p : container.ports) {
    if (p.name == port.text) return static_cast<uint16_t>(p.containerPort);
  }
  unsigned n = 0;
  auto [end, ec] = std::from_chars(port.text.data(), port.text.data() + port.text.size(), n);
  return ec == std::errc() && *end == 0 && n < 65536 ? static_cast<uint16_t>(n) : 0;
}

namespace {

constexpr size_t kMaxOutput = 10 * 1024;

struct Collected {
  std::string output;
  std::optional<Result<int>> exit;
};

Task<> read_all(runtime::FdStreamPtr from, std::shared_ptr<Collected> into) {
  for (;;) {
    auto chunk = co_await from->read(4096);
    if (!chunk || chunk->empty()) co_return;
    if (into->output.size() < kMaxOutput) into->output.append(*chunk, 0, kMaxOutput - into->output.size());
  }
}

// Both streams side by side: a process that fills one must not wait for the other. What its children still hold open is not waited for.
Task<Result<>> collect(base::Runtime* runtime, runtime::ExecSessionPtr session, std::shared_ptr<Collected> into) {
  co_await with_children(*runtime, [session, into](base::Tasks& children) -> Task<> {
    auto strand = co_await base::this_executor();
    for (auto stream : {session->out(), session->err()}) {
      if (stream) children.spawn("output of a command", strand, read_all(stream, into));
    }
    auto code = co_await session->wait();
    into->exit = std::move(code);
    auto until = base::Clock::now() + 200ms;
    while (children.running() > 0 && base::Clock::now() < until) co_await base::sleep_for(1ms);
  });
  co_return Result<>{};
}

Task<Result<>> connect_once(std::string host, uint16_t port, base::Duration timeout) {
  auto stream = co_await http::connect_tcp(std::move(host), port, timeout);
  if (!stream) co_return std::unexpected(std::move(stream).error());
  (*stream)->close();
  co_return Result<>{};
}

http::TlsContextPtr unverified() {
  static const http::TlsContextPtr context = [] {
    http::TlsClientOptions o;
    o.verify = false;
    auto made = http::make_client_context(o);
    return made ? *made : nullptr;
  }();
  return context;
}

Task<Result<>> get_once(api::core::HTTPGetAction action, std::string host, uint16_t port, base::Duration timeout,
                        std::shared_ptr<std::pair<int, std::string>> into) {
  auto stream = co_await http::connect_tcp(host, port, timeout);
  if (!stream) co_return std::unexpected(std::move(stream).error());
  auto connection = std::move(*stream);
  bool tls = action.scheme == "HTTPS" || action.scheme == "https";
  if (tls) {
    auto secured = co_await http::tls_connect(std::move(connection), unverified(), host, timeout);
    if (!secured) co_return std::unexpected(std::move(secured).error());
    connection = std::move(*secured);
  }
  http::ClientRequest request;
  std::string authority = host.find(':') == std::string::npos ? host : "[" + host + "]";
  std::string path = action.path.empty() ? "/" : action.path[0] == '/' ? action.path : "/" + action.path;
  request.url = fmt::format("{}://{}:{}{}", tls ? "https" : "http", authority, port, path);
  request.timeout = timeout;
  request.headers.set("User-Agent", "kube-probe/1.36");
  request.headers.set("Accept", "*/*");
  request.headers.set("Connection", "close");
  for (const auto& h : action.httpHeaders) request.headers.set(h.name, h.value);
  auto response = co_await http::send_on(std::move(connection), std::move(request));
  if (!response) co_return std::unexpected(std::move(response).error());
  into->first = (*response)->status;
  char buffer[2048];
  while (into->second.size() < kMaxOutput) {
    auto n = co_await (*response)->read(buffer);
    if (!n || *n == 0) break;
    into->second.append(buffer, *n);
  }
  co_return Result<>{};
}

}  // namespace

Task<Result<ExecOutput>> run_in_container(base::Runtime& runtime, runtime::SandboxPtr sandbox, std::string container_id,
                                          std::vector<std::string> command, base::Duration timeout) {
  runtime::ExecSpec spec;
  spec.argv = std::move(command);
  auto session = co_await sandbox->exec(std::move(container_id), std::move(spec));
  if (!session) co_return std::unexpected(std::move(session).error());
  auto collected = std::make_shared<Collected>();
  auto done = co_await base::with_timeout(timeout, collect(&runtime, *session, collected));
  if (!done) {
    auto killed = co_await (*session)->kill(9);
    (void)killed;
    co_return std::unexpected(std::move(done).error());
  }
  if (!collected->exit) co_return base::internal("the command's end was not seen");
  if (!*collected->exit) co_return std::unexpected(collected->exit->error());
  co_return ExecOutput{**collected->exit, std::move(collected->output)};
}

Task<Result<int>> http_get(api::core::HTTPGetAction action, std::string pod_ip, uint16_t port, base::Duration timeout, std::string* body) {
  auto got = std::make_shared<std::pair<int, std::string>>();
  std::string host = action.host.empty() ? pod_ip : action.host;
  auto r = co_await base::with_timeout(timeout, get_once(std::move(action), std::move(host), port, timeout, got));
  if (!r) co_return std::unexpected(std::move(r).error());
  if (body) *body = std::move(got->second);
  co_return got->first;
}

Task<ProbeResult> run_probe(api::core::Probe probe, ProbeTarget target) {
  ProbeTimes times = probe_times(probe);
  if (probe.exec) {
    auto r = co_await run_in_container(*target.runtime, target.sandbox, target.container_id, probe.exec->command, times.timeout);
    if (!r) {
      if (r.error().code == 504) {
        co_return ProbeResult{Verdict::failure,
                              fmt::format("command timed out: \"{}\" timed out after {}s", fmt::join(probe.exec->command, " "),
                                          std::chrono::duration_cast<std::chrono::seconds>(times.timeout).count())};
      }
      // A command that cannot be started fails the probe; losing the sandbox says nothing about the container.
      Verdict v = r.error().code == 503 || r.error().code == 404 || r.error().code == 409 ? Verdict::unknown : Verdict::failure;
      co_return ProbeResult{v, r.error().message};
    }
    co_return ProbeResult{r->exit_code == 0 ? Verdict::success : Verdict::failure, r->output};
  }
  if (probe.httpGet) {
    uint16_t port = resolve_port(probe.httpGet->port, *target.container);
    if (port == 0) co_return ProbeResult{Verdict::unknown, fmt::format("couldn't find port {}", probe.httpGet->port.to_string())};
    auto status = co_await http_get(*probe.httpGet, target.pod_ip, port, times.timeout, nullptr);
    if (!status) {
      co_return ProbeResult{Verdict::failure, fmt::format("Get \"{}://{}:{}{}\": {}", probe.httpGet->scheme == "HTTPS" ? "https" : "http",
                                                          probe.httpGet->host.empty() ? target.pod_ip : probe.httpGet->host, port,
                                                          probe.httpGet->path, status.error().message)};
    }
    if (*status >= 200 && *status < 400) co_return ProbeResult{Verdict::success, {}};
    co_return ProbeResult{Verdict::failure, fmt::format("HTTP probe failed with statuscode: {}", *status)};
  }
  if (probe.tcpSocket) {
    uint16_t port = resolve_port(probe.tcpSocket->port, *target.container);
    if (port == 0) co_return ProbeResult{Verdict::unknown, fmt::format("couldn't find port {}", probe.tcpSocket->port.to_string())};
    auto r = co_await connect_once(probe.tcpSocket->host.empty() ? target.pod_ip : probe.tcpSocket->host, port, times.timeout);
    if (!r) co_return ProbeResult{Verdict::failure, fmt::format("dial tcp {}:{}: {}", target.pod_ip, port, r.error().message)};
    co_return ProbeResult{Verdict::success, {}};
  }
  if (probe.grpc) {
    auto r = co_await grpc_health_check(target.pod_ip, static_cast<uint16_t>(probe.grpc->port), probe.grpc->service, times.timeout);
    if (!r) co_return ProbeResult{Verdict::failure, r.error().message};
    co_return ProbeResult{Verdict::success, {}};
  }
  co_return ProbeResult{Verdict::unknown, "the probe has no action"};
}

Task<Result<>> run_hook(api::core::LifecycleHandler hook, ProbeTarget target, base::Duration timeout) {
  if (hook.exec) {
    auto r = co_await run_in_container(*target.runtime, target.sandbox, target.container_id, hook.exec->command, timeout);
    if (!r) co_return std::unexpected(std::move(r).error());
    if (r->exit_code != 0) {
      co_return base::fail(500, "HookFailed",
                           fmt::format("command '{}' exited with {}: {}", fmt::join(hook.exec->command, " "), r->exit_code, r->output));
    }
    co_return Result<>{};
  }
  if (hook.httpGet) {
    uint16_t port = resolve_port(hook.httpGet->port, *target.container);
    if (!hook.httpGet->port.has_value()) port = 80;
    if (port == 0) co_return base::bad_request(fmt::format("couldn't find port {}", hook.httpGet->port.to_string()));
    auto status = co_await http_get(*hook.httpGet, target.pod_ip, port, timeout, nullptr);
    if (!status) co_return std::unexpected(std::move(status).error());
    if (*status >= 400) co_return base::fail(500, "HookFailed", fmt::format("HTTP hook failed with statuscode: {}", *status));
    co_return Result<>{};
  }
  if (hook.tcpSocket) {
    uint16_t port = resolve_port(hook.tcpSocket->port, *target.container);
    co_return co_await connect_once(hook.tcpSocket->host.empty() ? target.pod_ip : hook.tcpSocket->host, port, timeout);
  }
  if (hook.sleep) co_await base::sleep_for(std::min<base::Duration>(timeout, std::chrono::seconds(hook.sleep->seconds)));
  co_return Result<>{};
}

}  // namespace agent
