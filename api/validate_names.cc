#include "api/validate_names.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <charconv>

namespace api {
namespace {

bool is_lower(char c) { return c >= 'a' && c <= 'z'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_alnum_lower(char c) { return is_lower(c) || is_digit(c); }
bool is_alnum(char c) { return is_alnum_lower(c) || (c >= 'A' && c <= 'Z'); }

std::string too_long(size_t max) { return fmt::format("must be no more than {} bytes", max); }

void add(std::string& errors, std::string_view more) {
  if (!errors.empty()) errors += ", ";
  errors += more;
}

bool is_label(std::string_view v) {
  if (v.empty() || !is_alnum_lower(v.front()) || !is_alnum_lower(v.back())) return false;
  for (char c : v) {
    if (!is_alnum_lower(c) && c != '-') return false;
  }
  return true;
}

bool is_subdomain(std::string_view v) {
  for (;;) {
    size_t dot = v.find('.');
    if (!is_label(v.substr(0, dot))) return false;
    if (dot == std::string_view::npos) return true;
    v = v.substr(dot + 1);
  }
}

// Letters, digits, '-', '_', '.', with a letter or digit at both ends.
bool is_name_part(std::string_view v) {
  if (v.empty() || !is_alnum(v.front()) || !is_alnum(v.back())) return false;
  for (char c : v) {
    if (!is_alnum(c) && c != '-' && c != '_' && c != '.') return false;
  }
  return true;
}

constexpr std::string_view kLabelRule =
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric "
    "character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
constexpr std::string_view kSubdomainRule =
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an "
    "alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
constexpr std::string_view kDns1035Rule =
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an "
    "alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
constexpr std::string_view kWildcardRule =
    "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric "
    "characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used for validation is "
    "'\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
constexpr std::string_view kQualifiedRule =
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or "
    "'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
constexpr std::string_view kLabelValueRule =
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
    "alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
constexpr std::string_view kConfigKeyRule =
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex "
    "used for validation is '[-._a-zA-Z0-9]+')";

bool parse_ip(std::string_view v, bool& v6) {
  std::string text(v);
  if (text.find('\0') != text.npos) return false;
  unsigned char address[16];
  if (inet_pton(AF_INET, text.c_str(), address) == 1) {
    v6 = false;
    return true;
  }
  v6 = true;
  return inet_pton(AF_INET6, text.c_str(), address) == 1;
}

}  // namespace

std::string check_dns1123_label(std::string_view v) {
  std::string errors;
  if (v.size() > 63) add(errors, too_long(63));
  if (!is_label(v)) add(errors, kLabelRule);
  return errors;
}

std::string check_dns1123_subdomain(std::string_view v) {
  std::string errors;
  if (v.size() > 253) add(errors, too_long(253));
  if (!is_subdomain(v)) add(errors, kSubdomainRule);
  return errors;
}

std::string check_dns1035_label(std::string_view v) {
  std::string errors;
  if (v.size() > 63) add(errors, too_long(63));
  if (!is_label(v) || !is_lower(v.front())) add(errors, kDns1035Rule);
  return errors;
}

std::string check_wildcard_subdomain(std::string_view v) {
  std::string errors;
  if (v.size() > 253) add(errors, too_long(253));
  if (!v.starts_with("*.") || !is_subdomain(v.substr(2))) add(errors, kWildcardRule);
  return errors;
}

std::string check_qualified_name(std::string_view v) {
  std::string errors;
  size_t slash = v.find('/');
  std::string_view name = v;
  if (slash != std::string_view::npos) {
    std::string_view prefix = v.substr(0, slash);
    name = v.substr(slash + 1);
    if (name.find('/') != std::string_view::npos) {
      return fmt::format("a qualified name {} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')", kQualifiedRule);
    }
    if (prefix.empty()) add(errors, "prefix part must be non-empty");
    else if (std::string e = check_dns1123_subdomain(prefix); !e.empty()) add(errors, "prefix part " + e);
  }
  if (name.empty()) add(errors, "name part must be non-empty");
  else if (name.size() > 63) add(errors, "name part " + too_long(63));
  if (!is_name_part(name)) add(errors, fmt::format("name part {}", kQualifiedRule));
  return errors;
}

std::string check_label_value(std::string_view v) {
  std::string errors;
  if (v.size() > 63) add(errors, too_long(63));
  if (!v.empty() && !is_name_part(v)) add(errors, kLabelValueRule);
  return errors;
}

std::string check_path_segment(std::string_view v) {
  if (v == ".") return "may not be '.'";
  if (v == "..") return "may not be '..'";
  std::string errors;
  if (v.find('/') != std::string_view::npos) add(errors, "may not contain '/'");
  if (v.find('%') != std::string_view::npos) add(errors, "may not contain '%'");
  return errors;
}

std::string check_config_key(std::string_view v) {
  std::string errors;
  if (v.size() > 253) add(errors, too_long(253));
  bool good = !v.empty();
  for (char c : v) good &= is_alnum(c) || c == '-' || c == '_' || c == '.';
  if (!good) add(errors, kConfigKeyRule);
  if (v == ".") add(errors, "must not be '.'");
  if (v == "..") add(errors, "must not be '..'");
  else if (v.starts_with("..")) add(errors, "must not start with '..'");
  return errors;
}

std::string check_env_name(std::string_view v) {
  bool good = !v.empty();
  for (char c : v) good &= c >= ' ' && c <= '~' && c != '=';
  if (good) return {};
  return "a valid environment variable name must consist only of printable ASCII characters other than '='";
}

std::string check_port_name(std::string_view v) {
  std::string errors;
  if (v.size() > 15) add(errors, too_long(15));
  bool letter = false, good = !v.empty();
  for (char c : v) {
    letter |= is_lower(c);
    good &= is_alnum_lower(c) || c == '-';
  }
  if (!good) add(errors, "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)");
  if (!letter) add(errors, "must contain at least one letter (a-z)");
  if (v.find("--") != std::string_view::npos) add(errors, "must not contain consecutive hyphens");
  if (!v.empty() && (v.front() == '-' || v.back() == '-')) add(errors, "must not begin or end with a hyphen");
  return errors;
}

std::string check_port(int64_t v) { return v >= 1 && v <= 65535 ? "" : "must be between 1 and 65535, inclusive"; }

std::string check_ip(std::string_view v) {
  bool v6 = false;
  return parse_ip(v, v6) ? "" : "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
}

bool is_ipv6(std::string_view v) {
  bool v6 = false;
  return parse_ip(v, v6) && v6;
}

std::string check_cidr(std::string_view v) {
  static constexpr std::string_view message = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
  size_t slash = v.find('/');
  bool v6 = false;
  if (slash == std::string_view::npos || !parse_ip(v.substr(0, slash), v6)) return std::string(message);
  std::string_view bits = v.substr(slash + 1);
  int n = -1;
  auto [end, ec] = std::from_chars(bits.data(), bits.data() + bits.size(), n);
  if (ec != std::errc() || end != bits.data() + bits.size() || n < 0 || n > (v6 ? 128 : 32)) return std::string(message);
  return {};
}

std::string check_cron(std::string_view v) {
  if (v.starts_with("TZ=") || v.starts_with("CRON_TZ=")) return "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
  if (v.starts_with("@")) {
    for (std::string_view known : {"@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"}) {
      if (v == known) return {};
    }
    return v.starts_with("@every ") ? "" : fmt::format("unrecognized descriptor: {}", v);
  }
  int fields = 0;
  size_t i = 0;
  while (i < v.size()) {
    while (i < v.size() && v[i] == ' ') ++i;
    size_t start = i;
    for (; i < v.size() && v[i] != ' '; ++i) {
      if (!is_alnum(v[i]) && std::string_view("*?,-/").find(v[i]) == std::string_view::npos) {
        return fmt::format("failed to parse {}", v.substr(start));
      }
    }
    if (i > start) ++fields;
  }
  return fields == 5 ? "" : fmt::format("expected exactly 5 fields, found {}: {}", fields, v);
}

}  // namespace api
