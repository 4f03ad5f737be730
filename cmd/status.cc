// `appliance status`: what runs on this host, from the files below the run and data directories; needs no API.
#include <signal.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>

#include <fmt/format.h>

#include "base/files.h"
#include "cmd/commands.h"
#include "cmd/options.h"

namespace cmd {

int status(const Arguments& arguments) {
  auto parsed = parse_options(kLocal, arguments);
  if (!parsed) return complain("status", parsed.error().message);
  const Options& o = parsed->options;
  if (parsed->help) {
    fmt::print("{}", help_text("status", kLocal));
    return 0;
  }
  bool is_server = base::exists(o.data_dir + "/server/state.db");
  bool is_agent = base::exists(o.data_dir + "/agent");
  auto pid_text = base::read_file(o.run_dir + "/appliance.pid", 64);
  long pid = pid_text ? std::strtol(pid_text->c_str(), nullptr, 10) : 0;
  bool alive = pid > 1 && ::kill(static_cast<pid_t>(pid), 0) == 0;
  fmt::print("role       {}\n", is_server ? "server" : is_agent ? "agent" : "none: nothing is installed below " + o.data_dir);
  fmt::print("process    {}\n", alive ? fmt::format("running, pid {}", pid) : "not running");
  struct stat s{};
  if (is_server && ::stat((o.data_dir + "/server/state.db").c_str(), &s) == 0) fmt::print("datastore  {} KiB\n", s.st_size / 1024);
  size_t pods = 0;
  std::error_code ec;
  for (auto& e : std::filesystem::directory_iterator(o.run_dir + "/pods", ec)) pods += e.is_directory();
  fmt::print("pods       {} on this node\n", pods);
  return alive ? 0 : 3;
}

}  // namespace cmd
