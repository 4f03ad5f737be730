#include "api/protobuf.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <ctime>
#include <map>

#include "api/wire.h"
#include "base/bytes.h"
#include "base/time.h"

namespace api {
namespace {

namespace json = base::json;

constexpr std::string_view kMagic("k8s\0", 4);
constexpr int kMaxDepth = 64;

// Messages of one field, by the names they have in Kubernetes' definitions: Quantity.string, RawExtension.raw, JSON.raw, FieldsV1.Raw.
constexpr uint32_t kOnly = 1;

// "1h2m3.5s" as nanoseconds (Go's time.Duration).
int64_t parse_duration(std::string_view s) {
  bool negative = s.starts_with('-');
  if (negative) s.remove_prefix(1);
  double total = 0;
  while (!s.empty()) {
    double n = 0;
    auto [end, ec] = std::from_chars(s.data(), s.data() + s.size(), n);
    if (ec != std::errc()) return 0;
    s.remove_prefix(static_cast<size_t>(end - s.data()));
    static constexpr std::pair<std::string_view, double> units[] = {{"ns", 1},  {"us", 1e3}, {"ms", 1e6},
                                                                    {"s", 1e9}, {"m", 6e10}, {"h", 3.6e12}};
    double unit = 0;
    size_t length = 0;
    for (auto [name, factor] : units) {  // two letters come first
      if (unit != 0 || !s.starts_with(name)) continue;
      unit = factor;
      length = name.size();
    }
    if (unit == 0) return 0;
    s.remove_prefix(length);
    total += n * unit;
  }
  return static_cast<int64_t>(negative ? -total : total);
}

std::string duration_text(int64_t nanos) {
  if (nanos == 0) return "0s";
  std::string out = nanos < 0 ? "-" : "";
  if (nanos < 0) nanos = -nanos;
  int64_t seconds = nanos / 1'000'000'000, rest = nanos % 1'000'000'000;
  if (seconds == 0) return out + (rest % 1'000'000 == 0 ? fmt::format("{}ms", rest / 1'000'000) : fmt::format("{}ns", rest));
  if (seconds >= 3600) out += fmt::format("{}h", seconds / 3600);
  if (seconds >= 60) out += fmt::format("{}m", seconds / 60 % 60);
  std::string fraction = rest ? fmt::format(".{:09}", rest) : "";
  while (!fraction.empty() && fraction.back() == '0') fraction.pop_back();
  return out + fmt::format("{}{}s", seconds % 60, fraction);
}

const Type& schema_props() {
  static const Type& t = *Schema::builtin().type("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps");
  return t;
}

// ---- encoding ----

void put(std::string& out, uint32_t number, const Type& t, const json::value& v);

// The fields of a message at one level of embedding; embedded messages gather theirs in a message of their own.
void put_fields(std::string& out, const Type& t, const json::object& o, const std::vector<const Field*>& fields, size_t level) {
  std::map<uint16_t, std::vector<const Field*>> embedded;
  for (const Field* f : fields) {
    if (level < f->embedded.size() && f->embedded[level] != 0) {
      embedded[f->embedded[level]].push_back(f);
      continue;
    }
    const json::value* v = o.if_contains(f->name);
    if (f->number != 0 && v && !v->is_null()) put(out, f->number, *f->type, *v);
  }
  for (const auto& [number, inner] : embedded) {
    std::string message;
    put_fields(message, t, o, inner, level + 1);
    wire::bytes(out, number, message);
  }
}

std::string message_of(const Type& t, const json::object& o) {
  if (std::none_of(t.fields.begin(), t.fields.end(), [](const Field& f) { return f.embedded[0] != 0; })) {
    std::string out;
    for (const Field& f : t.fields) {
      const json::value* v = f.number != 0 ? o.if_contains(f.name) : nullptr;
      if (v && !v->is_null()) put(out, f.number, *f.type, *v);
    }
    return out;
  }
  std::vector<const Field*> fields;
  for (const Field& f : t.fields) fields.push_back(&f);
  std::string out;
  put_fields(out, t, o, fields, 0);
  return out;
}

void put_time(std::string& out, uint32_t number, std::string_view text) {
  std::string message;
  if (auto t = base::parse_moment(text)) {
    wire::integer(message, 1, t->seconds);
    wire::integer(message, 2, t->nanos);
  }
  wire::bytes(out, number, message);
}

void put_int_or_string(std::string& out, uint32_t number, const json::value& v) {
  std::string message;
  const json::string* s = v.if_string();
  wire::integer(message, 1, s ? 1 : 0);
  wire::integer(message, 2, s || !v.is_int64() ? 0 : v.get_int64());
  wire::bytes(message, 3, s ? std::string_view(*s) : std::string_view());
  wire::bytes(out, number, message);
}

void put_union(std::string& out, uint32_t number, const Type& t, const json::value& v) {
  std::string message;
  auto schema = [&](uint32_t n, const json::value& s) {
    if (const json::object* o = s.if_object()) wire::bytes(message, n, message_of(schema_props(), *o));
  };
  bool boolean = t.name == "JSONSchemaPropsOrBool";
  if (const bool* b = v.if_bool()) wire::integer(message, 1, *b);
  if (v.is_object()) {
    if (boolean) wire::integer(message, 1, 1);
    schema(boolean ? 2 : 1, v);
  }
  if (const json::array* a = v.if_array()) {
    for (const json::value& e : *a) {
      if (const json::string* s = e.if_string()) wire::bytes(message, 2, *s);
      else schema(2, e);
    }
  }
  wire::bytes(out, number, message);
}

void put(std::string& out, uint32_t number, const Type& t, const json::value& v) {
  switch (t.form) {
    case Form::string:
      if (const json::string* s = v.if_string()) wire::bytes(out, number, *s);
      return;
    case Form::bytes:
      if (const json::string* s = v.if_string()) {
        if (auto raw = base::base64_decode(*s)) wire::bytes(out, number, *raw);
      }
      return;
    case Form::time:
    case Form::micro_time:
      if (const json::string* s = v.if_string()) put_time(out, number, *s);
      return;
    case Form::duration:
      if (const json::string* s = v.if_string()) {
        std::string message;
        wire::integer(message, kOnly, parse_duration(*s));
        wire::bytes(out, number, message);
      }
      return;
    case Form::quantity: {
      std::string message;
      wire::bytes(message, kOnly, v.is_string() ? std::string(v.get_string()) : base::to_text(v));
      wire::bytes(out, number, message);
      return;
    }
    case Form::boolean:
      if (const bool* b = v.if_bool()) wire::integer(out, number, *b ? 1 : 0);
      return;
    case Form::int32:
    case Form::int64:
      if (const int64_t* n = v.if_int64()) wire::integer(out, number, *n);
      else if (const uint64_t* u = v.if_uint64()) wire::integer(out, number, static_cast<int64_t>(*u));
      return;
    case Form::float64:
      if (v.is_number()) wire::real(out, number, v.to_number<double>());
      return;
    case Form::int_or_string: return put_int_or_string(out, number, v);
    case Form::any:
    case Form::raw_extension: {
      std::string message;
      wire::bytes(message, kOnly, base::to_text(v));
      wire::bytes(out, number, message);
      return;
    }
    case Form::json_or_union: return put_union(out, number, t, v);
    case Form::object:
      if (const json::object* o = v.if_object()) wire::bytes(out, number, message_of(t, *o));
      return;
    case Form::list:
      if (const json::array* a = v.if_array()) {
        for (const json::value& e : *a) put(out, number, *t.element, e);
      }
      return;
    case Form::map:
      if (const json::object* o = v.if_object()) {
        for (const auto& [key, value] : *o) {
          std::string entry;
          wire::bytes(entry, 1, key);
          if (t.element->form == Form::list) {
            // A list cannot be the value of an entry: it stands in a message of its own (ExtraValue.items).
            std::string items;
            put(items, kOnly, *t.element, value);
            wire::bytes(entry, 2, items);
          } else {
            put(entry, 2, *t.element, value);
          }
          wire::bytes(out, number, entry);
        }
      }
      return;
  }
}

// ---- decoding ----

base::Failure malformed(std::string_view where) { return base::bad_request(fmt::format("proto: {}: malformed message", where)); }

class Decoder {
 public:
  base::Result<json::value> message(const Type& t, std::string_view in, int depth) {
    json::object o;
    CHECK_OK(fields(t, in, {}, 0, o, depth));
    return json::value(std::move(o));
  }

 private:
  using Embedding = std::array<uint16_t, 3>;

  static bool within(const Field& f, const Embedding& at, size_t level) {
    for (size_t i = 0; i < level; ++i) {
      if (f.embedded[i] != at[i]) return false;
    }
    return true;
  }

  // `at` holds the numbers of the embedded messages around.
  base::Result<> fields(const Type& t, std::string_view in, Embedding at, size_t level, json::object& o, int depth) {
    if (depth > kMaxDepth) return base::bad_request("proto: exceeded max depth");
    wire::Reader r(in);
    while (r.next()) {
      const Field* field = nullptr;
      bool embedded = false;
      for (const Field& f : t.fields) {
        if (!within(f, at, level)) continue;
        uint16_t outer = level < f.embedded.size() ? f.embedded[level] : uint16_t{0};
        if (outer == 0 && f.number == r.number) field = &f;
        if (outer != 0 && outer == r.number) embedded = true;
      }
      if (embedded) {
        if (r.type != 2) return malformed(t.name);
        Embedding inner = at;
        inner[level] = static_cast<uint16_t>(r.number);
        CHECK_OK(fields(t, r.data, inner, level + 1, o, depth + 1));
      } else if (field) {
        CHECK_OK(member(*field, r, o, depth));
      }
    }
    if (r.failed()) return malformed(t.name);
    return {};
  }

  base::Result<> member(const Field& f, const wire::Reader& r, json::object& o, int depth) {
    const Type& t = *f.type;
    if (t.form == Form::list) {
      json::value& list = o[f.name];
      if (!list.is_array()) list = json::array();
      TRY(json::value v, single(*t.element, r, depth));
      list.get_array().push_back(std::move(v));
      return {};
    }
    if (t.form == Form::map) {
      json::value& map = o[f.name];
      if (!map.is_object()) map = json::object();
      return entry(t, r, map.get_object(), depth);
    }
    TRY(json::value v, single(t, r, depth));
    if (v.is_null()) return {};
    if (!f.required) {
      bool zero = (v.is_bool() && !v.get_bool()) || (v.is_int64() && v.get_int64() == 0) || (v.is_double() && v.get_double() == 0);
      if (zero && f.omit_zero) return {};
      if (v.is_string() && v.get_string().empty() && !f.keep_empty) return {};
    }
    o[f.name] = std::move(v);
    return {};
  }

  base::Result<> entry(const Type& map, const wire::Reader& r, json::object& o, int depth) {
    if (r.type != 2) return malformed("map");
    wire::Reader e(r.data);
    std::string key;
    json::value v = empty(*map.element);
    while (e.next()) {
      if (e.number == 1 && e.type == 2) key = e.data;
      if (e.number != 2) continue;
      if (map.element->form == Form::list) {
        json::array items;
        wire::Reader inner(e.data);
        while (inner.next()) {
          if (inner.number != kOnly) continue;
          TRY(json::value item, single(*map.element->element, inner, depth + 1));
          items.push_back(std::move(item));
        }
        if (inner.failed()) return malformed("map");
        v = std::move(items);
      } else {
        TRY(v, single(*map.element, e, depth + 1));
      }
    }
    if (e.failed()) return malformed("map");
    o[key] = std::move(v);
    return {};
  }

  static json::value empty(const Type& t) {
    switch (t.form) {
      case Form::object:
      case Form::map: return json::object();
      case Form::list: return json::array();
      case Form::boolean: return false;
      case Form::int32:
      case Form::int64: return 0;
      case Form::any: return nullptr;
      default: return json::value("");
    }
  }

  base::Result<json::value> single(const Type& t, const wire::Reader& r, int depth) {
    bool scalar = t.form == Form::boolean || t.form == Form::int32 || t.form == Form::int64;
    if (scalar != (r.type == 0) && t.form != Form::float64) return malformed(t.name);
    switch (t.form) {
      case Form::string: return text(r.data);
      case Form::bytes: return json::value(base::base64_encode(r.data));
      case Form::boolean: return json::value(r.value != 0);
      case Form::int32: return json::value(static_cast<int64_t>(static_cast<int32_t>(r.value)));
      case Form::int64: return json::value(static_cast<int64_t>(r.value));
      case Form::float64:
        if (r.type != 1) return malformed("double");
        return json::value(r.real());
      case Form::time:
      case Form::micro_time:
      case Form::duration: return moment(t.form, r.data);
      case Form::quantity: return text(only(r.data));
      case Form::int_or_string: return int_or_string(r.data);
      case Form::any:
      case Form::raw_extension: {
        std::string_view raw = only(r.data);
        if (raw.empty()) return json::value();
        if (has_protobuf_envelope(raw)) return from_protobuf(raw);
        return base::parse_json(raw);
      }
      case Form::json_or_union: return schema_union(t, r.data, depth);
      case Form::object: return message(t, r.data, depth + 1);
      default: return malformed(t.name);
    }
  }

  static base::Result<json::value> text(std::string_view s) { return json::value(json::string_view(s.data(), s.size())); }

  static std::string_view only(std::string_view in) {
    wire::Reader r(in);
    std::string_view out;
    while (r.next()) {
      if (r.number == kOnly) out = r.data;
    }
    return out;
  }

  static base::Result<json::value> moment(Form form, std::string_view in) {
    wire::Reader r(in);
    int64_t first = 0, nanos = 0;
    while (r.next()) {
      if (r.number == 1) first = static_cast<int64_t>(r.value);
      if (r.number == 2) nanos = static_cast<int32_t>(r.value);
    }
    if (r.failed()) return malformed("time");
    if (form == Form::duration) return json::value(duration_text(first));
    if (in.empty()) return json::value();
    if (first > 253402300799 || first < -62135596800 || nanos < 0 || nanos > 999'999'999) return malformed("time");
    const base::Moment t{first, static_cast<int32_t>(nanos)};
    return json::value(form == Form::time ? base::rfc3339(t) : base::rfc3339_micro(t));
  }

  static base::Result<json::value> int_or_string(std::string_view in) {
    wire::Reader r(in);
    bool is_string = false;
    int64_t number = 0;
    std::string_view s;
    while (r.next()) {
      if (r.number == 1) is_string = r.value == 1;
      if (r.number == 2) number = static_cast<int32_t>(r.value);
      if (r.number == 3) s = r.data;
    }
    if (r.failed()) return malformed("IntOrString");
    if (is_string) return text(s);
    return json::value(number);
  }

  base::Result<json::value> schema_union(const Type& t, std::string_view in, int depth) {
    wire::Reader r(in);
    json::value out;
    bool allows = false;
    bool boolean = t.name == "JSONSchemaPropsOrBool";
    json::array list;
    while (r.next()) {
      if (boolean && r.number == 1) {
        allows = r.value != 0;
      } else if (r.number == (boolean ? 2u : 1u)) {
        TRY(out, message(schema_props(), r.data, depth + 1));
      } else if (r.number == 2) {
        if (t.name == "JSONSchemaPropsOrStringArray") {
          list.emplace_back(json::string_view(r.data.data(), r.data.size()));
        } else {
          TRY(json::value v, message(schema_props(), r.data, depth + 1));
          list.push_back(std::move(v));
        }
      }
    }
    if (r.failed()) return malformed(t.name);
    if (!out.is_null()) return out;
    if (boolean) return json::value(allows);
    return json::value(std::move(list));
  }
};

// Kinds that every group has: DeleteOptions of apps/v1 is the one of v1.
const Kind* find_kind(std::string_view api_version, std::string_view name) {
  const Schema& s = Schema::builtin();
  if (const Kind* k = s.kind(api_version, name)) return k;
  const Kind* k = s.kind("", "v1", name);
  return k && k->type->package.ends_with("meta.v1") ? k : nullptr;
}

// Empty content encoding and type.
constexpr std::string_view kEnvelopeTail("\x1a\x00\x22\x00", 4);

// What stands before an object of so many bytes.
std::string envelope_head(std::string_view api_version, std::string_view kind, size_t size) {
  std::string meta, out(kMagic);
  wire::bytes(meta, 1, api_version);
  wire::bytes(meta, 2, kind);
  wire::bytes(out, 1, meta);
  wire::tag(out, 2, 2);
  wire::varint(out, size);
  return out;
}

std::string envelope(std::string_view api_version, std::string_view kind, std::string_view raw) {
  std::string out = envelope_head(api_version, kind, raw.size());
  out.reserve(out.size() + raw.size() + kEnvelopeTail.size());
  return out.append(raw).append(kEnvelopeTail);
}

}  // namespace

bool has_protobuf_envelope(std::string_view body) { return body.starts_with(kMagic); }

base::Result<json::value> from_protobuf(std::string_view body) {
  if (!has_protobuf_envelope(body))
    return base::bad_request("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]");
  wire::Reader r(body.substr(kMagic.size()));
  std::string_view meta, raw;
  while (r.next()) {
    if (r.number == 1) meta = r.data;
    if (r.number == 2) raw = r.data;
    if (r.number == 3 && !r.data.empty()) return base::unsupported("unsupported content encoding in protobuf envelope");
  }
  if (r.failed()) return malformed("runtime.Unknown");
  std::string_view api_version, kind_name;
  wire::Reader m(meta);
  while (m.next()) {
    if (m.number == 1) api_version = m.data;
    if (m.number == 2) kind_name = m.data;
  }
  const Kind* kind = find_kind(api_version, kind_name);
  if (!kind)
    return base::unsupported(fmt::format("no kind \"{}\" is registered for version \"{}\" in protobuf form", kind_name, api_version));
  TRY(json::value body_value, Decoder().message(*kind->type, raw, 0));
  json::object out{{"apiVersion", json::string_view(api_version.data(), api_version.size())},
                   {"kind", json::string_view(kind_name.data(), kind_name.size())}};
  for (auto& [key, value] : body_value.get_object()) out[key] = std::move(value);
  return json::value(std::move(out));
}

base::Result<json::value> from_protobuf_message(const Type& type, std::string_view body) { return Decoder().message(type, body, 0); }

base::Result<std::string> to_protobuf(const json::value& object) {
  std::string_view api_version = base::get_string(object, "apiVersion"), kind_name = base::get_string(object, "kind");
  const Kind* kind = find_kind(api_version, kind_name);
  if (!kind || kind_name == "Table" || !object.is_object()) {
    return base::fail(406, "NotAcceptable", fmt::format("{} {} has no protobuf form", api_version, kind_name));
  }
  return envelope(api_version, kind_name, message_of(*kind->type, object.get_object()));
}

base::Result<ProtobufList> ProtobufList::begin(std::string api_version, std::string list_kind, const json::value& metadata) {
  const Kind* kind = find_kind(api_version, list_kind);
  const Field* items = kind ? kind->type->field("items") : nullptr;
  if (!items || items->number == 0 || !items->type->element) {
    return base::fail(406, "NotAcceptable", fmt::format("{} {} has no protobuf form", api_version, list_kind));
  }
  ProtobufList out;
  out.element_ = items->type->element;
  out.number_ = items->number;
  out.metadata_ = message_of(*kind->type, json::object{{"metadata", metadata}});
  out.api_version_ = std::move(api_version);
  out.kind_ = std::move(list_kind);
  return out;
}

std::string ProtobufList::item(const json::value& object) const {
  std::string out;
  if (!object.is_object()) return out;
  std::string message = message_of(*element_, object.get_object());
  out.reserve(message.size() + 8);
  wire::bytes(out, number_, message);
  return out;
}

std::string ProtobufList::head(size_t items) const { return envelope_head(api_version_, kind_, metadata_.size() + items) + metadata_; }

std::string_view ProtobufList::tail() { return kEnvelopeTail; }

std::string to_protobuf_message(const Type& type, const json::value& object) {
  return object.is_object() ? message_of(type, object.get_object()) : std::string();
}

std::string protobuf_watch_frame(std::string_view event_type, std::string_view enveloped_object) {
  std::string raw, event;
  wire::bytes(raw, kOnly, enveloped_object);
  wire::bytes(event, 1, event_type);
  wire::bytes(event, 2, raw);
  std::string out;
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(event.size() >> shift);
  return out + event;
}

}  // namespace api
