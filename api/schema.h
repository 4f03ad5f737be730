// The types of the API as data at run time: what the codecs, pruning, defaults, patches, apply, OpenAPI, discovery and tables read.
//
// The built-in schema is parsed once from the text of api/schema/*.schema (about a millisecond) and never changes; schemas of custom
// resources are built from their OpenAPI form. Everything here is immutable after construction and safe from any thread.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/json.h"

namespace api {

struct Type;

enum class Form : uint8_t {
  string, bytes, time, micro_time, duration, quantity,  // JSON strings; bytes are base64
  boolean, int32, int64, float64,
  int_or_string,
  any,            // any JSON value
  raw_extension,  // a JSON object of any kind
  json_or_union,  // JSONSchemaPropsOr{Array,Bool,StringArray}: a JSON value of a few shapes
  object, list, map,
};

// How the elements of a list are identified when several managers own parts of it (KEP-555).
enum class ListKind : uint8_t { atomic, set, map };
enum class PatchStrategy : uint8_t { none, merge, replace, retain_keys, merge_retain_keys };

// What a built-in field's values must be beyond their type: the attributes of that name in api/schema/*.schema.
struct Constraint {
  int64_t min = INT64_MIN, max = INT64_MAX;  // of a number, inclusive
  uint32_t max_length = 0, max_items = 0;    // 0: any
  std::string_view format;                   // of a string, of the elements of a list, of the keys of a map
  std::string_view values;                   // format of the values of a map
  std::string_view unique;                   // member by which the elements of a list differ; "." for the element itself
  std::string_view why, says;                // texts instead of the usual ones: for what is missing, for what is wrong
  bool empty_ok = false;                     // required by the type, yet empty values are taken
  bool open = false;                         // of an enum: a rule says which values are taken
  bool above = false;                        // the lower bound is told as "greater than"
};

struct Field {
  std::string_view name;        // as in JSON
  const Type* type = nullptr;
  uint16_t number = 0;          // in protobuf; 0: not there
  std::array<uint16_t, 3> embedded{};  // protobuf numbers of the embedded messages around it, outermost first; 0 ends
  bool required = false;
  bool nullable = false;        // custom resources: null is kept
  bool immutable = false;
  bool omit_zero = false;       // optional number or boolean whose zero means absence
  bool keep_empty = false;      // optional string whose "" differs from absence
  bool union_member = false;
  const Constraint* constraint = nullptr;
  base::json::value default_value;  // null: none
  std::string_view doc;
};

struct Type {
  Form form = Form::any;
  std::string name;              // "Container", "" for unnamed ones
  std::string_view package;      // "io.k8s.api.core.v1": with the name the key of an OpenAPI definition
  std::string_view doc;
  // object
  std::vector<Field> fields;
  bool atomic = false;           // owned as a whole by one manager; for maps too
  bool has_kind = false;         // apiVersion and kind are allowed besides the fields
  bool preserve_unknown = false; // custom resources: fields not listed are kept
  bool embedded_resource = false;
  // list, map
  const Type* element = nullptr;
  ListKind list = ListKind::atomic;
  std::vector<std::string> keys;            // of a list of kind map
  PatchStrategy patch = PatchStrategy::none;
  std::string patch_key;                    // merge key of strategic merge patch
  // string
  std::vector<std::string_view> values;     // allowed ones; empty: any
  // custom resources: the OpenAPI constraints of this node (pattern, minimum, x-kubernetes-validations ...)
  std::shared_ptr<const base::json::object> constraints;

  const Field* field(std::string_view field_name) const;
};

struct Column {
  std::string_view name, type, format, path, doc;
  int priority = 0;
};

struct Kind {
  std::string group, version, kind;
  std::string plural, singular, list_kind;  // plural is empty for kinds that are no resource (Status, DeleteOptions)
  std::vector<std::string> short_names, categories;
  bool namespaced = false;
  bool is_virtual = false;  // answers without being stored: reviews
  const Type* type = nullptr;
  std::vector<Column> columns;  // of custom resources

  std::string api_version() const { return group.empty() ? version : group + "/" + version; }
};

class Schema {
 public:
  static const Schema& builtin();

  // Null when unknown.
  const Kind* kind(std::string_view group, std::string_view version, std::string_view kind) const;
  const Kind* kind(std::string_view api_version, std::string_view kind) const;  // "apps/v1"
  const Kind* resource(std::string_view group, std::string_view version, std::string_view plural) const;
  const Type* type(std::string_view package_and_name) const;  // "io.k8s.api.core.v1.Container"
  // In the order of the schema files, by group.
  const std::deque<Kind>& kinds() const { return kinds_; }
  const std::deque<Type>& types() const { return types_; }
  static const Type& object_meta();  // meta.v1 ObjectMeta
  static const Type& list_meta();

  Schema();
  ~Schema();
  Schema(const Schema&) = delete;

 private:
  friend class SchemaParser;
  std::deque<Type> types_;
  std::deque<Kind> kinds_;
  std::deque<Constraint> constraints_;
  std::map<std::string, const Kind*, std::less<>> by_kind_, by_resource_;
  std::map<std::string, const Type*, std::less<>> by_name_;
};

// The kind of a custom resource's version with the types it owns. `version` is one entry of spec.versions of a CustomResourceDefinition whose
// spec is `crd_spec`. Structural schemas only; 422 names what is not.
struct CustomKind {
  Kind kind;
  std::deque<Type> types;
  std::deque<std::string> texts;
};
base::Result<std::shared_ptr<const CustomKind>> custom_kind(const base::json::value& crd_spec, const base::json::value& version);

// "apps/v1" -> {"apps", "v1"}; "v1" -> {"", "v1"}.
std::pair<std::string_view, std::string_view> split_api_version(std::string_view api_version);

}  // namespace api
