#include "api/selector.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "api/types/meta_v1.h"
#include "api/validate_names.h"

namespace api {
namespace {

using Operator = LabelSelector::Operator;

base::Failure unparsable(std::string_view why) { return base::bad_request(fmt::format("unable to parse requirement: {}", why)); }

// Cuts a selector into words and the symbols ! = == != , ( ) < >.
class Lexer {
 public:
  explicit Lexer(std::string_view text) : text_(text) {}
  // Empty at the end.
  std::string_view next() {
    std::string_view t = peek();
    at_ = peeked_end_;
    return t;
  }
  std::string_view peek() {
    size_t i = at_;
    while (i < text_.size() && (text_[i] == ' ' || text_[i] == '\t' || text_[i] == '\n' || text_[i] == '\r')) ++i;
    size_t start = i;
    if (i == text_.size()) {
      peeked_end_ = i;
      return {};
    }
    static constexpr std::string_view symbols = "!=,()<>";
    if (symbols.find(text_[i]) != std::string_view::npos) {
      ++i;
      if ((text_[start] == '=' || text_[start] == '!') && i < text_.size() && text_[i] == '=') ++i;
    } else {
      while (i < text_.size() && symbols.find(text_[i]) == std::string_view::npos && text_[i] != ' ' && text_[i] != '\t') ++i;
    }
    peeked_end_ = i;
    return text_.substr(start, i - start);
  }

 private:
  std::string_view text_;
  size_t at_ = 0, peeked_end_ = 0;
};

bool is_symbol(std::string_view token) {
  return token.empty() || std::string_view("!=,()<>").find(token[0]) != std::string_view::npos;
}

bool to_int(std::string_view s, int64_t& n) {
  auto [end, ec] = std::from_chars(s.data(), s.data() + s.size(), n);
  return ec == std::errc() && end == s.data() + s.size();
}

bool has(const std::vector<std::string>& sorted, std::string_view value) {
  return std::binary_search(sorted.begin(), sorted.end(), value, std::less<>());
}

bool met(const LabelSelector::Requirement& r, std::optional<std::string_view> value) {
  switch (r.op) {
    case Operator::in: return value && has(r.values, *value);
    case Operator::not_in: return !value || !has(r.values, *value);
    case Operator::exists: return value.has_value();
    case Operator::absent: return !value.has_value();
    case Operator::greater:
    case Operator::less: {
      int64_t have = 0, bound = 0;
      if (!value || !to_int(*value, have) || !to_int(r.values[0], bound)) return false;
      return r.op == Operator::greater ? have > bound : have < bound;
    }
  }
  return false;
}

base::Result<> check(const LabelSelector::Requirement& r) {
  if (std::string e = check_qualified_name(r.key); !e.empty()) {
    return base::bad_request(fmt::format("key: Invalid value: \"{}\": {}", r.key, e));
  }
  for (const std::string& v : r.values) {
    if (std::string e = check_label_value(v); !e.empty()) {
      return base::bad_request(fmt::format("values[0][{}]: Invalid value: \"{}\": {}", r.key, v, e));
    }
  }
  return {};
}

// One requirement, the lexer standing before it.
base::Result<LabelSelector::Requirement> requirement(Lexer& lexer) {
  LabelSelector::Requirement r;
  std::string_view token = lexer.next();
  if (token == "!") {
    token = lexer.next();
    if (is_symbol(token)) return unparsable(fmt::format("found '{}', expected: identifier", token));
    r.key = token;
    r.op = Operator::absent;
    return r;
  }
  if (is_symbol(token)) return unparsable(fmt::format("found '{}', expected: !, identifier, or ','", token));
  r.key = token;
  std::string_view op = lexer.peek();
  if (op.empty() || op == ",") return r;
  lexer.next();
  if (op == "=" || op == "==" || op == "!=" || op == "<" || op == ">") {
    r.op = op == "!=" ? Operator::not_in : op == ">" ? Operator::greater : op == "<" ? Operator::less : Operator::in;
    std::string_view value = lexer.peek();
    if (value.empty() || value == ",") {
      r.values.emplace_back();
    } else if (is_symbol(value)) {
      return unparsable(fmt::format("found '{}', expected: identifier", value));
    } else {
      r.values.emplace_back(lexer.next());
    }
    if (int64_t n = 0; (op == "<" || op == ">") && !to_int(r.values[0], n)) {
      return base::bad_request("values[0]: Invalid value: for 'Gt', 'Lt' operators, the value must be an integer");
    }
    return r;
  }
  if (op != "in" && op != "notin") {
    return unparsable(fmt::format("found '{}', expected: in, notin, =, ==, !=, gt, lt", op));
  }
  r.op = op == "in" ? Operator::in : Operator::not_in;
  if (std::string_view open = lexer.next(); open != "(") return unparsable(fmt::format("found '{}', expected: '('", open));
  for (bool more = true; more;) {
    std::string_view value = lexer.peek();
    if (value == "," || value == ")") {
      r.values.emplace_back();
    } else if (is_symbol(value)) {
      return unparsable(fmt::format("found '{}', expected: ',', ')' or identifier", value));
    } else {
      r.values.emplace_back(lexer.next());
    }
    std::string_view after = lexer.next();
    if (after != "," && after != ")") return unparsable(fmt::format("found '{}', expected: ',' or ')'", after));
    more = after == ",";
  }
  std::sort(r.values.begin(), r.values.end());
  r.values.erase(std::unique(r.values.begin(), r.values.end()), r.values.end());
  return r;
}

base::Result<LabelSelector::Requirement> expression(std::string_view key, std::string_view op, std::vector<std::string> values) {
  LabelSelector::Requirement r{std::string(key), Operator::exists, std::move(values)};
  std::sort(r.values.begin(), r.values.end());
  if (op == "In" || op == "NotIn") {
    r.op = op == "In" ? Operator::in : Operator::not_in;
    if (r.values.empty()) return base::bad_request("values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty");
  } else if (op == "Exists" || op == "DoesNotExist") {
    r.op = op == "Exists" ? Operator::exists : Operator::absent;
    if (!r.values.empty()) return base::bad_request("values: Invalid value: values set must be empty for exists and does not exist");
  } else {
    return base::bad_request(fmt::format("\"{}\" is not a valid label selector operator", op));
  }
  return r;
}

}  // namespace

base::Result<LabelSelector> LabelSelector::parse(std::string_view text) {
  LabelSelector out;
  Lexer lexer(text);
  if (lexer.peek().empty()) return out;
  for (;;) {
    TRY(Requirement r, requirement(lexer));
    CHECK_OK(check(r));
    out.requirements_.push_back(std::move(r));
    std::string_view after = lexer.next();
    if (after.empty()) return out;
    if (after != ",") return unparsable(fmt::format("found '{}', expected: ',' or 'end of string'", after));
    if (lexer.peek().empty()) return unparsable("found '', expected: identifier after ','");
  }
}

LabelSelector LabelSelector::of(const Labels& labels) {
  LabelSelector out;
  for (const auto& [key, value] : labels) out.requirements_.push_back({key, Operator::in, {value}});
  return out;
}

base::Result<LabelSelector> LabelSelector::of(const meta::LabelSelector& selector) {
  LabelSelector out = of(selector.matchLabels);
  for (const meta::LabelSelectorRequirement& e : selector.matchExpressions) {
    TRY(Requirement r, expression(e.key, e.operator_, e.values));
    out.requirements_.push_back(std::move(r));
  }
  return out;
}

base::Result<LabelSelector> LabelSelector::of_json(const base::json::value& selector) {
  LabelSelector out;
  if (const auto* labels = base::find_object(selector, "matchLabels")) {
    for (const auto& [key, value] : *labels) {
      if (value.is_string()) out.requirements_.push_back({std::string(key), Operator::in, {std::string(value.get_string())}});
    }
  }
  if (const auto* list = base::find_array(selector, "matchExpressions")) {
    for (const auto& e : *list) {
      std::vector<std::string> values;
      if (const auto* a = base::find_array(e, "values")) {
        for (const auto& v : *a) {
          if (v.is_string()) values.emplace_back(v.get_string());
        }
      }
      TRY(Requirement r, expression(base::get_string(e, "key"), base::get_string(e, "operator"), std::move(values)));
      out.requirements_.push_back(std::move(r));
    }
  }
  return out;
}

bool LabelSelector::matches(const Labels& labels) const {
  for (const Requirement& r : requirements_) {
    auto it = labels.find(r.key);
    if (!met(r, it == labels.end() ? std::nullopt : std::optional<std::string_view>(it->second))) return false;
  }
  return true;
}

bool LabelSelector::matches(const base::json::object& labels) const {
  for (const Requirement& r : requirements_) {
    const base::json::value* v = labels.if_contains(r.key);
    std::optional<std::string_view> value;
    if (v && v->is_string()) value = std::string_view(v->get_string());
    if (!met(r, value)) return false;
  }
  return true;
}

bool LabelSelector::matches(const std::function<std::optional<std::string_view>(std::string_view)>& lookup) const {
  for (const Requirement& r : requirements_) {
    if (!met(r, lookup(r.key))) return false;
  }
  return true;
}

std::string LabelSelector::to_string() const {
  std::string out;
  for (const Requirement& r : requirements_) {
    if (!out.empty()) out += ',';
    switch (r.op) {
      case Operator::exists: out += r.key; break;
      case Operator::absent: out += "!" + r.key; break;
      case Operator::greater: out += r.key + ">" + r.values[0]; break;
      case Operator::less: out += r.key + "<" + r.values[0]; break;
      case Operator::in:
      case Operator::not_in:
        if (r.values.size() == 1) out += r.key + (r.op == Operator::in ? "=" : "!=") + r.values[0];
        else out += fmt::format("{} {} ({})", r.key, r.op == Operator::in ? "in" : "notin", fmt::join(r.values, ","));
    }
  }
  return out;
}

bool selects(const meta::LabelSelector& selector, const Labels& labels) {
  auto s = LabelSelector::of(selector);
  return s && s->matches(labels);
}

bool selects(const Labels& match_labels, const Labels& labels) {
  return std::all_of(match_labels.begin(), match_labels.end(), [&](const auto& wanted) {
    auto it = labels.find(wanted.first);
    return it != labels.end() && it->second == wanted.second;
  });
}

base::Result<FieldSelector> FieldSelector::parse(std::string_view text) {
  FieldSelector out;
  std::string term;
  auto finish = [&]() -> base::Result<> {
    if (term.empty()) return {};
    size_t at = term.find('=');
    if (at == std::string::npos || at == 0) {
      return base::bad_request(fmt::format("invalid field selector: '{}'; can't understand '{}'", text, term));
    }
    Requirement r;
    r.equal = term[at - 1] != '!';
    r.field = term.substr(0, r.equal ? at : at - 1);
    size_t value = at + 1;
    if (r.equal && value < term.size() && term[value] == '=') ++value;
    for (size_t i = value; i < term.size(); ++i) {
      if (term[i] == '\\' && i + 1 < term.size()) ++i;  // \\ \, \=
      r.value += term[i];
    }
    out.requirements_.push_back(std::move(r));
    term.clear();
    return {};
  };
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 1 < text.size()) {
      term += text[i++];
      term += text[i];
    } else if (text[i] == ',') {
      CHECK_OK(finish());
    } else {
      term += text[i];
    }
  }
  CHECK_OK(finish());
  return out;
}

bool FieldSelector::matches(const std::function<std::string_view(std::string_view)>& lookup) const {
  for (const Requirement& r : requirements_) {
    if ((lookup(r.field) == r.value) != r.equal) return false;
  }
  return true;
}

bool FieldSelector::matches(const base::json::value& object) const {
  for (const Requirement& r : requirements_) {
    if ((selectable_value(object, r.field) == r.value) != r.equal) return false;
  }
  return true;
}

std::optional<std::string> FieldSelector::required_value(std::string_view field) const {
  for (const Requirement& r : requirements_) {
    if (r.equal && r.field == field) return r.value;
  }
  return std::nullopt;
}

std::string FieldSelector::to_string() const {
  std::string out;
  for (const Requirement& r : requirements_) {
    if (!out.empty()) out += ',';
    out += r.field;
    out += r.equal ? "=" : "!=";
    for (char c : r.value) {
      if (c == '\\' || c == ',' || c == '=') out += '\\';
      out += c;
    }
  }
  return out;
}

std::vector<std::string_view> selectable_fields(std::string_view group, std::string_view resource) {
  using Fields = std::vector<std::string_view>;
  if (group.empty()) {
    if (resource == "pods") {
      return Fields{"spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName", "spec.hostNetwork",
                    "status.phase", "status.podIP", "status.podIPs", "status.nominatedNodeName"};
    }
    if (resource == "events") {
      return Fields{"involvedObject.kind", "involvedObject.namespace", "involvedObject.name", "involvedObject.uid",
                    "involvedObject.apiVersion", "involvedObject.resourceVersion", "involvedObject.fieldPath", "reason",
                    "reportingComponent", "source", "type"};
    }
    if (resource == "nodes") return Fields{"spec.unschedulable"};
    if (resource == "namespaces") return Fields{"status.phase", "name"};
    if (resource == "secrets") return Fields{"type"};
    if (resource == "services") return Fields{"spec.clusterIP", "spec.type"};
    if (resource == "replicationcontrollers") return Fields{"status.replicas"};
    if (resource == "persistentvolumes") return Fields{"name"};
    if (resource == "persistentvolumeclaims") return Fields{"name"};
  }
  if (group == "events.k8s.io" && resource == "events") {
    return Fields{"reason", "regarding.kind", "regarding.namespace", "regarding.name", "regarding.uid", "regarding.apiVersion",
                  "regarding.resourceVersion", "regarding.fieldPath", "reportingController", "type"};
  }
  if (group == "apps" && resource == "replicasets") return Fields{"status.replicas"};
  if (group == "batch" && resource == "jobs") return Fields{"status.successful"};
  if (group == "certificates.k8s.io") return Fields{"spec.signerName"};
  if (group == "resource.k8s.io" && resource == "resourceslices") return Fields{"spec.nodeName", "spec.driver"};
  return {};
}

std::string selectable_value(const base::json::value& object, std::string_view field) {
  if (field == "name") field = "metadata.name";
  if (field == "source") {  // written through events.k8s.io it has only a reporting controller
    std::string_view component = base::get_string(object, "source.component");
    return std::string(component.empty() ? base::get_string(object, "reportingComponent") : component);
  }
  if (field == "status.successful") field = "status.succeeded";
  const base::json::value* v = base::find(object, field);
  if (field == "status.podIPs" && v && v->is_array()) {
    return v->get_array().empty() ? std::string() : std::string(base::get_string(v->get_array()[0], "ip"));
  }
  if (!v || v->is_null()) {
    if (field == "spec.unschedulable" || field == "spec.hostNetwork") return "false";
    if (field == "status.replicas" || field == "status.succeeded") return "0";
    return {};
  }
  if (v->is_string()) return std::string(v->get_string());
  return base::to_text(*v);
}

}  // namespace api
