// `appliance token`: the secrets other hosts join with. Without a verb, the agents' own; `create`, `list` and `delete` are about tokens of limited
// life; `rotate-key` changes the key that signs ServiceAccount tokens.
#include <algorithm>
#include <charconv>
#include <optional>

#include <fmt/format.h>

#include "api/remote_client.h"
#include "api/types/core_v1.h"
#include "base/bytes.h"
#include "base/files.h"
#include "base/io.h"
#include "base/time.h"
#include "cmd/api_access.h"
#include "cmd/commands.h"
#include "cmd/options.h"
#include "server/apiserver/join/limited_token.h"
#include "server/apiserver/join/token.h"
#include "server/apiserver/pki/cluster_pki.h"

namespace cmd {
namespace {

using base::Result;
using base::Task;
namespace core = api::core;

constexpr std::string_view usage =
    "Usage: appliance token [create|list|delete ID...|rotate-key] [flags]\n\n"
    "  (nothing)    prints the token with which agents join this server\n"
    "  create       makes a token of limited life for agents, and prints it\n"
    "  list         the tokens that were made\n"
    "  delete       ends them before their time\n"
    "  rotate-key   signs ServiceAccount tokens with a new key from now on; older tokens stay valid until the\n"
    "               public key that is kept, <data-dir>/server/tls/service-account.*.pub, is removed\n\n";

// "30m", "24h", "7d"; 0: no end.
Result<std::chrono::seconds> parse_life(const std::string& text) {
  int64_t n = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  std::string_view unit(end, static_cast<size_t>(text.data() + text.size() - end));
  int64_t scale = unit == "s" ? 1 : unit == "m" ? 60 : unit == "h" ? 3600 : unit == "d" ? 86400 : unit.empty() && n == 0 ? 1 : 0;
  constexpr int64_t longest = 10 * 365 * int64_t{86400};
  if (error != std::errc() || n < 0 || scale == 0 || n > longest / scale)
    return base::bad_request(fmt::format("--ttl: \"{}\" is not a time such as 30m, 24h or 7d", text));
  return std::chrono::seconds(n * scale);
}

std::string entry(const core::Secret& s, const char* name) {
  auto it = s.data.find(name);
  return it == s.data.end() ? std::string() : it->second;
}

struct Session {
  ApiAccess access;
  std::shared_ptr<api::Client> client;
};

Result<Session> connect(const Options& o) {
  Session out;
  TRY(out.access, read_kubeconfig(o.write_kubeconfig));
  base::http::ClientOptions options;
  TRY(options.tls, base::http::make_client_context(out.access.tls));
  out.client = api::make_remote_client(std::make_shared<base::http::Client>(std::move(options)), out.access.server);
  return out;
}

Task<Result<>> create(Session session, Options o) {
  CO_TRY(std::chrono::seconds life, parse_life(o.ttl));
  std::optional<base::WallTime> end;
  if (life.count() > 0) end = base::WallClock::now() + life;
  std::string token = server::make_limited_token();
  std::string body = base::to_text(server::limited_token_secret(token, end, o.description));
  CO_TRY(base::Bytes made, co_await session.client->create({"", "v1", "secrets"}, {"kube-system", ""}, std::move(body)));
  fmt::print("{}\n", server::full_token(session.access.tls.ca_pem, "agent", token));
  co_return Result<>{};
}

Task<Result<>> list(Session session, Options) {
  api::ListOptions options;
  options.field_selector = fmt::format("type={}", server::join_token_type);
  CO_TRY(auto all, co_await api::list<core::Secret>(*session.client, "kube-system", std::move(options)));
  fmt::print("{:<8} {:<22} {:<22} {}\n", "ID", "CREATED", "EXPIRES", "DESCRIPTION");
  for (const core::Secret& s : all) {
    std::string end = entry(s, "expiration");
    fmt::print("{:<8} {:<22} {:<22} {}\n", entry(s, "token-id"), s.metadata.creationTimestamp, end.empty() ? "never" : end,
               entry(s, "description"));
  }
  co_return Result<>{};
}

Task<Result<>> remove(Session session, std::vector<std::string> ids) {
  for (const std::string& id : ids) {
    // The whole token names it as well as its id.
    std::string name(server::join_token_prefix);
    name += server::secret_in_token(id).substr(0, 6);
    CO_CHECK_OK(co_await api::remove<core::Secret>(*session.client, {"kube-system", name}));
    fmt::print("{} deleted\n", name.substr(server::join_token_prefix.size()));
  }
  co_return Result<>{};
}

int finish(const Result<>& result) { return result ? 0 : complain("token", result.error().message); }

int run(Task<Result<>> task) {
  base::Runtime runtime(1);
  Result<> result;
  base::run_to_end(runtime, [](Task<Result<>> t, Result<>& out) -> Task<> { out = co_await std::move(t); }(std::move(task), result));
  return finish(result);
}

int print_agent_token(const Options& o) {
  auto text = base::read_file(o.data_dir + "/server/agent-token", 4096);
  if (!text) return complain("token", text.error().message + "; is this the server, and are you root?");
  fmt::print("{}{}", *text, text->ends_with('\n') ? "" : "\n");
  return 0;
}

}  // namespace

int token(const Arguments& arguments) {
  std::string verb = !arguments.empty() && !arguments[0].starts_with("-") ? arguments[0] : std::string();
  Arguments flags(arguments.begin() + (verb.empty() ? 0 : 1), arguments.end());
  std::vector<std::string> ids;
  if (verb == "delete")
    while (!flags.empty() && !flags[0].starts_with("-")) {
      ids.push_back(flags[0]);
      flags.erase(flags.begin());
    }
  auto parsed = parse_options(kToken, flags);
  if (!parsed) return complain("token", parsed.error().message);
  const Options& o = parsed->options;
  if (parsed->help) {
    fmt::print("{}{}", usage, help_text("token", kToken));
    return 0;
  }
  if (verb.empty()) return print_agent_token(o);
  if (verb == "rotate-key") {
    auto kept = server::pki::rotate_service_account_key(o.data_dir + "/server/tls");
    if (!kept) return complain("token", kept.error().message);
    fmt::print("a new key signs from now on; the old one's tokens are accepted while {}/server/tls/{} is there\n", o.data_dir, *kept);
    return 0;
  }
  if (verb != "create" && verb != "list" && verb != "delete") return complain("token", fmt::format("there is no \"{}\"; see --help", verb));
  if (verb == "delete" && ids.empty()) return complain("token", "which one? appliance token delete ID...");
  auto session = connect(o);
  if (!session) return complain("token", session.error().message + "; is this the server, and are you root?");
  return run(verb == "create" ? create(*session, o) : verb == "list" ? list(*session, o) : remove(*session, std::move(ids)));
}

}  // namespace cmd
