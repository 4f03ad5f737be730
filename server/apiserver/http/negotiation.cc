#include "server/apiserver/http/negotiation.h"

#include <map>
#include <string>

#include <boost/json/serialize.hpp>
#include <fmt/format.h>

namespace server {
namespace {

struct MediaRange {
  std::string type;  // lower case
  std::map<std::string, std::string> parameters;
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

template <class F>
void each_range(std::string_view accept, F f) {
  while (!accept.empty()) {
    size_t comma = accept.find(',');
    if (!f(parse_range(accept.substr(0, comma)))) return;
    if (comma == accept.npos) return;
    accept.remove_prefix(comma + 1);
  }
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

Result<OutputForm> choose_output(const base::http::Request& request) {
  OutputForm out;
  out.pretty = request.query.flag("pretty");
  out.include_object = request.query.get("includeObject");
  std::string_view accept = request.headers.get("Accept");
  if (accept.empty()) return out;
  bool found = false;
  each_range(accept, [&](const MediaRange& range) {
    OutputForm form = out;
    if (range.type == "application/json" || range.type == "*/*" || range.type == "application/*") form.encoding = OutputForm::Encoding::json;
    else if (range.type == "application/yaml") form.encoding = OutputForm::Encoding::yaml;
    else if (range.type == "application/vnd.kubernetes.protobuf") form.encoding = OutputForm::Encoding::protobuf;
    else return true;
    auto as = range.parameters.find("as");
    if (as != range.parameters.end()) {
      auto of = [&](const char* name) {
        auto it = range.parameters.find(name);
        return it == range.parameters.end() ? std::string() : it->second;
      };
      if (of("g") != "meta.k8s.io" || (of("v") != "v1" && of("v") != "v1beta1")) return true;
      if (as->second == "Table" && form.encoding != OutputForm::Encoding::protobuf && of("v") == "v1") form.shape = OutputForm::Shape::table;
      else if (as->second == "PartialObjectMetadata" || as->second == "PartialObjectMetadataList") form.shape = OutputForm::Shape::partial;
      else return true;
    }
    out = form;
    found = true;
    return false;
  });
  if (!found)
    return base::fail(406, "NotAcceptable",
                      "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf");
  return out;
}

Result<Body::Form> body_form(const base::http::Request& request) {
  MediaRange type = parse_range(request.headers.get("Content-Type"));
  if (type.type.empty() || type.type == "application/json") return Body::Form::json;
  if (type.type == "application/yaml") return Body::Form::yaml;
  if (type.type == "application/vnd.kubernetes.protobuf") return Body::Form::protobuf;
  return base::unsupported(
      "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf");
}

Result<api::PatchType> patch_type(const base::http::Request& request) {
  MediaRange type = parse_range(request.headers.get("Content-Type"));
  if (type.type == "application/json-patch+json") return api::PatchType::json;
  if (type.type == "application/merge-patch+json") return api::PatchType::merge;
  if (type.type == "application/strategic-merge-patch+json") return api::PatchType::strategic;
  if (type.type == "application/apply-patch+yaml" || type.type == "application/apply-patch+cbor") return api::PatchType::apply;
  return base::unsupported(
      "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, "
      "application/strategic-merge-patch+json, application/apply-patch+yaml");
}

bool wants_aggregated(const base::http::Request& request) {
  bool aggregated = false;
  each_range(request.headers.get("Accept"), [&](const MediaRange& range) {
    auto of = [&](const char* name) {
      auto it = range.parameters.find(name);
      return it == range.parameters.end() ? std::string() : it->second;
    };
    if (range.type == "application/json" && of("as") == "APIGroupDiscoveryList" && of("g") == "apidiscovery.k8s.io" && of("v") == "v2") aggregated = true;
    bool usable = range.type == "application/json" || range.type == "*/*";
    return !aggregated && !(usable && range.parameters.find("as") == range.parameters.end());
  });
  return aggregated;
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
