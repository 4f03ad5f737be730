// Label and field selectors: the string forms of list requests and the LabelSelector of specs.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/json.h"

namespace api {
namespace meta {
struct LabelSelector;
}

using Labels = std::map<std::string, std::string>;
// Value of a label, or null.
using LabelLookup = std::function<const std::string*(std::string_view key)>;

class LabelSelector {
 public:
  enum class Operator { in, not_in, exists, absent, greater, less };  // = and == are `in` with one value
  struct Requirement {
    std::string key;
    Operator op = Operator::exists;
    std::vector<std::string> values;  // sorted
  };
  LabelSelector() = default;  // matches everything

  // `a=b,c!=d,e in (f,g),h notin (i),j,!k,l>5`; 400 on bad syntax, names or values.
  static base::Result<LabelSelector> parse(std::string_view text);
  static LabelSelector of(const Labels& match_labels);
  // spec.selector: empty matches everything, bad operators are 422.
  static base::Result<LabelSelector> of(const meta::LabelSelector& selector);
  static base::Result<LabelSelector> of_json(const base::json::value& selector);

  bool matches(const Labels& labels) const;
  bool matches(const base::json::object& labels) const;
  bool matches(const std::function<std::optional<std::string_view>(std::string_view key)>& lookup) const;
  bool empty() const { return requirements_.empty(); }
  const std::vector<Requirement>& requirements() const { return requirements_; }
  std::string to_string() const;

 private:
  std::vector<Requirement> requirements_;
};

// Whether a spec's selector selects the labels; a broken selector selects nothing. (A nil selector is the caller's case.)
bool selects(const meta::LabelSelector& selector, const Labels& labels);
bool selects(const Labels& match_labels, const Labels& labels);

class FieldSelector {
 public:
  struct Requirement {
    std::string field, value;
    bool equal = true;
  };
  FieldSelector() = default;
  // `metadata.name=x,status.phase!=Running`; 400 on bad syntax.
  static base::Result<FieldSelector> parse(std::string_view text);
  // Values of absent fields are "".
  bool matches(const std::function<std::string_view(std::string_view field)>& lookup) const;
  // Looks fields up by dotted path in an object.
  bool matches(const base::json::value& object) const;
  bool empty() const { return requirements_.empty(); }
  const std::vector<Requirement>& requirements() const { return requirements_; }
  // The value a field must have, if one is demanded.
  std::optional<std::string> required_value(std::string_view field) const;
  std::string to_string() const;

 private:
  std::vector<Requirement> requirements_;
};

// The fields a resource may be selected by besides metadata.name and metadata.namespace.
std::vector<std::string_view> selectable_fields(std::string_view group, std::string_view resource);
// Value of a selectable field of an object ("" when absent, with the API's special cases such as "false" for unset booleans).
std::string selectable_value(const base::json::value& object, std::string_view field);

}  // namespace api
