// `appliance secrets`: the keys Secrets are encrypted with in the datastore. The server does the work; it must run.
#include <fmt/format.h>

#include "base/http/client.h"
#include "base/json.h"
#include "cmd/api_access.h"
#include "cmd/commands.h"
#include "cmd/options.h"

namespace cmd {
namespace {

using base::Result;
using base::Task;

Task<Result<base::json::value>> ask(std::string kubeconfig, std::string action) {
  CO_TRY(ApiAccess access, read_kubeconfig(kubeconfig));
  base::http::ClientOptions options;
  CO_TRY(options.tls, base::http::make_client_context(access.tls));
  base::http::Client client(std::move(options));
  base::http::ClientRequest request;
  request.url = access.server + "/v1-appliance/encryption";
  if (!action.empty()) {
    request.method = "POST";
    request.url += "?action=" + action;
  }
  request.timeout = std::chrono::minutes(10);
  CO_TRY(auto response, co_await client.send(std::move(request)));
  CO_TRY(std::string body, co_await response->body());
  CO_TRY(base::json::value answer, base::parse_json(body));
  if (response->status != 200)
    co_return base::fail(response->status, "", std::string(base::get_string(answer, "message", "the server refused")));
  co_return answer;
}

void print(const base::json::value& state) {
  const auto* keys = base::find_array(state, "keys");
  fmt::print("encryption  {}\n", base::get_bool(state, "enabled") ? "on, AES-256-GCM" : "off");
  if (std::string_view file = base::get_string(state, "file"); !file.empty()) fmt::print("key file    {}\n", file);
  if (int64_t plain = base::get_int(state, "plain"); plain > 0)
    fmt::print("clear text  {} versions; `appliance secrets reencrypt` encrypts them\n", plain);
  if (!keys || keys->empty()) return;
  fmt::print("\n{:<18}{:<24}{}\n", "KEY", "MADE", "VERSIONS");
  for (const auto& k : *keys)
    fmt::print("{:<18}{:<24}{}\n", base::get_string(k, "id"), base::get_string(k, "made"), base::get_int(k, "rows"));
}

}  // namespace

int secrets(const Arguments& arguments) {
  constexpr std::string_view actions[] = {"status", "rotate-key", "reencrypt"};
  constexpr std::string_view usage =
      "Usage: appliance secrets status|rotate-key|reencrypt [flags]\n\n"
      "  status      the keys, and how many versions of Secrets each has encrypted\n"
      "  rotate-key  makes a new key, encrypts everything with it and forgets the old ones\n"
      "  reencrypt   encrypts with the newest key what is not: after encryption was off, or a rotation that was cut short\n\n";
  std::string action = arguments.empty() ? "--help" : arguments[0];
  auto parsed = parse_options(kLocal, Arguments(arguments.begin() + (arguments.empty() ? 0 : 1), arguments.end()));
  if (!parsed) return complain("secrets", parsed.error().message);
  if (action == "--help" || action == "-h" || parsed->help) {
    fmt::print("{}{}", usage, help_text("secrets", kLocal));
    return 0;
  }
  bool known = false;
  for (std::string_view a : actions) known = known || a == action;
  if (!known) return complain("secrets", fmt::format("\"{}\" is not one of status, rotate-key, reencrypt", action));
  base::Runtime runtime(1);
  Result<base::json::value> state = base::unavailable("");
  base::run_to_end(runtime, [](std::string path, std::string what, Result<base::json::value>& out) -> Task<> {
    out = co_await ask(std::move(path), std::move(what));
  }(parsed->options.write_kubeconfig, action == "status" ? "" : action, state));
  if (!state) return complain("secrets", state.error().message + "; is this the server, does it run, and are you root?");
  print(*state);
  return 0;
}

}  // namespace cmd
