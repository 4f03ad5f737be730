#include "api/validate_names.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <fmt/ranges.h>

#include <algorithm>
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

std::string check_domain_path(std::string_view v) {
  size_t slash = v.find('/');
  std::string_view domain = v.substr(0, slash);
  if (slash == std::string_view::npos) return "must be a domain-prefixed path (such as \"acme.io/foo\")";
  if (std::string e = check_dns1123_subdomain(domain); !e.empty()) return e;
  std::string_view path = v.substr(slash + 1);
  bool good = !path.empty() && is_alnum(path.front()) && is_alnum(path.back());
  for (char c : path) good &= is_alnum(c) || std::string_view("-._~%!$&'()*+,;=:/").find(c) != std::string_view::npos;
  return good ? "" : "Invalid path (regex used for validation is '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')";
}

std::string check_csi_driver(std::string_view v) {
  std::string lower(v);
  for (char& c : lower) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  return check_dns1123_subdomain(lower);
}

std::string check_sysctl(std::string_view v) {
  bool good = !v.empty() && v.size() <= 253, edge = true;
  for (char c : v) {
    bool part = is_alnum_lower(c);
    good &= part || ((c == '-' || c == '_' || c == '.' || c == '/') && (!edge || c == '-' || c == '_'));
    edge = !part && (c == '.' || c == '/');
  }
  good &= !v.empty() && is_alnum_lower(v.front()) && is_alnum_lower(v.back());
  return good ? ""
              : "must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*([a-z0-9][-_a-z0-9]*)?[a-z0-9]$";
}

std::string check_c_identifier(std::string_view v) {
  bool good = !v.empty() && !is_digit(v.front());
  for (char c : v) good &= is_alnum(c) || c == '_';
  return good ? ""
              : "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_' "
                "(e.g. "
                "'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is '[A-Za-z_][A-Za-z0-9_]*')";
}

std::string check_absolute_path(std::string_view v) { return v.starts_with('/') ? "" : "must be an absolute path"; }

std::string check_uuid(std::string_view v) {
  bool good = v.size() == 36;
  for (size_t i = 0; good && i < v.size(); ++i) {
    bool dash = i == 8 || i == 13 || i == 18 || i == 23;
    good = dash ? v[i] == '-' : is_digit(v[i]) || (v[i] >= 'a' && v[i] <= 'f');
  }
  return good ? ""
              : "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal characters";
}

std::string check_time_zone(std::string_view v) {
  if (v == "Local" || v == "LOCAL" || v == "local")
    return "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
  bool good = !v.empty() && v.front() != '/' && v.find("..") == std::string_view::npos;
  for (char c : v) good &= is_alnum(c) || c == '_' || c == '-' || c == '+' || c == '/';
  return good ? "" : fmt::format("unknown time zone {}", v);
}

namespace {

// One field of a schedule: lists of "*", "a", "a-b", each with "/step"; names of months and days count as numbers.
bool is_cron_field(std::string_view field, int least, int most, std::initializer_list<std::string_view> names) {
  auto number = [&](std::string_view t, int& n) {
    int i = least;
    for (std::string_view name : names) {
      bool equal = t.size() == 3;
      for (size_t k = 0; equal && k < 3; ++k) equal = (t[k] | 32) == name[k];
      if (equal) {
        n = i;
        return true;
      }
      ++i;
    }
    auto [end, ec] = std::from_chars(t.data(), t.data() + t.size(), n);
    return ec == std::errc() && end == t.data() + t.size() && n >= 0;
  };
  for (;;) {
    size_t comma = field.find(',');
    std::string_view part = field.substr(0, comma);
    int step = 1;
    if (size_t slash = part.find('/'); slash != std::string_view::npos) {
      std::string_view text = part.substr(slash + 1);
      auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), step);
      if (ec != std::errc() || end != text.data() + text.size() || step <= 0) return false;
      part = part.substr(0, slash);
    }
    if (part != "*" && part != "?") {
      size_t dash = part.find('-');
      int from = 0, to = 0;
      if (!number(part.substr(0, dash), from)) return false;
      if (dash == std::string_view::npos) to = from;
      else if (!number(part.substr(dash + 1), to)) return false;
      if (from < least || to > most || from > to) return false;
    }
    if (comma == std::string_view::npos) return true;
    field = field.substr(comma + 1);
  }
}

// Go's time.Duration: "1h30m".
bool is_duration(std::string_view v) {
  bool any = false;
  while (!v.empty()) {
    size_t n = v.find_first_not_of("0123456789.");
    if (n == 0 || n == std::string_view::npos) return false;
    v = v.substr(n);
    size_t unit = 0;
    for (std::string_view u : {"ns", "us", "ms", "s", "m", "h"}) {
      if (v.starts_with(u) && u.size() > unit) unit = u.size();
    }
    if (unit == 0) return false;
    v = v.substr(unit);
    any = true;
  }
  return any;
}

}  // namespace

std::string check_cron(std::string_view v) {
  if (v.starts_with("TZ=") || v.starts_with("CRON_TZ=")) return "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
  if (v.starts_with("@")) {
    for (std::string_view known : {"@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"}) {
      if (v == known) return {};
    }
    if (v.starts_with("@every ")) return is_duration(v.substr(7)) ? "" : fmt::format("failed to parse duration {}", v);
    return fmt::format("unrecognized descriptor: {}", v);
  }
  std::vector<std::string_view> fields;
  for (size_t i = 0; i < v.size();) {
    size_t start = v.find_first_not_of(" \t", i);
    if (start == std::string_view::npos) break;
    i = std::min(v.find_first_of(" \t", start), v.size());
    fields.push_back(v.substr(start, i - start));
  }
  if (fields.size() != 5) return fmt::format("expected exactly 5 fields, found {}: [{}]", fields.size(), fmt::join(fields, " "));
  static constexpr std::initializer_list<std::string_view> none = {};
  static constexpr std::initializer_list<std::string_view> months = {"jan", "feb", "mar", "apr", "may", "jun",
                                                                     "jul", "aug", "sep", "oct", "nov", "dec"};
  static constexpr std::initializer_list<std::string_view> days = {"sun", "mon", "tue", "wed", "thu", "fri", "sat"};
  struct {
    int least, most;
    std::initializer_list<std::string_view> names;
  } static constexpr rows[] = {{0, 59, none}, {0, 23, none}, {1, 31, none}, {1, 12, months}, {0, 6, days}};
  for (size_t i = 0; i < 5; ++i) {
    if (!is_cron_field(fields[i], rows[i].least, rows[i].most, rows[i].names))
      return fmt::format("failed to parse {}: \"{}\"", fields[i], v);
  }
  return {};
}

}  // namespace api
