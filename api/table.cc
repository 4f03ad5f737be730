#include "api/table.h"

#include <fmt/format.h>

#include "api/tables/printer.h"

namespace api {
namespace {

namespace json = base::json;
using tables::Printer;
using tables::Row;

void generic_cells(Row& row) {
  row.add_field("metadata.name");
  row.add_age();
}

constexpr tables::ColumnInfo kGeneric[] = {{"Name", 0, "string", "name"}, {"Age"}};
constexpr Printer kGenericPrinter{"", "", kGeneric, generic_cells};

const Printer& printer(const Kind& kind) {
  for (auto list : {tables::core_printers(), tables::workload_printers(), tables::network_printers(), tables::cluster_printers()}) {
    for (const Printer& p : list) {
      if (p.kind == kind.kind && p.group == kind.group) return p;
    }
  }
  return kGenericPrinter;
}

// What a column of a custom resource shows: a small JSON path (.spec.replicas, .status.conditions[?(@.type=="Ready")].status).
void follow(const json::value& v, std::string_view path, std::vector<const json::value*>& out) {
  if (path.empty()) {
    out.push_back(&v);
    return;
  }
  if (path[0] == '.') {
    path.remove_prefix(1);
    // A quoted or escaped dot belongs to the name.
    std::string name;
    size_t i = 0;
    for (; i < path.size() && path[i] != '.' && path[i] != '['; ++i) {
      if (path[i] == '\\' && i + 1 < path.size()) ++i;
      name += path[i];
    }
    const json::object* o = v.if_object();
    const json::value* next = o ? o->if_contains(name) : nullptr;
    if (next) follow(*next, path.substr(i), out);
    return;
  }
  size_t close = path.find(']');
  if (path[0] != '[' || close == std::string_view::npos) return;
  std::string_view inside = path.substr(1, close - 1), rest = path.substr(close + 1);
  if (const json::object* o = v.if_object()) {
    if (inside.size() > 2 && (inside.front() == '\'' || inside.front() == '"')) inside = inside.substr(1, inside.size() - 2);
    if (const json::value* next = o->if_contains(inside)) follow(*next, rest, out);
    return;
  }
  const json::array* a = v.if_array();
  if (!a) return;
  if (inside == "*") {
    for (const json::value& e : *a) follow(e, rest, out);
  } else if (inside.starts_with("?(@.") && inside.ends_with(")")) {
    std::string_view condition = inside.substr(4, inside.size() - 5);
    size_t equals = condition.find("==");
    if (equals == std::string_view::npos) return;
    std::string_view name = condition.substr(0, equals), wanted = condition.substr(equals + 2);
    while (!name.empty() && name.back() == ' ') name.remove_suffix(1);
    while (!wanted.empty() && wanted.front() == ' ') wanted.remove_prefix(1);
    if (wanted.size() >= 2) wanted = wanted.substr(1, wanted.size() - 2);
    for (const json::value& e : *a) {
      if (base::get_string(e, name) == wanted) follow(e, rest, out);
    }
  } else {
    size_t index = 0;
    for (char c : inside) {
      if (c < '0' || c > '9') return;
      index = index * 10 + static_cast<size_t>(c - '0');
    }
    if (index < a->size()) follow((*a)[index], rest, out);
  }
}

json::value custom_cell(const Column& column, const Row& row) {
  std::vector<const json::value*> found;
  follow(row.object, column.path, found);
  if (found.empty() || found[0]->is_null()) return column.type == "date" ? json::value() : json::value("");
  const json::value& v = *found[0];
  if (column.type == "integer" && v.is_number()) return v;
  if (column.type == "number" && v.is_number()) return v;
  if (column.type == "boolean" && v.is_bool()) return v;
  if (column.type == "date") return json::value(v.is_string() ? row.since(v.get_string()) : std::string("<unknown>"));
  std::string text;
  for (const json::value* f : found) {
    if (!text.empty()) text += ',';
    text += f->is_string() ? std::string(f->get_string()) : base::to_text(*f);
  }
  return json::value(text);
}

json::value partial_metadata(const json::value& object, std::string_view version) {
  json::object o{{"kind", "PartialObjectMetadata"}, {"apiVersion", json::string_view(version.data(), version.size())}};
  if (const json::value* metadata = base::find(object, "metadata")) o["metadata"] = *metadata;
  return o;
}

json::object column(std::string_view name, std::string_view type, std::string_view format, std::string_view doc, int priority) {
  auto text = [](std::string_view s) { return json::string_view(s.data(), s.size()); };
  return {{"name", text(name)}, {"type", text(type)}, {"format", text(format)}, {"description", text(doc)}, {"priority", priority}};
}

base::WallTime parse_now(std::string_view now) {
  auto t = base::parse_rfc3339(now);
  return t ? *t : base::WallClock::now();
}

}  // namespace

json::array table_columns(const Kind& kind) {
  json::array out;
  if (!kind.columns.empty()) {
    out.push_back(column("Name", "string", "name", "Name of the object, unique in its namespace.", 0));
    for (const Column& c : kind.columns) out.push_back(column(c.name, c.type, c.format, c.doc, c.priority));
    return out;
  }
  for (const tables::ColumnInfo& c : printer(kind).columns) {
    std::string_view doc = c.format == "name" ? "Name of the object, unique in its namespace." : "";
    out.push_back(column(c.name, c.type, c.format, doc, c.priority));
  }
  return out;
}

json::array table_cells(const Kind& kind, const json::value& object, std::string_view now) {
  Row row{object, parse_now(now), {}};
  if (!kind.columns.empty()) {
    row.add_field("metadata.name");
    for (const Column& c : kind.columns) row.cells.push_back(custom_cell(c, row));
  } else {
    printer(kind).cells(row);
  }
  return std::move(row.cells);
}

json::object table_row(const Kind& kind, const json::value& object, IncludeObject include, std::string_view now, std::string_view version) {
  json::object row{{"cells", table_cells(kind, object, now)}};
  if (include == IncludeObject::metadata) row["object"] = partial_metadata(object, version);
  if (include == IncludeObject::object) row["object"] = object;
  if (include == IncludeObject::none) row["object"] = nullptr;
  return row;
}

json::value make_table(const Kind& kind, const json::value& list_or_object, IncludeObject include, std::string_view now, bool with_columns,
                       std::string_view version) {
  json::object table{{"kind", "Table"}, {"apiVersion", json::string_view(version.data(), version.size())}};
  json::array rows;
  auto add = [&](const json::value& object) { rows.push_back(table_row(kind, object, include, now, version)); };
  json::object metadata;
  if (const json::array* items = base::find_array(list_or_object, "items")) {
    if (const json::object* m = base::find_object(list_or_object, "metadata")) metadata = *m;
    for (const json::value& item : *items) add(item);
  } else {
    if (std::string_view revision = base::get_string(list_or_object, "metadata.resourceVersion"); !revision.empty()) {
      metadata["resourceVersion"] = json::string_view(revision.data(), revision.size());
    }
    add(list_or_object);
  }
  table["metadata"] = std::move(metadata);
  table["columnDefinitions"] = with_columns ? table_columns(kind) : json::array();
  table["rows"] = std::move(rows);
  return table;
}

std::string human_duration(int64_t seconds) {
  if (seconds < -1) return "<invalid>";
  if (seconds < 0) return "0s";
  if (seconds < 120) return fmt::format("{}s", seconds);
  auto two = [](int64_t a, char x, int64_t b, char y) { return b == 0 ? fmt::format("{}{}", a, x) : fmt::format("{}{}{}{}", a, x, b, y); };
  int64_t minutes = seconds / 60;
  if (minutes < 10) return two(minutes, 'm', seconds % 60, 's');
  if (minutes < 180) return fmt::format("{}m", minutes);
  int64_t hours = minutes / 60;
  if (hours < 8) return two(hours, 'h', minutes % 60, 'm');
  if (hours < 48) return fmt::format("{}h", hours);
  int64_t days = hours / 24;
  if (hours < 24 * 8) return two(days, 'd', hours % 24, 'h');
  if (days < 365 * 2) return fmt::format("{}d", days);
  if (days < 365 * 8) return two(days / 365, 'y', days % 365, 'd');
  return fmt::format("{}y", days / 365);
}

}  // namespace api
