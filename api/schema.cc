#include "api/schema.h"

#include "api/schema_text.h"

#include <charconv>
#include <unordered_map>

namespace api {

namespace {

// The words of a line: separated by blanks, quotes group, `#` begins the documentation.
struct Line {
  std::vector<std::string_view> words;
  std::string_view doc;
  bool indented = false;

  explicit Line(std::string_view line) {
    indented = !line.empty() && line[0] == ' ';
    size_t i = 0;
    while (i < line.size()) {
      if (line[i] == ' ') {
        ++i;
      } else if (line[i] == '#') {
        doc = line.substr(i + 1);
        while (!doc.empty() && doc.front() == ' ') doc.remove_prefix(1);
        return;
      } else {
        size_t start = i;
        bool quoted = false;
        for (; i < line.size() && (quoted || line[i] != ' '); ++i) {
          if (line[i] == '"') quoted = !quoted;
        }
        words.push_back(line.substr(start, i - start));
      }
    }
  }
};

std::string_view unquoted(std::string_view w) {
  if (w.size() >= 2 && w.front() == '"' && w.back() == '"') return w.substr(1, w.size() - 2);
  return w;
}

std::vector<std::string> split(std::string_view text, char by) {
  std::vector<std::string> out;
  while (!text.empty()) {
    size_t at = text.find(by);
    out.emplace_back(text.substr(0, at));
    text = at == std::string_view::npos ? std::string_view() : text.substr(at + 1);
  }
  return out;
}

std::string package_of(std::string_view group, std::string_view version) {
  std::string v(version);
  if (group == "meta") return "io.k8s.apimachinery.pkg.apis.meta." + v;
  if (group.empty()) return "io.k8s.api.core." + v;
  std::string label(group.substr(0, group.find('.')));
  if (label == "apiextensions") return "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions." + v;
  if (label == "apiregistration") return "io.k8s.kube-aggregator.pkg.apis.apiregistration." + v;
  if (label == "metrics") return "io.k8s.metrics.pkg.apis.metrics." + v;
  return "io.k8s.api." + label + "." + v;
}

PatchStrategy patch_strategy(std::string_view text) {
  if (text == "merge") return PatchStrategy::merge;
  if (text == "replace") return PatchStrategy::replace;
  if (text == "retainKeys") return PatchStrategy::retain_keys;
  if (text == "merge,retainKeys") return PatchStrategy::merge_retain_keys;
  return PatchStrategy::none;
}

}  // namespace

// Two passes: the first makes every named type, the second its fields, for names are used before they are defined. Embedded types are
// dissolved at the end, when all fields are known.
class SchemaParser {
 public:
  explicit SchemaParser(Schema& into) : s_(into) {
    static constexpr std::pair<std::string_view, Form> scalars[] = {
        {"string", Form::string}, {"bytes", Form::bytes}, {"Time", Form::time}, {"MicroTime", Form::micro_time},
        {"Duration", Form::duration}, {"Quantity", Form::quantity}, {"bool", Form::boolean}, {"int32", Form::int32},
        {"int64", Form::int64}, {"float64", Form::float64}, {"IntOrString", Form::int_or_string}, {"JSON", Form::any},
        {"RawExtension", Form::raw_extension}, {"JSONSchemaPropsOrArray", Form::json_or_union},
        {"JSONSchemaPropsOrBool", Form::json_or_union}, {"JSONSchemaPropsOrStringArray", Form::json_or_union}};
    for (auto [name, form] : scalars) {
      Type& t = s_.types_.emplace_back();
      t.form = form;
      t.name = name;
      names_[std::string(name)] = &t;
    }
  }

  void declare(std::string_view text) {
    each_line(text, [&](const Line& line) {
      if (line.indented) return;
      auto& w = line.words;
      if (w[0] == "group") {
        group(w);
        return;
      }
      Type& t = s_.types_.emplace_back();
      t.name = w[1];
      t.package = packages_.back();
      t.doc = line.doc;
      names_[label_ + "." + t.name] = &t;
      if (w[0] == "enum") {
        t.form = Form::string;
        for (size_t i = 2; i < w.size(); ++i) t.values.push_back(unquoted(w[i]));
        return;
      }
      t.form = Form::object;
      s_.by_name_[packages_.back() + "." + t.name] = &t;
      if (w[0] == "kind") kind(t, w);
      for (std::string_view word : w) {
        if (word == "atomic") t.atomic = true;
      }
    });
  }

  void define(std::string_view text) {
    Type* current = nullptr;
    each_line(text, [&](const Line& line) {
      auto& w = line.words;
      if (!line.indented) {
        if (w[0] == "group") group(w);
        else current = names_.at(label_ + "." + std::string(w[1]));
        return;
      }
      Field& f = current->fields.emplace_back();
      f.name = w[0];
      f.doc = line.doc;
      Type* type = find(w[1]);
      std::from_chars(w[2].data(), w[2].data() + w[2].size(), f.number);
      Constraint constraint;
      bool constrained = false;
      for (size_t i = 3; i < w.size(); ++i) constrained |= attribute(f, type, constraint, w[i]);
      if (constrained) f.constraint = &s_.constraints_.emplace_back(constraint);
      f.type = type;
    });
  }

  void finish() {
    for (size_t i = 0; i < s_.types_.size(); ++i) flatten(s_.types_[i]);
    const Type* list_meta = names_.at("meta.ListMeta");
    size_t n = s_.kinds_.size();
    for (size_t i = 0; i < n; ++i) {
      Kind& k = s_.kinds_[i];
      s_.by_kind_[k.group + "/" + k.version + "/" + k.kind] = &k;
      if (k.plural.empty()) continue;
      s_.by_resource_[k.group + "/" + k.version + "/" + k.plural] = &k;
      if (!k.is_virtual) add_list(k, list_meta);
    }
  }

 private:
  template <class F>
  static void each_line(std::string_view text, F f) {
    while (!text.empty()) {
      size_t end = text.find('\n');
      Line line(text.substr(0, end));
      if (!line.words.empty()) f(line);
      text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
    }
  }

  void group(const std::vector<std::string_view>& w) {
    group_ = unquoted(w[1]);
    version_ = w[2];
    label_ = w[3];
    std::string package = package_of(group_, version_);
    for (std::string& known : packages_) {
      if (known == package) return;
    }
    packages_.push_back(std::move(package));
  }

  void kind(Type& t, const std::vector<std::string_view>& w) {
    t.has_kind = true;
    Kind& k = s_.kinds_.emplace_back();
    k.group = group_ == "meta" ? std::string_view() : group_;
    k.version = version_;
    k.kind = w[1];
    k.type = &t;
    if (w[2] != "-") {
      k.plural = w[2];
      for (char c : k.kind) k.singular += c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
      k.list_kind = k.kind + "List";
    }
    k.namespaced = w[3] == "namespaced";
    for (size_t i = 4; i < w.size(); ++i) {
      if (w[i] == "virtual") k.is_virtual = true;
      else if (w[i].starts_with("short=")) k.short_names = split(w[i].substr(6), ',');
      else if (w[i].starts_with("categories=")) k.categories = split(w[i].substr(11), ',');
    }
  }

  Type* find(std::string_view name) {
    if (name.front() == '[' || name.front() == '{') {
      bool list = name.front() == '[';
      std::string_view inner = name.substr(1, name.size() - 2);
      Type* element = find(list ? inner : inner.substr(inner.find(':') + 1));
      Type& t = s_.types_.emplace_back();
      t.form = list ? Form::list : Form::map;
      t.element = element;
      return &t;
    }
    std::string key(name);
    if (auto it = names_.find(key); it != names_.end()) return it->second;
    return names_.at(label_ + "." + key);
  }

  static int64_t whole(std::string_view text) {
    int64_t n = 0;
    std::from_chars(text.data(), text.data() + text.size(), n);
    return n;
  }

  // True when the word was a constraint.
  bool constrain(Constraint& c, std::string_view name, std::string_view value) {
    if (name == "min") c.min = whole(value);
    else if (name == "above") c.min = whole(value) + 1, c.above = true;
    else if (name == "range") c.min = whole(value), c.max = whole(value.substr(value.find("..") + 2));
    else if (name == "maxlength") c.max_length = static_cast<uint32_t>(whole(value));
    else if (name == "maxitems") c.max_items = static_cast<uint32_t>(whole(value));
    else if (name == "format") c.format = value;
    else if (name == "values") c.values = value;
    else if (name == "unique") c.unique = value.empty() ? "." : value;
    else if (name == "why") c.why = unquoted(value);
    else if (name == "says") c.says = unquoted(value);
    else if (name == "emptyok") c.empty_ok = true;
    else if (name == "open") c.open = true;
    else return false;
    return true;
  }

  bool attribute(Field& f, Type*& type, Constraint& constraint, std::string_view word) {
    size_t eq = word.find('=');
    std::string_view name = word.substr(0, eq), value = eq == std::string_view::npos ? std::string_view() : word.substr(eq + 1);
    if (name == "required") f.required = true;
    else if (name == "omitzero") f.omit_zero = true;
    else if (name == "keepempty") f.keep_empty = true;
    else if (name == "immutable") f.immutable = true;
    else if (name == "default") f.default_value = default_of(*type, unquoted(value));
    else if (name == "list") list(*type, value);
    else if (name == "patch") patch(type, value);
    else if (name == "wrapped") f.embedded[0] = f.number, f.number = 1;
    else if (name == "struct") type = copy(*type, value == "atomic");
    else return constrain(constraint, name, value);
    return false;
  }

  // A named type with another ownership rule at one place.
  Type* copy(const Type& of, bool atomic) {
    Type& t = s_.types_.emplace_back(of);
    t.atomic = atomic;
    copies_.emplace_back(&t, &of);
    return &t;
  }

  void list(Type& t, std::string_view value) {
    if (t.form == Form::map) {
      t.atomic = value == "atomic";
      return;
    }
    if (t.form != Form::list) return;  // bytes
    if (value == "set") t.list = ListKind::set;
    if (value.starts_with("map:")) {
      t.list = ListKind::map;
      t.keys = split(value.substr(4), ',');
    }
  }

  void patch(Type*& type, std::string_view value) {
    size_t colon = value.find(':');
    if (type->form == Form::object) type = copy(*type, type->atomic);
    type->patch = patch_strategy(value.substr(0, colon));
    if (colon != std::string_view::npos) type->patch_key = value.substr(colon + 1);
  }

  static base::json::value default_of(const Type& t, std::string_view text) {
    switch (t.form) {
      case Form::boolean: return text == "true";
      case Form::int32:
      case Form::int64: {
        return whole(text);
      }
      case Form::object:
      case Form::map: return base::json::object();
      case Form::list: {
        base::json::array a;
        for (const std::string& s : split(text.substr(1, text.size() - 2), ',')) a.emplace_back(s);
        return a;
      }
      default: return base::json::value(base::json::string_view(text.data(), text.size()));
    }
  }

  // Replaces "+" fields by those of the embedded type.
  void flatten(Type& t) {
    for (auto& [to, from] : copies_) {
      if (to == &t) {
        flatten(const_cast<Type&>(*from));
        t.fields = from->fields;
        return;
      }
    }
    bool embeds = false;
    for (const Field& f : t.fields) embeds |= f.name == "+";
    if (!embeds) return;
    std::vector<Field> out;
    for (Field& f : t.fields) {
      if (f.name != "+") {
        out.push_back(std::move(f));
        continue;
      }
      flatten(const_cast<Type&>(*f.type));
      for (Field inner : f.type->fields) {
        for (size_t i = inner.embedded.size() - 1; i > 0; --i) inner.embedded[i] = inner.embedded[i - 1];
        inner.embedded[0] = f.number;
        out.push_back(std::move(inner));
      }
    }
    t.fields = std::move(out);
  }

  void add_list(const Kind& k, const Type* list_meta) {
    Type& items = s_.types_.emplace_back();
    items.form = Form::list;
    items.element = k.type;
    Type& t = s_.types_.emplace_back();
    t.form = Form::object;
    t.name = k.list_kind;
    t.package = k.type->package;
    t.has_kind = true;
    Field& metadata = t.fields.emplace_back();
    metadata.name = "metadata";
    metadata.type = list_meta;
    metadata.number = 1;
    Field& f = t.fields.emplace_back();
    f.name = "items";
    f.type = &items;
    f.number = 2;
    f.required = true;
    s_.by_name_[std::string(t.package) + "." + t.name] = &t;
    Kind& list = s_.kinds_.emplace_back();
    list.group = k.group;
    list.version = k.version;
    list.kind = k.list_kind;
    list.namespaced = k.namespaced;
    list.type = &t;
    s_.by_kind_[list.group + "/" + list.version + "/" + list.kind] = &list;
  }

  Schema& s_;
  std::unordered_map<std::string, Type*> names_;
  std::vector<std::pair<Type*, const Type*>> copies_;
  static inline std::deque<std::string> packages_;  // outlives the types that refer to it
  std::string group_, version_, label_;
};

const Field* Type::field(std::string_view field_name) const {
  for (const Field& f : fields) {
    if (f.name == field_name) return &f;
  }
  return nullptr;
}

Schema::Schema() = default;
Schema::~Schema() = default;

const Schema& Schema::builtin() {
  static const Schema& schema = [] -> const Schema& {
    auto* s = new Schema;  // lives as long as the process
    SchemaParser parser(*s);
    for (std::string_view text : schema_texts()) parser.declare(text);
    for (std::string_view text : schema_texts()) parser.define(text);
    parser.finish();
    return *s;
  }();
  return schema;
}

namespace {
template <class Map>
auto lookup(const Map& map, std::string_view a, std::string_view b, std::string_view c) -> typename Map::mapped_type {
  std::string key;
  key.reserve(a.size() + b.size() + c.size() + 2);
  key.append(a).append("/").append(b).append("/").append(c);
  auto it = map.find(key);
  return it == map.end() ? nullptr : it->second;
}
}  // namespace

const Kind* Schema::kind(std::string_view group, std::string_view version, std::string_view kind) const {
  return lookup(by_kind_, group, version, kind);
}

const Kind* Schema::kind(std::string_view api_version, std::string_view kind_name) const {
  auto [group, version] = split_api_version(api_version);
  return kind(group, version, kind_name);
}

const Kind* Schema::resource(std::string_view group, std::string_view version, std::string_view plural) const {
  return lookup(by_resource_, group, version, plural);
}

const Type* Schema::type(std::string_view package_and_name) const {
  auto it = by_name_.find(package_and_name);
  return it == by_name_.end() ? nullptr : it->second;
}

const Type& Schema::object_meta() {
  static const Type& t = *builtin().type("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta");
  return t;
}

const Type& Schema::list_meta() {
  static const Type& t = *builtin().type("io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta");
  return t;
}

std::pair<std::string_view, std::string_view> split_api_version(std::string_view api_version) {
  size_t slash = api_version.find('/');
  if (slash == std::string_view::npos) return {std::string_view(), api_version};
  return {api_version.substr(0, slash), api_version.substr(slash + 1)};
}

}  // namespace api
