// Sets of paths into objects as managedFields keeps them (FieldsV1), and the operations on objects that work by them.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "api/schema.h"
#include "base/json.h"

namespace api {

// A tree of path elements: "f:name" fields and keys of maps, "k:{...}" items of keyed lists, "v:value" items of sets. A node is a member
// of the set itself, has members below, or both.
class FieldSet {
 public:
  static FieldSet decode(const base::json::object& fields_v1);
  base::json::object encode(const base::json::storage_ptr& storage = {}) const;
  // Whether a path of this set is one of the encoded set, or all of them are; without decoding it.
  bool touches(const base::json::object& fields_v1) const;
  bool within(const base::json::object& fields_v1) const;

  // All that an applied object states.
  static FieldSet of(const Type& type, const base::json::value& object);

  bool empty() const { return !member_ && children_.empty(); }
  bool member() const { return member_; }
  void set_member(bool m) { member_ = m; }
  FieldSet* child(std::string_view element);
  const FieldSet* child(std::string_view element) const;
  FieldSet& make(std::string element) { return children_[std::move(element)]; }
  void erase(std::string_view element);
  const std::map<std::string, FieldSet, std::less<>>& children() const { return children_; }

  void add(const FieldSet& other);
  void subtract(const FieldSet& other);
  FieldSet intersect(const FieldSet& other) const;
  // .spec.containers[name="a"].image of every member.
  std::vector<std::string> paths() const;
  bool operator==(const FieldSet&) const = default;

 private:
  void fill(const Type& type, const base::json::value& v);
  void list_paths(const std::string& prefix, std::vector<std::string>& out) const;
  bool member_ = false;
  std::map<std::string, FieldSet, std::less<>> children_;
};

// "k:{"a":1}" -> [a=1], "f:x" -> .x, "v:1" -> [=1].
std::string element_path(std::string_view element);

// The element of a list item: k:{...} with defaults of absent keys, or v:...; empty when the item has none.
std::string list_element(const Type& list, const base::json::value& item);

// What differs: added or changed leaves, and leaves that are gone.
struct Difference {
  FieldSet changed, removed;
};
Difference compare(const Type& type, const base::json::value& before, const base::json::value& after);

// `applied` over `live` by the schema: objects and maps member by member, keyed lists and sets item by item, the rest as a whole.
base::json::value merge_values(const Type& type, const base::json::value& live, const base::json::value& applied);

// Removes from v what is in `last` and not in `kept`: fields of which nothing is kept, items of lists and maps that are not themselves kept.
void remove_unowned(const Type& type, base::json::value& v, const FieldSet& last, const FieldSet& kept);

}  // namespace api
