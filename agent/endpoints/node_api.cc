#include "agent/endpoints/node_api.h"

#include <fmt/format.h>

#include "agent/streams/port_forward.h"
#include "agent/streams/remote_command.h"
#include "base/bytes.h"
#include "base/json.h"

namespace agent {

namespace http = base::http;

Task<> answer(http::Response& response, int status, std::string body, std::string type) {
  response.status = status;
  response.headers.set("Content-Type", type);
  auto r = co_await response.send(body);
  (void)r;
}

Task<> NodeApi::serve(http::Request& request, http::Response& response) {
  Path path;
  std::string_view rest = request.path;
  while (!rest.empty()) {
    rest.remove_prefix(1);
    size_t slash = std::min(rest.find('/'), rest.size());
    path.push_back(base::percent_decode(rest.substr(0, slash)));
    rest.remove_prefix(slash);
  }
  const std::string first = path.empty() ? "" : path[0];
  bool get = request.method == "GET" || request.method == "HEAD", post = request.method == "POST";
  if (first == "containerLogs" && path.size() == 4 && get) {
    co_await logs(request, response, std::move(path));
  } else if (first == "exec" && (path.size() == 4 || path.size() == 5) && (get || post)) {
    co_await exec(request, response, std::move(path));
  } else if (first == "attach" && (path.size() == 4 || path.size() == 5) && (get || post)) {
    co_await attach(request, response, std::move(path));
  } else if (first == "portForward" && (path.size() == 3 || path.size() == 4) && (get || post)) {
    co_await port_forward(request, response, std::move(path));
  } else if (first == "podProxy" && path.size() >= 2) {
    co_await proxy(request, response, std::move(path));
  } else if (first == "pods" && get) {
    co_await pod_list(response);
  } else if (first == "stats" && path.size() == 2 && path[1] == "summary") {
    co_await stats_summary(response);
  } else if (first == "metrics" && path.size() == 2 && path[1] == "resource" && get) {
    co_await metrics_resource(response);
  } else if (first == "metrics" && path.size() == 2 && path[1] == "cadvisor" && get) {
    co_await metrics_cadvisor(response);
  } else if (first == "metrics" && get) {
    co_await answer(response, 200, fmt::format("# TYPE kubelet_running_pods gauge\nkubelet_running_pods {}\n", context_.pods.all().size()),
                    "text/plain; version=0.0.4");
  } else if (first == "healthz" && get) {
    co_await answer(response, 200, "ok");
  } else if (first == "configz" && get) {
    co_await answer(response, 200,
                    "{\"kubeletconfig\":{\"kind\":\"KubeletConfiguration\",\"apiVersion\":\"kubelet.config.k8s.io/v1beta1\"}}",
                    "application/json");
  } else {
    co_await answer(response, 404, "404 page not found\n");
  }
}

namespace {

struct Target {
  PodView pod;
  ContainerView container;
};

// The container that is asked for; an error with a text for kubectl otherwise.
Result<Target> find_container(PodManager& pods, const std::vector<std::string>& path, bool must_run) {
  auto pod = pods.find(path[1], path[2]);
  if (!pod) return base::fail(404, "NotFound", fmt::format("pod \"{}\" not found on this node", path[2]));
  const std::string& name = path.back();
  for (const auto& c : pod->containers) {
    if (c.name != name) continue;
    if (must_run && (!c.running || !pod->sandbox))
      return base::fail(404, "NotFound", fmt::format("container {} is not running in pod {}", name, path[2]));
    ContainerView found = c;
    return Target{std::move(*pod), std::move(found)};
  }
  return base::fail(404, "NotFound", fmt::format("container {} is not valid for pod {}", name, path[2]));
}

RemoteCommandOptions options_of(const http::Query& q) {
  RemoteCommandOptions o;
  o.in = q.flag("stdin") || q.flag("input");
  o.out = q.flag("stdout") || q.flag("output");
  o.err = q.flag("stderr") || q.flag("error");
  o.tty = q.flag("tty");
  return o;
}

// The three directions between a client and a process (or an attached container).
struct Streams {
  runtime::FdStreamPtr in, out, err;
  std::function<Task<>(TerminalSize)> resize;
  bool close_in = true;  // at the end of the client's input
  bool end_with_in = false;  // the end of the client's input is the end of everything
};

Task<> copy_in(RemoteCommand* client, runtime::FdStreamPtr to, bool close_at_end, std::function<void()> at_end) {
  std::vector<char> buffer(32 * 1024);
  for (;;) {
    size_t n = co_await client->read_stdin(buffer);
    if (n == 0) break;
    auto w = co_await to->write(std::string(buffer.data(), n));
    if (!w) break;
  }
  if (close_at_end) to->close();
  if (at_end) at_end();
}

Task<> copy_out(RemoteCommand* client, runtime::FdStreamPtr from, bool err, std::shared_ptr<int> open, std::shared_ptr<base::Event> ended) {
  struct End {
    std::shared_ptr<int> open;
    std::shared_ptr<base::Event> ended;
    ~End() {
      --*open;
      ended->notify();
    }
  } at_end{open, ended};
  for (;;) {
    auto chunk = co_await from->read(32 * 1024);
    if (!chunk || chunk->empty()) break;
    auto w = err ? co_await client->write_stderr(*chunk) : co_await client->write_stdout(*chunk);
    if (!w) break;
  }
}

Task<> copy_sizes(RemoteCommand* client, std::function<Task<>(TerminalSize)> resize) {
  for (;;) {
    auto size = co_await client->next_size();
    if (!size) break;
    co_await resize(*size);
  }
}

// Runs until both outputs have ended.
Task<> connect(base::Runtime& runtime, RemoteCommand& client, Streams streams) {
  RemoteCommand* c = &client;
  co_await with_children(runtime, [c, streams](base::Tasks& children) -> Task<> {
    auto strand = co_await base::this_executor();
    auto open = std::make_shared<int>(0);
    auto ended = std::make_shared<base::Event>();
    std::function<void()> leave;
    if (streams.end_with_in)
      leave = [open, ended] {
        *open = 0;
        ended->notify();
      };
    if (streams.in) children.spawn("stdin", strand, copy_in(c, streams.in, streams.close_in, std::move(leave)));
    if (streams.resize) children.spawn("terminal sizes", strand, copy_sizes(c, streams.resize));
    if (streams.out) {
      ++*open;
      children.spawn("stdout", strand, copy_out(c, streams.out, false, open, ended));
    }
    if (streams.err) {
      ++*open;
      children.spawn("stderr", strand, copy_out(c, streams.err, true, open, ended));
    }
    for (;;) {
      uint64_t seen = ended->version();
      if (*open <= 0) co_return;
      co_await ended->wait(seen);
    }
  });
}

}  // namespace

Task<> NodeApi::exec(http::Request& request, http::Response& response, Path path) {
  auto target = find_container(context_.pods, path, true);
  if (!target) {
    co_await answer(response, target.error().code, target.error().message);
    co_return;
  }
  runtime::ExecSpec spec;
  for (auto word : request.query.all("command")) spec.argv.emplace_back(word);
  if (spec.argv.empty()) {
    co_await answer(response, 400, "you must specify a command");
    co_return;
  }
  RemoteCommandOptions options = options_of(request.query);
  spec.tty = options.tty;
  spec.stdin_open = options.in;
  if (options.tty) spec.add_env.push_back("TERM=xterm");
  base::Runtime* runtime = &context_.runtime;
  co_await serve_remote_command(
      context_.runtime, request, response, options,
      [runtime, spec, options, sandbox = target->pod.sandbox, id = target->container.id](RemoteCommand& client) -> Task<CommandOutcome> {
        auto session = co_await sandbox->exec(id, spec);
        if (!session) {
          // What the shell would say of a command that is not there.
          const std::string& m = session.error().message;
          bool missing = session.error().code == 422;
          CommandOutcome failed;
          failed.exit_code = missing ? (m.find("not found") != std::string::npos || m.find("no such file") != std::string::npos ? 127 : 126)
                                     : 1;
          failed.error = missing ? "" : "error executing command in container: " + m;
          if (missing) {
            auto told = options.err ? co_await client.write_stderr(m + "\n")
                                    : co_await client.write_stdout(m + (options.tty ? "\r\n" : "\n"));
            (void)told;
          }
          co_return failed;
        }
        runtime::ExecSessionPtr s = *session;
        Streams streams;
        if (options.in) streams.in = s->in();
        streams.out = s->out();
        streams.err = s->err();
        // A terminal is its own end of input; closing it would hang up the output, too.
        streams.close_in = !options.tty;
        if (options.tty) {
          streams.resize = [s](TerminalSize size) -> Task<> {
            auto r = s->resize(size.width, size.height);
            (void)r;
            co_return;
          };
        }
        struct KillWhenCancelled {
          runtime::ExecSessionPtr s;
          base::Runtime* runtime;
          bool done = false;
          ~KillWhenCancelled() {
            if (!done && s->in()) s->in()->close();
          }
        } guard{s, runtime};
        co_await connect(*runtime, client, std::move(streams));
        auto code = co_await s->wait();
        guard.done = true;
        if (!code) co_return CommandOutcome{1, code.error().message};
        co_return CommandOutcome{*code, {}};
      });
}

Task<> NodeApi::attach(http::Request& request, http::Response& response, Path path) {
  auto target = find_container(context_.pods, path, true);
  if (!target) {
    co_await answer(response, target.error().code, target.error().message);
    co_return;
  }
  RemoteCommandOptions options = options_of(request.query);
  options.tty = target->container.tty;
  base::Runtime* runtime = &context_.runtime;
  co_await serve_remote_command(context_.runtime, request, response, options,
                                [runtime, options, sandbox = target->pod.sandbox, once = target->container.in_once,
                                 id = target->container.id](RemoteCommand& client) -> Task<CommandOutcome> {
                                  auto session = co_await sandbox->attach(id, options.in);
                                  if (!session) co_return CommandOutcome{1, session.error().message};
                                  runtime::AttachSessionPtr s = *session;
                                  Streams streams;
                                  if (options.in) streams.in = s->in();
                                  if (options.out) streams.out = s->out();
                                  if (options.err) streams.err = s->err();
                                  streams.close_in = !options.tty;
                                  // The container's input stays open for the next client: this one has nothing more to say.
                                  streams.end_with_in = options.in && (!once || options.tty);
                                  if (options.tty) {
                                    streams.resize = [s](TerminalSize size) -> Task<> {
                                      auto r = co_await s->resize(size.width, size.height);
                                      (void)r;
                                    };
                                  }
                                  co_await connect(*runtime, client, std::move(streams));
                                  co_return CommandOutcome{};
                                });
}

Task<> NodeApi::port_forward(http::Request& request, http::Response& response, Path path) {
  auto pod = context_.pods.find(path[1], path[2]);
  if (!pod || !pod->sandbox) {
    co_await answer(response, 404, fmt::format("pod \"{}\" does not run on this node", path[2]));
    co_return;
  }
  co_await serve_port_forward(context_.runtime, request, response,
                              [sandbox = pod->sandbox](uint16_t port) { return dial_in_pod(sandbox, port); });
}

Task<> NodeApi::pod_list(http::Response& response) {
  base::json::array items;
  for (const auto& view : context_.pods.all()) {
    api::core::Pod pod = *view.pod;
    pod.status = view.status;
    items.push_back(api::encode_json(pod));
  }
  base::json::object list{{"kind", "PodList"}, {"apiVersion", "v1"}, {"metadata", base::json::object()}, {"items", std::move(items)}};
  co_await answer(response, 200, base::to_text(list), "application/json");
}

}  // namespace agent
