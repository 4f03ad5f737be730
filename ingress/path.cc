#include "ingress/path.h"

namespace ingress {
namespace {

int digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool unreserved(unsigned char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '.' || c == '_' || c == '~';
}

}  // namespace

base::Result<std::string> canonical_path(std::string_view raw) {
  if (raw.empty() || raw[0] != '/') return base::bad_request("the path does not begin with a slash");
  constexpr char digits[] = "0123456789ABCDEF";
  std::string out;
  out.reserve(raw.size());
  for (size_t i = 0; i < raw.size(); ++i) {
    auto c = static_cast<unsigned char>(raw[i]);
    if (c == '\\' || c < 0x21 || c == 0x7f) return base::bad_request("the path has a character that is not allowed");
    if (c != '%') {
      out += static_cast<char>(c);
      continue;
    }
    int high = i + 1 < raw.size() ? digit(raw[i + 1]) : -1, low = i + 2 < raw.size() ? digit(raw[i + 2]) : -1;
    if (high < 0 || low < 0) return base::bad_request("the path has a broken percent-encoding");
    auto decoded = static_cast<unsigned char>(high << 4 | low);
    if (decoded == '/' || decoded == '\\' || decoded < 0x20 || decoded == 0x7f)
      return base::bad_request("the path has an encoded slash, backslash or control character");
    if (unreserved(decoded)) {
      out += static_cast<char>(decoded);
    } else {
      out += '%';
      out += digits[decoded >> 4];
      out += digits[decoded & 15];
    }
    i += 2;
  }
  for (size_t at = 0; at < out.size();) {
    size_t end = out.find('/', at + 1);
    if (end == std::string::npos) end = out.size();
    std::string_view segment(out.data() + at + 1, end - at - 1);
    if (segment == "." || segment == "..") return base::bad_request("the path has a dot segment");
    at = end;
  }
  return out;
}

bool is_canonical_path(std::string_view path) {
  if (path.empty() || path[0] != '/') return false;
  char before = 0;
  for (char c : path) {
    if (static_cast<unsigned char>(c) < 0x21 || c == 0x7f || c == '%' || c == '\\' || (c == '.' && before == '/')) return false;
    before = c;
  }
  return true;
}

bool path_has_prefix(std::string_view path, std::string_view prefix) {
  while (prefix.size() > 1 && prefix.ends_with('/')) prefix.remove_suffix(1);
  if (prefix == "/" || prefix.empty()) return true;
  return path.starts_with(prefix) && (path.size() == prefix.size() || path[prefix.size()] == '/');
}

base::Result<std::string> canonical_host(std::string_view host) {
  if (!host.empty() && host.front() == '[') {
    size_t end = host.find(']');
    if (end == std::string_view::npos) return base::bad_request("the Host field is malformed");
    host = host.substr(0, end + 1);
  } else if (size_t colon = host.find(':'); colon != std::string_view::npos) {
    for (char c : host.substr(colon + 1)) {
      if (c < '0' || c > '9') return base::bad_request("the Host field is malformed");
    }
    host = host.substr(0, colon);
  }
  if (host.ends_with('.')) host.remove_suffix(1);
  if (host.starts_with('.') || host.ends_with('.')) return base::bad_request("the Host field is malformed");
  std::string out;
  out.reserve(host.size());
  for (char c : host) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    bool fine = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' || c == '[' || c == ']' || c == ':';
    if (!fine) return base::bad_request("the Host field is malformed");
    out += c;
  }
  return out;
}

}  // namespace ingress
