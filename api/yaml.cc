#include "api/yaml.h"

#include <fmt/format.h>
#include <yaml-cpp/anchor.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <istream>
#include <map>
#include <streambuf>

#include "base/utf8.h"

namespace api {
namespace {

namespace json = base::json;

constexpr size_t kMaxDepth = 64;
constexpr size_t kFreeNodes = 100'000;

bool one_of(std::string_view s, std::initializer_list<std::string_view> list) {
  return std::find(list.begin(), list.end(), s) != list.end();
}

bool parse_integer(std::string_view text, json::value& out) {
  std::string s;
  for (char c : text) {
    if (c != '_') s += c;
  }
  std::string_view digits = s;
  bool negative = false;
  if (!digits.empty() && (digits[0] == '-' || digits[0] == '+')) {
    negative = digits[0] == '-';
    digits.remove_prefix(1);
  }
  int base = 10;
  if (digits.size() > 2 && digits[0] == '0' && (digits[1] == 'x' || digits[1] == 'X')) base = 16;
  else if (digits.size() > 2 && digits[0] == '0' && (digits[1] == 'o' || digits[1] == 'O')) base = 8;
  else if (digits.size() > 2 && digits[0] == '0' && (digits[1] == 'b' || digits[1] == 'B')) base = 2;
  if (base != 10) digits.remove_prefix(2);
  else if (digits.size() > 1 && digits[0] == '0') base = 8;  // YAML 1.1: file modes are written so
  if (digits.empty() || digits[0] == '-' || digits[0] == '+') return false;
  uint64_t n = 0;
  auto [end, ec] = std::from_chars(digits.data(), digits.data() + digits.size(), n, base);
  if (ec != std::errc() || end != digits.data() + digits.size()) return false;
  if (negative) {
    if (n > static_cast<uint64_t>(INT64_MAX) + 1) return false;
    out = static_cast<int64_t>(0 - n);
  } else if (n <= INT64_MAX) {
    out = static_cast<int64_t>(n);
  } else {
    out = n;
  }
  return true;
}

bool parse_float(std::string_view text, json::value& out) {
  std::string_view s = text;
  if (!s.empty() && s[0] == '+') s.remove_prefix(1);
  bool digit = false;
  for (char c : s) {
    if (c >= '0' && c <= '9') digit = true;
    else if (c != '.' && c != 'e' && c != 'E' && c != '-' && c != '+') return false;
  }
  if (!digit || s[0] == 'e' || s[0] == 'E') return false;
  std::string padded(s);
  if (size_t dot = padded.find('.'); dot == 0 || (dot == 1 && padded[0] == '-')) padded.insert(dot, "0");
  double d = 0;
  auto [end, ec] = std::from_chars(padded.data(), padded.data() + padded.size(), d);
  if (ec != std::errc() || end != padded.data() + padded.size() || !std::isfinite(d)) return false;
  out = d;
  return true;
}

// What a plain scalar means.
json::value resolve(std::string_view s) {
  if (one_of(s, {"", "~", "null", "Null", "NULL"})) return nullptr;
  if (one_of(s, {"true", "True", "TRUE", "y", "Y", "yes", "Yes", "YES", "on", "On", "ON"})) return true;
  if (one_of(s, {"false", "False", "FALSE", "n", "N", "no", "No", "NO", "off", "Off", "OFF"})) return false;
  char c = s[0];
  if ((c >= '0' && c <= '9') || c == '-' || c == '+' || c == '.') {
    json::value v;
    if (parse_integer(s, v) || parse_float(s, v)) return v;
  }
  return json::value(json::string_view(s.data(), s.size()));
}

std::string key_text(const json::value& v) {
  if (v.is_string()) return std::string(v.get_string());
  if (v.is_null()) return "null";
  if (const double* d = v.if_double()) return fmt::format("{}", *d);
  return base::to_text(v);
}

// yaml-cpp turns the escapes \N and \_ into the bytes 85 and A0 instead of U+0085 and U+00A0; nothing else of a valid text is no UTF-8.
std::string mended(const std::string& s) {
  std::string out;
  for (std::string_view rest = s; !rest.empty();) {
    size_t n = 1;
    while (n < 4 && n <= rest.size() && !base::is_utf8(rest.substr(0, n))) ++n;
    if (n <= rest.size() && base::is_utf8(rest.substr(0, n))) {
      out += rest.substr(0, n);
    } else {
      n = 1;
      out += '\xc2';
      out += rest[0];
    }
    rest.remove_prefix(n);
  }
  return out;
}

struct Refused {
  std::string message;
};

// Builds the DOM from events, so that limits hold while the text is read.
class Builder final : public YAML::EventHandler {
 public:
  Builder(size_t text_size, std::vector<std::string>* problems) : problems_(problems), budget_(std::max(kFreeNodes, text_size * 10)) {}

  void OnDocumentStart(const YAML::Mark& mark) override { start_ = mark; }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark&, YAML::anchor_t anchor) override { put(nullptr, anchor); }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    auto it = anchors_.find(anchor);
    if (it == anchors_.end()) throw Refused{fmt::format("yaml: line {}: alias to an anchor that is not complete", mark.line + 1)};
    charge(it->second.second);
    put(it->second.first, 0);
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, const std::string& value) override {
    line_ = mark.line + 1;
    if (tag == "?") {
      plain_ = true;
      put(resolve(value), anchor);
    } else if (tag == "tag:yaml.org,2002:int" || tag == "tag:yaml.org,2002:float" || tag == "tag:yaml.org,2002:bool") {
      put(resolve(value), anchor);
    } else {
      put(json::value(base::is_utf8(value) ? value : mended(value)), anchor);
    }
    plain_ = false;
  }
  void OnSequenceStart(const YAML::Mark&, const std::string&, YAML::anchor_t anchor, YAML::EmitterStyle::value) override {
    open(json::array(), anchor);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark&, const std::string&, YAML::anchor_t anchor, YAML::EmitterStyle::value) override {
    open(json::object(), anchor);
  }
  void OnMapEnd() override { close(); }

  json::value take() { return std::move(root_); }
  const YAML::Mark& start() const { return start_; }
  bool any() const { return any_; }

 private:
  struct Level {
    json::value value;
    YAML::anchor_t anchor;
    size_t nodes_before;
    std::string key;
    bool have_key = false;
    bool merge_key = false;
    std::vector<json::value> merged;
  };

  void charge(size_t nodes) {
    nodes_ += nodes;
    if (nodes_ > budget_) throw Refused{"yaml: document contains excessive aliasing"};
  }

  void open(json::value v, YAML::anchor_t anchor) {
    if (levels_.size() >= kMaxDepth) throw Refused{"yaml: exceeded max depth of 64"};
    levels_.push_back({std::move(v), anchor, nodes_, {}, false, false, {}});
    charge(1);
  }

  void close() {
    Level level = std::move(levels_.back());
    levels_.pop_back();
    if (json::object* o = level.value.if_object()) {
      // "<<": what is merged in does not replace what stands here.
      for (json::value& m : level.merged) {
        for (auto& [key, value] : m.get_object()) {
          if (!o->contains(key)) (*o)[key] = value;
        }
      }
    }
    size_t size = nodes_ - level.nodes_before;
    if (level.anchor) anchors_[level.anchor] = {level.value, size};
    place(std::move(level.value), false);
  }

  void put(json::value v, YAML::anchor_t anchor) {
    charge(1);
    if (anchor) anchors_[anchor] = {v, 1};
    place(std::move(v), plain_);
  }

  void place(json::value v, bool plain) {
    if (levels_.empty()) {
      root_ = std::move(v);
      any_ = true;
      return;
    }
    Level& level = levels_.back();
    if (json::array* a = level.value.if_array()) {
      a->push_back(std::move(v));
    } else if (!level.have_key) {
      if (v.is_structured()) throw Refused{"yaml: invalid map key"};
      level.key = key_text(v);
      level.merge_key = plain && level.key == "<<";
      if (problems_ && !level.merge_key && level.value.get_object().contains(level.key))
        problems_->push_back(fmt::format("line {}: key \"{}\" already set in map", line_, level.key));
      level.have_key = true;
    } else {
      if (level.merge_key) merge(level, std::move(v));
      else level.value.get_object()[level.key] = std::move(v);
      level.have_key = false;
    }
  }

  static void merge(Level& level, json::value v) {
    if (v.is_object()) {
      level.merged.push_back(std::move(v));
      return;
    }
    json::array* a = v.if_array();
    if (!a) throw Refused{"yaml: map merge requires map or sequence of maps as the value"};
    for (json::value& m : *a) {
      if (!m.is_object()) throw Refused{"yaml: map merge requires map or sequence of maps as the value"};
      level.merged.push_back(std::move(m));
    }
  }

  std::vector<std::string>* problems_;
  YAML::Mark start_ = YAML::Mark::null_mark();
  int line_ = 0;
  const size_t budget_;
  size_t nodes_ = 0;
  bool plain_ = false, any_ = false;
  json::value root_;
  std::vector<Level> levels_;
  std::map<YAML::anchor_t, std::pair<json::value, size_t>> anchors_;
};

// A stream over a view, without a copy.
class ViewBuffer final : public std::streambuf {
 public:
  explicit ViewBuffer(std::string_view s) {
    char* p = const_cast<char*>(s.data());  // only ever read
    setg(p, p, p + s.size());
  }
};

base::Result<std::vector<json::value>> parse_stream(std::string_view text, bool first_only, std::vector<std::string>* problems = nullptr) {
  std::vector<json::value> out;
  if (!base::is_utf8(text)) return base::bad_request("yaml: invalid UTF-8");
  // With NUL the parser would take it for UTF-16 or UTF-32.
  constexpr auto control = [](char c) {
    return (static_cast<unsigned char>(c) < 0x20 && c != '\t' && c != '\n' && c != '\r') || c == 0x7f;
  };
  if (std::any_of(text.begin(), text.end(), control)) return base::bad_request("yaml: control characters are not allowed");
  try {
    ViewBuffer buffer(text);
    std::istream stream(&buffer);
    YAML::Parser parser(stream);
    int last = -1;
    for (;;) {
      Builder builder(text.size(), problems);
      if (!parser.HandleNextDocument(builder)) break;
      // At a token that begins no node the parser stays where it is, for ever.
      if (builder.start().pos == last)
        throw Refused{fmt::format("yaml: line {}: did not find expected node content", builder.start().line + 1)};
      last = builder.start().pos;
      json::value v = builder.take();
      if (!v.is_null()) out.push_back(std::move(v));
      if (first_only && !out.empty()) break;
    }
  } catch (const Refused& e) {
    return base::bad_request(e.message);
  } catch (const YAML::Exception& e) {
    return base::bad_request(fmt::format("yaml: line {}: {}", e.mark.line + 1, e.msg));
  }
  return out;
}

// ---- writing ----

// What YAML takes for line breaks or no text beyond ASCII (YAML 1.1, 4.2 and 5.1), and how it is escaped.
constexpr std::pair<std::string_view, std::string_view> kBreaks[] = {
    {"\xc2\x85", "\\N"}, {"\xe2\x80\xa8", "\\L"}, {"\xe2\x80\xa9", "\\P"}, {"\xef\xbb\xbf", "\\uFEFF"}};

bool has_break(std::string_view s) {
  return std::any_of(std::begin(kBreaks), std::end(kBreaks), [&](const auto& b) { return s.find(b.first) != s.npos; });
}

bool plain_is_safe(std::string_view s) {
  if (s.empty() || has_break(s) || !resolve(s).is_string()) return false;
  if (s == "=" || s == "<<" || s.starts_with("...")) return false;
  char first = s[0];
  if (std::string_view("!&*-?:,[]{}#|>@`\"'% ").find(first) != std::string_view::npos) {
    bool word = (first == '-' || first == '?' || first == ':') && s.size() > 1 && s[1] != ' ' && !s.starts_with("---");
    if (!word) return false;
  }
  if (s.back() == ' ' || s.back() == ':') return false;
  for (size_t i = 0; i < s.size(); ++i) {
    auto c = static_cast<unsigned char>(s[i]);
    if (c < 0x20 || c == 0x7f) return false;
    if (c == ':' && i + 1 < s.size() && s[i + 1] == ' ') return false;
    if (c == '#' && i > 0 && s[i - 1] == ' ') return false;
  }
  // Dates would be read as timestamps.
  return !(s.size() >= 10 && s[4] == '-' && s[7] == '-' && s[0] >= '0' && s[0] <= '9');
}

void double_quoted(std::string& out, std::string_view s) {
  std::string text = base::to_text(json::value(json::string_view(s.data(), s.size())));
  for (const auto& [bytes, escape] : kBreaks)
    for (size_t at = 0; (at = text.find(bytes, at)) != text.npos; at += escape.size()) text.replace(at, bytes.size(), escape);
  out += text;
}

class Writer {
 public:
  explicit Writer(bool sorted) : sorted_(sorted) {}

  void value(const json::value& v, size_t indent, bool in_list) {
    if (const json::object* o = v.if_object()) {
      if (o->empty()) {
        out += " {}\n";
        return;
      }
      if (!in_list) out += '\n';
      object(*o, indent, in_list);
    } else if (const json::array* a = v.if_array()) {
      if (a->empty()) {
        out += " []\n";
        return;
      }
      if (!in_list) out += '\n';
      array(*a, indent, in_list);
    } else {
      out += ' ';
      scalar(v, indent);
      out += '\n';
    }
  }

  void object(const json::object& o, size_t indent, bool first_inline) {
    std::vector<const json::key_value_pair*> members;
    for (const auto& m : o) members.push_back(&m);
    if (sorted_) std::sort(members.begin(), members.end(), [](auto* a, auto* b) { return a->key() < b->key(); });
    for (const auto* m : members) {
      if (first_inline) out += ' ';
      else out.append(indent, ' ');
      first_inline = false;
      key(m->key());
      out += ':';
      // Lists stand at the indentation of their key.
      value(m->value(), m->value().is_array() ? indent : indent + 2, false);
    }
  }

  void array(const json::array& a, size_t indent, bool first_inline) {
    for (const json::value& v : a) {
      if (first_inline) out += ' ';
      else out.append(indent, ' ');
      first_inline = false;
      out += '-';
      value(v, indent + 2, true);
    }
  }

  void key(std::string_view s) {
    if (plain_is_safe(s)) out += s;
    else double_quoted(out, s);
  }

  void scalar(const json::value& v, size_t indent) {
    if (!v.is_string()) {
      if (const double* d = v.if_double()) out += fmt::format("{}", *d);
      else out += base::to_text(v);
      return;
    }
    std::string_view s = v.get_string();
    if (plain_is_safe(s)) {
      out += s;
    } else if (s.find('\n') != std::string_view::npos && block_is_safe(s)) {
      block(s, indent);
    } else if (!s.empty() && resolve(s).is_string() && printable(s)) {
      out += '\'';
      for (char c : s) {
        if (c == '\'') out += '\'';
        out += c;
      }
      out += '\'';
    } else {
      double_quoted(out, s);
    }
  }

  std::string out;

 private:
  static bool printable(std::string_view s) {
    return !has_break(s) && std::all_of(s.begin(), s.end(), [](char c) { return static_cast<unsigned char>(c) >= 0x20 && c != 0x7f; });
  }
  static bool block_is_safe(std::string_view s) {
    if (has_break(s) || s[0] == ' ' || s[0] == '\n' || s.find(" \n") != std::string_view::npos) return false;
    return std::all_of(s.begin(), s.end(), [](char c) { return static_cast<unsigned char>(c) >= 0x20 || c == '\n' || c == '\t'; }) &&
           s[0] != '\t';
  }
  void block(std::string_view s, size_t indent) {
    if (indent == 0) indent = 2;
    out += '|';
    bool ends = s.ends_with('\n');
    if (!ends) out += '-';
    else if (s.ends_with("\n\n")) out += '+';
    if (ends) s.remove_suffix(1);
    while (true) {
      size_t end = s.find('\n');
      std::string_view line = s.substr(0, end);
      out += '\n';
      if (!line.empty()) out.append(indent, ' ').append(line);
      if (end == std::string_view::npos) break;
      s.remove_prefix(end + 1);
    }
  }
  bool sorted_;
};

}  // namespace

base::Result<json::value> parse_yaml(std::string_view text) {
  TRY(auto documents, parse_stream(text, true));
  if (documents.empty()) return json::value();
  return std::move(documents[0]);
}

base::Result<json::value> parse_yaml_strictly(std::string_view text, std::vector<std::string>& problems) {
  TRY(auto documents, parse_stream(text, true, &problems));
  if (documents.empty()) return json::value();
  return std::move(documents[0]);
}

base::Result<std::vector<json::value>> parse_yaml_documents(std::string_view text) {
  size_t start = text.find_first_not_of(" \t\r\n");
  if (start == std::string_view::npos || text[start] != '{') return parse_stream(text, false);
  // Concatenated JSON, or one flow mapping that YAML reads as well.
  if (auto one = base::parse_json(text)) return std::vector<json::value>{std::move(*one)};
  std::vector<json::value> out;
  size_t depth = 0, begin = start;
  bool quoted = false;
  for (size_t i = start; i < text.size(); ++i) {
    char c = text[i];
    if (quoted) {
      if (c == '\\') ++i;
      else if (c == '"') quoted = false;
    } else if (c == '"') {
      quoted = true;
    } else if (c == '{') {
      if (depth++ == 0) begin = i;
    } else if (c == '}' && depth > 0 && --depth == 0) {
      auto v = base::parse_json(text.substr(begin, i + 1 - begin));
      if (!v) return parse_stream(text, false);
      out.push_back(std::move(*v));
    }
  }
  return out;
}

std::string to_yaml(const json::value& v, bool sorted) {
  Writer w(sorted);
  if (v.is_object() && !v.get_object().empty()) w.object(v.get_object(), 0, false);
  else if (v.is_array() && !v.get_array().empty()) w.array(v.get_array(), 0, false);
  else {
    w.value(v, 0, true);
    w.out.erase(0, 1);
  }
  return std::move(w.out);
}

}  // namespace api
