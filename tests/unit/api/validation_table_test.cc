// The tables of tests/unit/api/validation: changes to valid objects and what is wrong with the result.
//
//   object v1 ConfigMap {"metadata":{"name":"a"}}                  a valid object; the rows below change it
//   data={"..a":"x"} => Invalid data[..a]                          created with this change
//   update data.x="y" => ok                                        the object, changed
//   update immutable=true >> data.x="y" => Forbidden data          changed before it exists, then changed
//   status status.replicas=-1 => Invalid status.replicas           the same through the status subresource; likewise resize, ephemeralcontainers
//
// Changes are separated by " ; ", problems by ", "; -path removes. [+] appends.
#include <catch2/catch.hpp>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "api/defaults.h"
#include "api/prune.h"
#include "api/validation/validate.h"

namespace {

using base::json::value;

std::string trimmed(std::string_view s) {
  size_t from = s.find_first_not_of(' ');
  return from == s.npos ? std::string() : std::string(s.substr(from, s.find_last_not_of(' ') - from + 1));
}

std::vector<std::string> split(std::string_view s, std::string_view by) {
  std::vector<std::string> out;
  for (;;) {
    size_t at = s.find(by);
    if (std::string part = trimmed(s.substr(0, at)); !part.empty()) out.push_back(part);
    if (at == s.npos) return out;
    s.remove_prefix(at + by.size());
  }
}

value parse(const std::string& text) {
  auto v = base::parse_json(text);
  INFO(text);
  REQUIRE(v);
  return *v;
}

struct Step {
  std::string name;
  int index = -2;  // -1: append
};

std::vector<Step> steps_of(std::string_view path) {
  std::vector<Step> out;
  while (!path.empty()) {
    if (path[0] == '[') {
      size_t end = path.find(']');
      std::string_view inner = path.substr(1, end - 1);
      out.push_back({{}, inner == "+" ? -1 : std::stoi(std::string(inner))});
      path.remove_prefix(end + 1);
    } else if (path[0] == '.') {
      path.remove_prefix(1);
    } else if (path[0] == '\'') {  // a name with dots
      size_t end = path.find('\'', 1);
      out.push_back({std::string(path.substr(1, end - 1))});
      path.remove_prefix(end + 1);
    } else {
      size_t end = std::min(path.find_first_of(".["), path.size());
      out.push_back({std::string(path.substr(0, end))});
      path.remove_prefix(end);
    }
  }
  return out;
}

value& at(value& v, const Step& s) {
  if (s.index == -2) {
    if (!v.is_object()) v.emplace_object();
    return v.get_object()[s.name];
  }
  if (!v.is_array()) v.emplace_array();
  auto& a = v.get_array();
  if (s.index == -1) return a.emplace_back(nullptr);
  while (a.size() <= static_cast<size_t>(s.index)) a.emplace_back(nullptr);
  return a[static_cast<size_t>(s.index)];
}

void change(value& object, const std::string& changes) {
  for (const std::string& c : split(changes, " ; ")) {
    const bool remove = c[0] == '-';
    size_t eq = remove ? c.size() : c.find('=');
    INFO(c);
    REQUIRE(eq != std::string::npos);
    std::vector<Step> steps = steps_of(std::string_view(c).substr(remove, eq - remove));
    value* v = &object;
    for (size_t i = 0; i + remove < steps.size(); ++i) v = &at(*v, steps[i]);
    if (remove) v->as_object().erase(steps.back().name);
    else *v = parse(c.substr(eq + 1));
  }
}

value ready(const api::Kind& kind, value v) {
  std::vector<std::string> problems;
  auto pruned = api::prune(kind, v, problems);
  if (!pruned) FAIL(pruned.error().message);
  REQUIRE(problems.empty());
  api::apply_defaults(kind, v);
  api::normalise(*kind.type, v);
  return v;
}

std::string told(const std::vector<base::Cause>& causes) {
  std::vector<std::string> all;
  for (const base::Cause& c : causes) all.push_back(c.reason.substr(c.reason.starts_with("FieldValue") ? 10 : 0) + " " + c.field);
  std::sort(all.begin(), all.end());
  std::string out;
  for (const std::string& s : all) out += (out.empty() ? "" : ", ") + s;
  return out.empty() ? "ok" : out;
}

std::string sorted(const std::string& expected) {
  std::vector<std::string> all = split(expected, ", ");
  std::sort(all.begin(), all.end());
  std::string out;
  for (const std::string& s : all) out += (out.empty() ? "" : ", ") + s;
  return out;
}

void check_file(const std::filesystem::path& file) {
  std::ifstream in(file);
  const api::Kind* kind = nullptr;
  value object;
  int number = 0;
  for (std::string line; std::getline(in, line);) {
    ++number;
    line = trimmed(line);
    if (line.empty() || line[0] == '#') continue;
    INFO(file.filename().string() << ":" << number << ": " << line);
    if (line.starts_with("object ")) {
      std::string rest = line.substr(7);
      size_t one = rest.find(' '), two = rest.find(' ', one + 1);
      kind = api::Schema::builtin().kind(rest.substr(0, one), rest.substr(one + 1, two - one - 1));
      REQUIRE(kind);
      object = parse(rest.substr(two + 1));
      object.as_object()["apiVersion"] = kind->api_version();
      object.as_object()["kind"] = kind->kind;
      CHECK(told(api::validate_create(*kind, ready(*kind, object))) == "ok");
      continue;
    }
    size_t arrow = line.rfind("=>");
    REQUIRE(arrow != std::string::npos);
    std::string changes = trimmed(line.substr(0, arrow)), expected = sorted(line.substr(arrow + 2));
    std::string word = changes.substr(0, changes.find(' '));
    std::string subresource = word == "status" || word == "resize" || word == "ephemeralcontainers" ? word : "";
    if (word != "update" && subresource.empty()) {
      value v = object;
      change(v, changes);
      v = ready(*kind, v);
      auto causes = api::validate_create(*kind, v);
      for (const base::Cause& c : causes) UNSCOPED_INFO(c.field + ": " + c.message);
      CHECK(told(causes) == expected);
      continue;
    }
    std::string rest = changes.substr(word.size());
    size_t then = rest.find(">>");
    value before = object;
    if (then != rest.npos) change(before, rest.substr(0, then));
    before = ready(*kind, before);
    value after = before;
    change(after, then == rest.npos ? rest : rest.substr(then + 2));
    after = ready(*kind, after);
    auto causes = api::validate_update(*kind, before, after, subresource);
    for (const base::Cause& c : causes) UNSCOPED_INFO(c.field + ": " + c.message);
    CHECK(told(causes) == expected);
  }
}

}  // namespace

TEST_CASE("every row of the validation tables is answered as it says") {
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(VALIDATION_TABLES)) {
    check_file(entry.path());
    ++files;
  }
  CHECK(files > 5);
}
