#include <malloc.h>
#include <signal.h>

#include <cstdio>
#include <string>

#include <fmt/format.h>

#include "cmd/commands.h"
#include "runtime/images/images.h"
#include "runtime/sandbox/supervisor.h"

namespace cmd {

const std::vector<Command>& commands() {
  static const std::vector<Command> all = {
      {"server", "run the control plane, and a node unless --disable-agent", server},
      {"agent", "run a node that joins a server", agent},
      {"token", "print the token with which agents join", token},
      {"secrets", "encryption of Secrets at rest: status, rotate-key, reencrypt", secrets},
      {"status", "show what runs on this host", status},
      {"check", "tell whether this host has what is needed", check},
      {"uninstall", "remove everything from this host", uninstall},
      {"kubectl", "run the kubectl of this host against this cluster", kubectl},
      {"completion", "print a completion script for bash", completion},
      {"version", "print the version", version},
  };
  return all;
}

int complain(std::string_view command, std::string_view text) {
  fmt::print(stderr, "appliance {}: {}\n", command, text);
  return 1;
}

namespace {

int usage(std::FILE* to) {
  fmt::print(to, "appliance: a Kubernetes-compatible cluster in one executable\n\nUsage: appliance COMMAND [flags]\n\n");
  for (const Command& c : commands()) fmt::print(to, "  {:<12} {}\n", c.name, c.help);
  fmt::print(to, "\nappliance COMMAND --help says more.\n");
  return to == stdout ? 0 : 2;
}

}  // namespace
}  // namespace cmd

int main(int argc, char** argv) {
  // A pod's supervisor is this executable again; it must not come near the rest.
  if (argc > 1 && std::string_view(argv[1]) == "pod-supervisor") return runtime::supervisor_main(argc, argv);
  // So is what unpacks an image layer, locked into the directory it fills.
  if (argc > 1 && std::string_view(argv[1]) == "image-unpacker") return runtime::unpacker_main(argc, argv);
  signal(SIGPIPE, SIG_IGN);
  // Few arenas and an early trim: the process is idle most of its life.
  mallopt(M_ARENA_MAX, 2);
  mallopt(M_TRIM_THRESHOLD, 256 * 1024);
  mallopt(M_MMAP_THRESHOLD, 256 * 1024);
  if (argc < 2) return cmd::usage(stderr);
  std::string_view name = argv[1];
  if (name == "--help" || name == "-h" || name == "help") return cmd::usage(stdout);
  if (name == "--version") name = "version";
  for (const cmd::Command& c : cmd::commands()) {
    if (c.name == name) return c.run(cmd::Arguments(argv + 2, argv + argc));
  }
  fmt::print(stderr, "appliance: there is no command \"{}\"\n", name);
  return cmd::usage(stderr);
}
