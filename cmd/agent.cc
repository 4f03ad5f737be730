// `appliance agent`: joins a server and runs a node.
#include <signal.h>
#include <sys/stat.h>

#include <memory>

#include <fmt/format.h>

#include "agent/agent.h"
#include "agent/join.h"
#include "api/remote_client.h"
#include "base/files.h"
#include "base/http/client.h"
#include "base/log.h"
#include "cmd/commands.h"
#include "cmd/host.h"
#include "cmd/node.h"
#include "cmd/options.h"
#include "cmd/pid_file.h"

namespace cmd {
namespace {

using base::Result;
using base::Task;

class AgentProcess {
 public:
  explicit AgentProcess(Options options) : options_(std::move(options)), tasks_(runtime_) {}

  int run() {
    runtime_.on_signal({SIGTERM, SIGINT}, [this](int) { stop_requested_.notify(); });
    Result<> result;
    base::run_to_end(runtime_, main(result));
    return result ? 0 : complain("agent", result.error().message);
  }

 private:
  Task<> main(Result<>& result) {
    uint64_t seen = stop_requested_.version();
    result = co_await start(seen);
    if (result && node_) {
      base::log::info("agent", "node {} is up", options_.node_name);
      co_await stop_requested_.wait(seen);
      base::log::info("agent", "stopping; pods keep running");
    }
    if (node_) co_await node_->stop();
    co_await tasks_.stop();
  }

  // Asks until the server is there; gives up at once when the answer is final (bad token, wrong CA, name taken).
  Task<Result<agent::Membership>> join(uint64_t seen) {
    agent::JoinOptions j{options_.join, options_.token, options_.node_name, options_.data_dir};
    base::Duration delay = std::chrono::milliseconds(250);
    for (;;) {
      auto member = co_await agent::join(j);
      if (member || (member.error().code != 503 && member.error().code != 504)) co_return member;
      base::log::warn("agent", "{}; trying again", member.error().message);
      if (co_await stop_requested_.wait(seen, base::Clock::now() + delay)) co_return member;
      delay = std::min<base::Duration>(delay * 2, std::chrono::seconds(5));
    }
  }

  Task<Result<>> start(uint64_t seen) {
    CO_CHECK_OK(base::make_dirs(options_.data_dir));
    CO_CHECK_OK(base::make_dirs(options_.run_dir));
    CO_TRY(agent::Membership member, co_await join(seen));
    agent::JoinOptions j{options_.join, options_.token, options_.node_name, options_.data_dir};
    CO_TRY(keeper_, agent::IdentityKeeper::make(j, member));
    base::http::ClientOptions h;
    h.tls = keeper_->tls();
    http_ = std::make_shared<base::http::Client>(std::move(h));
    keeper_->on_renewal([http = http_](base::http::TlsContextPtr tls) { http->set_tls(std::move(tls)); });
    tasks_.spawn("identity", [](std::shared_ptr<agent::IdentityKeeper> k) -> Task<> { co_await k->run(); }(keeper_));

    agent::AgentOptions n = node_options(options_);
    n.cluster_cidr = member.cluster_cidr;
    n.service_cidr = member.service_cidr;
    n.cluster_dns = member.cluster_dns;
    n.cluster_domain = member.cluster_domain;
    n.server_url = options_.join;
    n.tunnel_tls = [keeper = keeper_] { return keeper->tls(); };
    node_ = std::make_unique<Node>(runtime_, api::make_remote_client(http_, options_.join), std::move(n), ingress_options(options_, false));
    co_return co_await node_->start();
  }

  Options options_;
  base::Runtime runtime_;
  base::Tasks tasks_;
  base::Event stop_requested_;
  std::shared_ptr<agent::IdentityKeeper> keeper_;
  std::shared_ptr<base::http::Client> http_;
  std::unique_ptr<Node> node_;
};

}  // namespace

int agent(const Arguments& arguments) {
  auto parsed = parse_options(kAgent, arguments);
  if (!parsed) return complain("agent", parsed.error().message);
  if (parsed->help) {
    fmt::print("{}", help_text("agent", kAgent));
    return 0;
  }
  Options& o = parsed->options;
  if (o.debug) base::log::set_level(base::log::Level::debug);
  if (o.join.empty()) return complain("agent", "--join https://HOST:6443 is needed: the address of the server");
  while (o.join.ends_with('/')) o.join.pop_back();
  if (!o.join.starts_with("https://")) return complain("agent", "--join takes a URL such as https://HOST:6443, got \"" + o.join + "\"");
  if (auto r = require_root(); !r) return complain("agent", r.error().message);
  if (auto r = complete(o); !r) return complain("agent", r.error().message);
  umask(0022);  // secret files have explicit modes; directories made for pods must be readable
  auto claimed = PidFile::claim(o.run_dir);
  if (!claimed) return complain("agent", claimed.error().message);
  return AgentProcess(std::move(o)).run();
}

}  // namespace cmd
