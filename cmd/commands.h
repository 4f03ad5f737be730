// The subcommands, one file each. All take the arguments after the command's name and return the exit status; errors are one line on standard error.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace cmd {

using Arguments = std::vector<std::string>;

int server(const Arguments& arguments);
int agent(const Arguments& arguments);
int token(const Arguments& arguments);
int secrets(const Arguments& arguments);
int status(const Arguments& arguments);
int check(const Arguments& arguments);
int uninstall(const Arguments& arguments);
int version(const Arguments& arguments);
int completion(const Arguments& arguments);
int kubectl(const Arguments& arguments);

struct Command {
  std::string_view name;
  std::string_view help;
  int (*run)(const Arguments&);
};
// In the order of the help text.
const std::vector<Command>& commands();

// Prints "appliance <command>: <text>" and returns 1.
int complain(std::string_view command, std::string_view text);

}  // namespace cmd
