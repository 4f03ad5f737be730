#include "server/apiserver/http/negotiation.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <string>
#include <vector>

#include <boost/json/serialize.hpp>
#include <fmt/format.h>

namespace server {
namespace {

struct MediaRange {
  std::string type;  // lower case
  std::map<std::string, std::string> parameters;
  std::string_view of(const char* name) const {
    auto it = parameters.find(name);
    return it == parameters.end() ? std::string_view() : std::string_view(it->second);
  }
};

std::string_view trim(std::string_view s) {
  while (!s.empty() && (s.front() == ' ' || s.front() == '\t')) s.remove_prefix(1);
  while (!s.empty() && (s.back() == ' ' || s.back() == '\t')) s.remove_suffix(1);
  return s;
}

MediaRange parse_range(std::string_view text) {
  MediaRange out;
  size_t semicolon = text.find(';');
  out.type = trim(text.substr(0, semicolon));
  for (char& c : out.type) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  while (semicolon != text.npos) {
    text.remove_prefix(semicolon + 1);
    semicolon = text.find(';');
    std::string_view one = trim(text.substr(0, semicolon));
    size_t equal = one.find('=');
    if (equal != one.npos) out.parameters[std::string(one.substr(0, equal))] = one.substr(equal + 1);
  }
  return out;
}

// Thousandths, as RFC 9110 allows three digits.
int quality(const MediaRange& range) {
  std::string_view q = range.of("q");
  if (q.empty()) return 1000;
  double value = 1;
  std::from_chars(q.data(), q.data() + q.size(), value);
  return static_cast<int>(std::clamp(value, 0.0, 1.0) * 1000);
}

// What is accepted, the most wanted first.
std::vector<MediaRange> ranges(std::string_view accept) {
  std::vector<MediaRange> out;
  while (!accept.empty()) {
    size_t comma = accept.find(',');
    MediaRange range = parse_range(accept.substr(0, comma));
    if (int q = quality(range); q > 0)
      out.insert(std::find_if(out.begin(), out.end(), [q](const MediaRange& other) { return quality(other) < q; }), std::move(range));
    if (comma == accept.npos) break;
    accept.remove_prefix(comma + 1);
  }
  return out;
}

// Asked for, or read by a person: as Kubernetes tells it.
bool wants_pretty(const base::http::Request& request) {
  if (request.query.has("pretty")) return request.query.flag("pretty");
  std::string_view agent = request.headers.get("User-Agent");
  return agent.starts_with("curl") || agent.starts_with("Wget") || agent.starts_with("Mozilla/5.0");
}

// Sets the form a range stands for; false when the server has none.
bool take_range(const MediaRange& range, bool discovery, bool tables, OutputForm& form) {
  if (range.type == "application/json" || range.type == "*/*" || range.type == "application/*") form.encoding = OutputForm::Encoding::json;
  else if (range.type == "application/yaml") form.encoding = OutputForm::Encoding::yaml;
  else if (range.type == "application/vnd.kubernetes.protobuf") form.encoding = OutputForm::Encoding::protobuf;
  else return false;
  std::string_view as = range.of("as"), version = range.of("v");
  if (as.empty()) return true;
  if (as == "APIGroupDiscoveryList") return discovery && form.encoding == OutputForm::Encoding::json;
  const bool protobuf = form.encoding == OutputForm::Encoding::protobuf;
  if (range.of("g") != "meta.k8s.io" || (version != "v1" && version != "v1beta1")) return false;
  form.beta = version == "v1beta1";
  if (as == "Table" && tables && !protobuf) form.shape = OutputForm::Shape::table;
  else if ((as == "PartialObjectMetadata" || as == "PartialObjectMetadataList") && !(protobuf && form.beta))
    form.shape = OutputForm::Shape::partial;
  else return false;
  return true;
}

void pretty_into(std::string& out, const base::json::value& v, size_t depth) {
  auto indent = [&](size_t n) { out.append(n * 2, ' '); };
  if (v.is_object() && !v.get_object().empty()) {
    out += "{\n";
    bool first = true;
    for (const auto& [name, member] : v.get_object()) {
      if (!first) out += ",\n";
      first = false;
      indent(depth + 1);
      out += boost::json::serialize(base::json::string_view(name));
      out += ": ";
      pretty_into(out, member, depth + 1);
    }
    out += '\n';
    indent(depth);
    out += '}';
  } else if (v.is_array() && !v.get_array().empty()) {
    out += "[\n";
    bool first = true;
    for (const base::json::value& e : v.get_array()) {
      if (!first) out += ",\n";
      first = false;
      indent(depth + 1);
      pretty_into(out, e, depth + 1);
    }
    out += '\n';
    indent(depth);
    out += ']';
  } else {
    out += base::to_text(v);
  }
}

}  // namespace

Result<OutputForm> choose_output(const base::http::Request& request, bool tables) {
  OutputForm out;
  out.pretty = wants_pretty(request);
  out.include_object = request.query.get("includeObject");
  std::string_view accept = request.headers.get("Accept");
  if (accept.empty()) return out;
  const bool discovery = request.path == "/api" || request.path == "/apis";
  for (const MediaRange& range : ranges(accept)) {
    OutputForm form = out;
    if (!take_range(range, discovery, tables, form)) continue;
    const std::string& include = form.include_object;
    if (form.shape == OutputForm::Shape::table && !include.empty() && include != "None" && include != "Metadata" && include != "Object")
      return base::bad_request(fmt::format(
          "Unable to convert to Table as requested: includeObject: Invalid value: \"{}\": must be 'Metadata', 'Object', 'None', or empty",
          include));
    return form;
  }
  return base::fail(406, "NotAcceptable",
                    "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf");
}

Result<Body::Form> body_form(const base::http::Request& request) {
  MediaRange type = parse_range(request.headers.get("Content-Type"));
  if (type.type.empty() || type.type == "application/json") return Body::Form::json;
  if (type.type == "application/yaml") return Body::Form::yaml;
  if (type.type == "application/vnd.kubernetes.protobuf") return Body::Form::protobuf;
  return base::unsupported(
      "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, "
      "application/vnd.kubernetes.protobuf");
}

Result<api::PatchType> patch_type(const base::http::Request& request) {
  MediaRange type = parse_range(request.headers.get("Content-Type"));
  if (type.type == "application/json-patch+json") return api::PatchType::json;
  if (type.type == "application/merge-patch+json") return api::PatchType::merge;
  if (type.type == "application/strategic-merge-patch+json") return api::PatchType::strategic;
  if (type.type == "application/apply-patch+yaml") return api::PatchType::apply;
  return base::unsupported(
      "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, "
      "application/merge-patch+json, "
      "application/strategic-merge-patch+json, application/apply-patch+yaml");
}

std::string_view aggregated_version(const base::http::Request& request) {
  for (const MediaRange& range : ranges(request.headers.get("Accept"))) {
    const bool usable = range.type == "application/json" || range.type == "*/*" || range.type == "application/*";
    if (!usable) continue;
    if (range.of("as").empty()) return {};
    if (range.of("as") != "APIGroupDiscoveryList" || range.of("g") != "apidiscovery.k8s.io") continue;
    if (range.of("v") == "v2") return "v2";
    if (range.of("v") == "v2beta1") return "v2beta1";
  }
  return {};
}

std::string_view content_type(OutputForm::Encoding encoding) {
  switch (encoding) {
    case OutputForm::Encoding::yaml: return "application/yaml";
    case OutputForm::Encoding::protobuf: return "application/vnd.kubernetes.protobuf";
    default: return "application/json";
  }
}

std::string pretty_text(const base::json::value& v) {
  std::string out;
  pretty_into(out, v, 0);
  out += '\n';
  return out;
}

}  // namespace server
