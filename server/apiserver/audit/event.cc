#include "server/apiserver/audit/event.h"

#include <fmt/format.h>

namespace server::audit {
namespace {

std::string_view stage_name(Stage s) {
  return s == kReceived ? "RequestReceived" : s == kStarted ? "ResponseStarted" : s == kPanic ? "Panic" : "ResponseComplete";
}

// ,"name":"text" unless empty.
void member(std::string& out, std::string_view name, std::string_view text) {
  if (text.empty()) return;
  out.append(",\"").append(name).append("\":");
  append_json_text(out, text);
}

void append_list(std::string& out, const std::vector<std::string>& list) {
  out += '[';
  for (size_t i = 0; i < list.size(); ++i) {
    if (i) out += ',';
    append_json_text(out, list[i]);
  }
  out += ']';
}

void append_user(std::string& out, std::string_view name, const UserInfo& u) {
  out.append(",\"").append(name).append("\":{\"username\":");
  append_json_text(out, u.name);
  member(out, "uid", u.uid);
  if (!u.groups.empty()) {
    out += ",\"groups\":";
    append_list(out, u.groups);
  }
  if (!u.extra.empty()) {
    out += ",\"extra\":{";
    bool first = true;
    for (const auto& [key, values] : u.extra) {
      if (!first) out += ',';
      first = false;
      append_json_text(out, key);
      out += ':';
      append_list(out, values);
    }
    out += '}';
  }
  out += '}';
}

void append_number(std::string& out, int n) {
  char digits[16];
  auto end = fmt::format_to_n(digits, sizeof digits, "{}", n).out;
  out.append(digits, end);
}

void append_reference(std::string& out, const Event& e) {
  out += ",\"objectRef\":{\"resource\":";
  append_json_text(out, e.resource);
  member(out, "namespace", e.ns);
  member(out, "name", e.name);
  member(out, "uid", e.uid);
  member(out, "apiGroup", e.group);
  member(out, "apiVersion", e.version);
  member(out, "subresource", e.subresource);
  out += '}';
}

}  // namespace

void append_json_text(std::string& out, std::string_view text) {
  constexpr char hex[] = "0123456789abcdef";
  out += '"';
  size_t plain = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    auto c = static_cast<unsigned char>(text[i]);
    if (c >= 0x20 && c != '"' && c != '\\' && c < 0x7f) continue;
    // Bytes over ASCII may come from a header and be no UTF-8: each is written as its own character (Latin-1), so that the line always parses.
    out.append(text.substr(plain, i - plain));
    plain = i + 1;
    if (c == '"' || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else {
      out.append("\\u00");
      out += hex[c >> 4];
      out += hex[c & 15];
    }
  }
  out.append(text.substr(plain));
  out += '"';
}

void append_micro_time(std::string& out, base::WallTime t) {
  // The date changes once a second; requests come thousands of times.
  thread_local int64_t known = -1;
  thread_local char date[24];
  int64_t micro = std::chrono::duration_cast<std::chrono::microseconds>(t.time_since_epoch()).count();
  int64_t second = micro / 1'000'000;
  if (second != known) {
    std::string text = base::rfc3339(t);
    text.copy(date, 19);
    known = second;
  }
  char digits[8] = {'.', 0, 0, 0, 0, 0, 0, 'Z'};
  auto rest = static_cast<unsigned>(micro % 1'000'000);
  for (int i = 6; i > 0; --i, rest /= 10) digits[i] = static_cast<char>('0' + rest % 10);
  out.append(date, 19).append(digits, 8);
}

void append_event(std::string& out, const Event& e) {
  out += R"({"kind":"Event","apiVersion":"audit.k8s.io/v1","level":")";
  out.append(level_name(e.level)).append("\"");
  member(out, "auditID", e.id);
  out.append(",\"stage\":\"").append(stage_name(e.stage)).append("\"");
  member(out, "requestURI", e.uri);
  member(out, "verb", e.verb);
  if (e.user) append_user(out, "user", *e.user);
  if (e.impersonated) append_user(out, "impersonatedUser", *e.impersonated);
  if (!e.source.empty()) {
    out += ",\"sourceIPs\":[";
    append_json_text(out, e.source);
    out += ']';
  }
  member(out, "userAgent", e.agent);
  if (e.is_resource) append_reference(out, e);
  if (e.status) {
    out += ",\"responseStatus\":{\"metadata\":{}";
    if (e.status >= 400) out += ",\"status\":\"Failure\"";
    member(out, "message", e.message);
    member(out, "reason", e.reason);
    out += ",\"code\":";
    append_number(out, e.status);
    out += '}';
  }
  if (!e.request_object.empty()) out.append(",\"requestObject\":").append(e.request_object);
  if (!e.response_object.empty()) out.append(",\"responseObject\":").append(e.response_object);
  out += ",\"requestReceivedTimestamp\":\"";
  append_micro_time(out, e.received);
  out += "\",\"stageTimestamp\":\"";
  append_micro_time(out, e.at);
  out += '"';
  if (!e.decision.empty()) {
    out.append(R"(,"annotations":{"authorization.k8s.io/decision":")").append(e.decision).append("\"");
    if (e.annotations)
      for (const auto& [name, text] : *e.annotations) {
        out += ',';
        append_json_text(out, name);
        out += ':';
        append_json_text(out, text);
      }
    out += '}';
  }
  out += "}\n";
}

}  // namespace server::audit
