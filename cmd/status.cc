// `appliance status`: what runs on this host, and on a server the table of the nodes.
#include <signal.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include <fmt/format.h>

#include "base/files.h"
#include "base/http/client.h"
#include "base/json.h"
#include "cmd/api_access.h"
#include "cmd/commands.h"
#include "cmd/options.h"

namespace cmd {
namespace {

using base::Result;
using base::Task;

Task<Result<base::json::value>> nodes_table(std::string kubeconfig) {
  CO_TRY(ApiAccess access, read_kubeconfig(kubeconfig));
  base::http::ClientOptions options;
  CO_TRY(options.tls, base::http::make_client_context(access.tls));
  base::http::Client client(std::move(options));
  base::http::ClientRequest request;
  request.url = access.server + "/api/v1/nodes";
  request.headers.set("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io");
  request.timeout = std::chrono::seconds(3);
  CO_TRY(auto response, co_await client.send(std::move(request)));
  CO_TRY(std::string body, co_await response->body());
  if (response->status != 200) co_return base::unavailable(fmt::format("the API answered {}", response->status));
  co_return base::parse_json(body);
}

// Columns of priority 0, as kubectl prints them.
void print_table(const base::json::value& table) {
  std::vector<std::vector<std::string>> lines(1);
  std::vector<size_t> shown;
  const auto* columns = base::find_array(table, "columnDefinitions");
  const auto* rows = base::find_array(table, "rows");
  if (!columns || !rows) return;
  for (size_t i = 0; i < columns->size(); ++i) {
    if (base::get_int((*columns)[i], "priority") != 0) continue;
    shown.push_back(i);
    std::string name(base::get_string((*columns)[i], "name"));
    std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
    lines[0].push_back(std::move(name));
  }
  for (const auto& row : *rows) {
    auto& line = lines.emplace_back();
    const auto* cells = base::find_array(row, "cells");
    for (size_t i : shown) {
      const base::json::value* cell = cells && i < cells->size() ? &(*cells)[i] : nullptr;
      line.push_back(!cell ? "" : cell->is_string() ? std::string(cell->get_string()) : base::to_text(*cell));
    }
  }
  std::vector<size_t> widths(shown.size());
  for (auto& line : lines) {
    for (size_t i = 0; i < line.size(); ++i) widths[i] = std::max(widths[i], line[i].size());
  }
  for (auto& line : lines) {
    for (size_t i = 0; i < line.size(); ++i) fmt::print("{:<{}}", line[i], i + 1 < line.size() ? widths[i] + 3 : 0);
    fmt::print("\n");
  }
}

}  // namespace

int status(const Arguments& arguments) {
  auto parsed = parse_options(kLocal, arguments);
  if (!parsed) return complain("status", parsed.error().message);
  const Options& o = parsed->options;
  if (parsed->help) {
    fmt::print("{}", help_text("status", kLocal));
    return 0;
  }
  auto pid_text = base::read_file(o.run_dir + "/appliance.pid", 64);
  long pid = pid_text ? std::strtol(pid_text->c_str(), nullptr, 10) : 0;
  bool alive = pid > 1 && ::kill(static_cast<pid_t>(pid), 0) == 0;
  // Written when the node has become ready; see node.cc.
  auto ready = base::read_file(fmt::format("{}/ready", o.run_dir), 4096);
  bool is_ready = alive && ready && ready->starts_with(fmt::format("pid        {}\n", pid));
  if (o.wait_ready && !is_ready) return 3;
  bool is_server = base::exists(o.data_dir + "/server/state.db");
  fmt::print("role       {}\n", is_server                             ? "server"
                                : base::exists(o.data_dir + "/agent") ? "agent"
                                                                      : "none: nothing is installed below " + o.data_dir);
  fmt::print("process    {}\n", is_ready ? "ready" : alive ? "running, not ready" : "not running");
  if (is_ready) fmt::print("{}", *ready);
  struct stat s{};
  if (is_server && ::stat((o.data_dir + "/server/state.db").c_str(), &s) == 0) fmt::print("datastore  {} KiB\n", s.st_size / 1024);
  if (is_server && alive) {
    base::Runtime runtime(1);
    Result<base::json::value> table = base::unavailable("");
    base::run_to_end(runtime, [](std::string path, Result<base::json::value>& out) -> Task<> {
      out = co_await nodes_table(std::move(path));
    }(o.write_kubeconfig, table));
    fmt::print("\n");
    if (table) print_table(*table);
    else fmt::print("the nodes cannot be listed: {}\n", table.error().message);
  }
  return alive ? 0 : 3;
}

}  // namespace cmd
