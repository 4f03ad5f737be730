// `appliance completion`: a bash script made from the same tables as the help.
#include <fmt/format.h>

#include "cmd/commands.h"
#include "cmd/options.h"

namespace cmd {

int completion(const Arguments& arguments) {
  if (!arguments.empty() && arguments[0] != "bash") return complain("completion", "only bash is supported: appliance completion bash");
  std::string names;
  for (const Command& c : commands()) names += std::string(names.empty() ? "" : " ") + std::string(c.name);
  fmt::print(
      "_appliance() {{\n  local word=${{COMP_WORDS[COMP_CWORD]}}\n  if [ \"$COMP_CWORD\" = 1 ]; then\n    COMPREPLY=($(compgen -W \"{}\" "
      "-- \"$word\"))\n    return\n  fi\n  case ${{COMP_WORDS[1]}} in\n",
      names);
  for (auto [command, scope] : {std::pair{"server", kServer}, std::pair{"agent", kAgent}, std::pair{"uninstall", kUninstall},
                                std::pair{"status", kLocal}, std::pair{"token", kToken}}) {
    std::string list;
    for (const Flag& f : flags()) {
      if (f.scopes & scope) list += " --" + std::string(f.name);
    }
    fmt::print("    {}) COMPREPLY=($(compgen -W \"{}\" -- \"$word\")) ;;\n", command, list);
  }
  fmt::print("  esac\n}}\ncomplete -o default -F _appliance appliance\n");
  return 0;
}

}  // namespace cmd
