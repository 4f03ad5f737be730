// How the objects of one kind become rows. The printers of all kinds are listed in printers().
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "api/schema.h"
#include "base/json.h"
#include "base/time.h"

namespace api::tables {

struct ColumnInfo {
  std::string_view name;
  int priority = 0;                    // 1: only with -o wide
  std::string_view type = "string";
  std::string_view format = "";
};

struct Row {
  const base::json::value& object;
  base::WallTime now;
  base::json::array cells;

  void add(std::string_view text);
  void add(std::string&& text) { add(std::string_view(text)); }
  void add(const char* text) { add(std::string_view(text)); }
  void add(int64_t n) { cells.emplace_back(n); }
  // The text at a path, or `otherwise`.
  void add_field(std::string_view path, std::string_view otherwise = "");
  void add_age();                                // since metadata.creationTimestamp
  std::string since(std::string_view rfc3339) const;  // "<unknown>" when empty or malformed
  std::string_view text(std::string_view path, std::string_view otherwise = "") const;
  int64_t number(std::string_view path, int64_t otherwise = 0) const { return base::get_int(object, path, otherwise); }
  const base::json::array& list(std::string_view path) const;     // empty when absent
  const base::json::object& map(std::string_view path) const;     // empty when absent
};

struct Printer {
  std::string_view group, kind;
  std::span<const ColumnInfo> columns;
  void (*cells)(Row&);
};

std::span<const Printer> core_printers();
std::span<const Printer> workload_printers();
std::span<const Printer> network_printers();
std::span<const Printer> cluster_printers();

// "a=1,b=2"; "<none>" when empty.
std::string labels_text(const base::json::object& labels);
// The same for a LabelSelector.
std::string selector_text(const base::json::value* selector);
// Names and images of the containers under a pod spec, comma separated.
void add_containers(Row& row, std::string_view pod_spec_path);
// At most `limit` of the texts, then " + N more...".
std::string limited(const std::vector<std::string>& texts, size_t limit, std::string_view separator);
std::string joined(const std::vector<std::string>& texts, std::string_view separator);

void pod_cells(Row& row);
void service_cells(Row& row);

}  // namespace api::tables
