#include "base/http/message.h"

#include "base/bytes.h"

namespace base::http {
namespace {

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

bool same(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i] != b[i] && lower(a[i]) != lower(b[i])) return false;
  }
  return true;
}

std::string_view trim(std::string_view s) {
  while (!s.empty() && (s.front() == ' ' || s.front() == '\t')) s.remove_prefix(1);
  while (!s.empty() && (s.back() == ' ' || s.back() == '\t')) s.remove_suffix(1);
  return s;
}

}  // namespace

std::string_view Headers::get(std::string_view name) const {
  for (auto& [n, v] : lines_) {
    if (same(n, name)) return v;
  }
  return {};
}

std::vector<std::string_view> Headers::all(std::string_view name) const {
  std::vector<std::string_view> out;
  for (auto& [n, v] : lines_) {
    if (same(n, name)) out.push_back(v);
  }
  return out;
}

bool Headers::has(std::string_view name) const {
  for (auto& [n, v] : lines_) {
    if (same(n, name)) return true;
  }
  return false;
}

void Headers::set(std::string_view name, std::string_view value) {
  // The value may be a view of a line that goes away.
  std::string kept(value);
  std::string kept_name(name);
  remove(kept_name);
  lines_.emplace_back(std::move(kept_name), std::move(kept));
}

void Headers::add(std::string_view name, std::string_view value) { lines_.emplace_back(std::string(name), std::string(value)); }

void Headers::remove(std::string_view name) {
  std::erase_if(lines_, [&](auto& line) { return same(line.first, name); });
}

bool Headers::has_token(std::string_view name, std::string_view token) const {
  for (auto& [n, v] : lines_) {
    if (!same(n, name)) continue;
    std::string_view rest = v;
    for (;;) {
      size_t comma = rest.find(',');
      if (same(trim(rest.substr(0, comma)), token)) return true;
      if (comma == std::string_view::npos) break;
      rest.remove_prefix(comma + 1);
    }
  }
  return false;
}

Query::Query(std::string_view encoded) {
  while (!encoded.empty()) {
    size_t amp = encoded.find('&');
    std::string_view item = encoded.substr(0, amp);
    encoded = amp == std::string_view::npos ? std::string_view{} : encoded.substr(amp + 1);
    if (item.empty()) continue;
    size_t eq = item.find('=');
    std::string_view value = eq == std::string_view::npos ? std::string_view{} : item.substr(eq + 1);
    items_.emplace_back(percent_decode(item.substr(0, eq), true), percent_decode(value, true));
  }
}

std::string_view Query::get(std::string_view name) const {
  for (auto& [n, v] : items_) {
    if (n == name) return v;
  }
  return {};
}

bool Query::has(std::string_view name) const {
  for (auto& [n, v] : items_) {
    if (n == name) return true;
  }
  return false;
}

std::vector<std::string_view> Query::all(std::string_view name) const {
  std::vector<std::string_view> out;
  for (auto& [n, v] : items_) {
    if (n == name) out.push_back(v);
  }
  return out;
}

bool Query::flag(std::string_view name) const {
  for (auto& [n, v] : items_) {
    if (n == name) return v != "0" && !same(v, "false");
  }
  return false;
}

std::string_view status_text(int status) {
  switch (status) {
    case 100: return "Continue";
    case 101: return "Switching Protocols";
    case 200: return "OK";
    case 201: return "Created";
    case 202: return "Accepted";
    case 204: return "No Content";
    case 206: return "Partial Content";
    case 301: return "Moved Permanently";
    case 302: return "Found";
    case 303: return "See Other";
    case 304: return "Not Modified";
    case 307: return "Temporary Redirect";
    case 308: return "Permanent Redirect";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 406: return "Not Acceptable";
    case 408: return "Request Timeout";
    case 409: return "Conflict";
    case 410: return "Gone";
    case 411: return "Length Required";
    case 412: return "Precondition Failed";
    case 413: return "Content Too Large";
    case 414: return "URI Too Long";
    case 415: return "Unsupported Media Type";
    case 416: return "Range Not Satisfiable";
    case 417: return "Expectation Failed";
    case 421: return "Misdirected Request";
    case 422: return "Unprocessable Entity";
    case 426: return "Upgrade Required";
    case 429: return "Too Many Requests";
    case 431: return "Request Header Fields Too Large";
    case 500: return "Internal Server Error";
    case 501: return "Not Implemented";
    case 502: return "Bad Gateway";
    case 503: return "Service Unavailable";
    case 504: return "Gateway Timeout";
    case 505: return "HTTP Version Not Supported";
    case 507: return "Insufficient Storage";
    default:
      return status < 200 ? "Continue" : status < 300 ? "OK" : status < 400 ? "Redirect" : status < 500 ? "Client Error" : "Server Error";
  }
}

}  // namespace base::http
