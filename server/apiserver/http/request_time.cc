#include "server/apiserver/http/request_time.h"

#include <fmt/format.h>

namespace server {

bool is_long_running(const RequestInfo& i) {
  if (i.verb == "watch") return true;
  if (!i.is_resource) return i.path.starts_with("/v1-appliance/tunnel");
  if (i.subresource.empty()) return false;
  return i.subresource == "attach" || i.subresource == "exec" || i.subresource == "proxy" || i.subresource == "log" ||
         i.subresource == "portforward";
}

std::optional<base::Duration> parse_duration(std::string_view text) {
  constexpr std::pair<std::string_view, double> units[] = {{"ns", 1}, {"us", 1e3}, {"ms", 1e6}, {"s", 1e9}, {"m", 60e9}, {"h", 3600e9}};
  if (text == "0") return base::Duration(0);
  if (text.empty()) return std::nullopt;
  double total = 0;
  while (!text.empty()) {
    double n = 0, place = 0;
    size_t i = 0, digits = 0;
    for (; i < text.size(); ++i) {
      if (text[i] == '.' && place == 0) {
        place = 1;
      } else if (text[i] >= '0' && text[i] <= '9') {
        ++digits;
        if (place > 0) n += (text[i] - '0') * (place /= 10);
        else n = n * 10 + (text[i] - '0');
      } else {
        break;
      }
    }
    if (digits == 0) return std::nullopt;
    text.remove_prefix(i);
    size_t end = text.find_first_of("0123456789.");
    std::string_view unit = text.substr(0, end);
    double factor = 0;
    for (const auto& [name, f] : units)
      if (name == unit) factor = f;
    if (factor == 0) return std::nullopt;
    total += n * factor;
    text.remove_prefix(unit.size());
    constexpr double most = 1e18;  // what fits into nanoseconds
    if (total > most) return std::nullopt;
  }
  return base::Duration(static_cast<base::Duration::rep>(total));
}

base::Result<base::Duration> request_time(const base::http::Query& query) {
  std::string_view text = query.get("timeout");
  if (text.empty()) return kRequestTime;
  auto d = parse_duration(text);
  if (!d) return base::bad_request(fmt::format("invalid timeout specified in the request URL - time: invalid duration \"{}\"", text));
  return *d <= base::Duration(0) ? kRequestTime : std::min(*d, kRequestTime);
}

}  // namespace server
