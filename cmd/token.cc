// `appliance token`: the secret another host joins with.
#include <fmt/format.h>

#include "base/files.h"
#include "cmd/commands.h"
#include "cmd/options.h"

namespace cmd {

int token(const Arguments& arguments) {
  auto parsed = parse_options(kLocal, arguments);
  if (!parsed) return complain("token", parsed.error().message);
  if (parsed->help) {
    fmt::print("Prints the token with which agents join this server.\n\n{}", help_text("token", kLocal));
    return 0;
  }
  std::string path = parsed->options.data_dir + "/server/agent-token";
  auto text = base::read_file(path, 4096);
  if (!text) return complain("token", text.error().message + "; is this the server, and are you root?");
  fmt::print("{}", *text);
  if (text->empty() || text->back() != '\n') fmt::print("\n");
  return 0;
}

}  // namespace cmd
