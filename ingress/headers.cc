#include "ingress/headers.h"

#include <fmt/format.h>

namespace ingress {
namespace {

using base::http::equal_ignoring_case;

void append_field(std::string& out, std::string_view name, std::string_view value) {
  out += name;
  out += ": ";
  out += value;
  out += "\r\n";
}

// All Connection fields count; nearly always there is none or one, and it lists nothing else.
bool named_by_connection(const base::http::Head& head, std::string_view name) {
  for (auto& [n, v] : head.fields) {
    if (n.size() == 10 && equal_ignoring_case(n, "connection") && lists(v, name)) return true;
  }
  return false;
}

bool connection_lists_more(const base::http::Head& head) {
  for (auto& [n, v] : head.fields) {
    if (n.size() == 10 && equal_ignoring_case(n, "connection") && !equal_ignoring_case(v, "keep-alive") &&
        !equal_ignoring_case(v, "close") && !equal_ignoring_case(v, "upgrade"))
      return true;
  }
  return false;
}

}  // namespace

bool is_hop_by_hop(std::string_view name) {
  switch (name.size()) {
    case 2: return equal_ignoring_case(name, "te");
    case 7: return equal_ignoring_case(name, "trailer") || equal_ignoring_case(name, "upgrade");
    case 10: return equal_ignoring_case(name, "connection") || equal_ignoring_case(name, "keep-alive");
    case 16: return equal_ignoring_case(name, "proxy-connection");
    case 17: return equal_ignoring_case(name, "transfer-encoding");
    case 18: return equal_ignoring_case(name, "proxy-authenticate");
    case 19: return equal_ignoring_case(name, "proxy-authorization");
    default: return false;
  }
}

bool is_set_by_proxy(std::string_view name) {
  switch (name.size()) {
    case 4: return equal_ignoring_case(name, "host");
    case 6: return equal_ignoring_case(name, "expect");
    case 9: return equal_ignoring_case(name, "forwarded") || equal_ignoring_case(name, "x-real-ip");
    case 14: return equal_ignoring_case(name, "content-length");
    case 15: return equal_ignoring_case(name, "x-forwarded-for");
    case 16: return equal_ignoring_case(name, "x-forwarded-host") || equal_ignoring_case(name, "x-forwarded-port");
    case 17: return equal_ignoring_case(name, "x-forwarded-proto");
    case 18: return equal_ignoring_case(name, "x-forwarded-prefix") || equal_ignoring_case(name, "x-forwarded-server");
    default: return false;
  }
}

bool lists(std::string_view list, std::string_view name) {
  for (;;) {
    size_t comma = list.find(',');
    std::string_view token = list.substr(0, comma);
    while (!token.empty() && (token.front() == ' ' || token.front() == '\t')) token.remove_prefix(1);
    while (!token.empty() && (token.back() == ' ' || token.back() == '\t')) token.remove_suffix(1);
    if (equal_ignoring_case(token, name)) return true;
    if (comma == std::string_view::npos) return false;
    list.remove_prefix(comma + 1);
  }
}

std::string_view address_of(std::string_view peer) {
  size_t colon = peer.rfind(':');
  std::string_view ip = colon == std::string_view::npos ? peer : peer.substr(0, colon);
  if (ip.starts_with('[') && ip.ends_with(']')) ip = ip.substr(1, ip.size() - 2);
  return ip;
}

void write_request_head(const base::http::Head& head, std::string_view path, std::string_view query, const Forwarding& f,
                        std::string& out) {
  out.clear();
  out += head.method;
  out += ' ';
  out += path;
  out += query;
  out += " HTTP/1.1\r\n";
  append_field(out, "Host", head.host);
  bool check_lists = connection_lists_more(head);
  for (auto& [name, value] : head.fields) {
    if (is_hop_by_hop(name) || is_set_by_proxy(name) || (check_lists && named_by_connection(head, name))) continue;
    append_field(out, name, value);
  }
  append_field(out, "X-Forwarded-For", f.client);
  append_field(out, "X-Real-IP", f.client);
  append_field(out, "X-Forwarded-Host", head.host);
  append_field(out, "X-Forwarded-Proto", f.proto);
  char port[8];
  append_field(out, "X-Forwarded-Port", {port, static_cast<size_t>(fmt::format_to(port, "{}", f.port) - port)});
}

void write_response_head(const base::http::Head& head, bool length, std::string& out) {
  out.clear();
  char status[8];
  out += "HTTP/1.1 ";
  out.append(status, static_cast<size_t>(fmt::format_to(status, "{}", head.status) - status));
  out += ' ';
  out += head.reason;
  out += "\r\n";
  bool check_lists = connection_lists_more(head);
  for (auto& [name, value] : head.fields) {
    if (is_hop_by_hop(name) || (check_lists && named_by_connection(head, name))) continue;
    if (!length && name.size() == 14 && equal_ignoring_case(name, "content-length")) continue;
    append_field(out, name, value);
  }
}

}  // namespace ingress
