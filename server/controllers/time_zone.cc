#include "server/controllers/time_zone.h"

#include <algorithm>

#include "base/files.h"

namespace server::controllers {
namespace {

// Big-endian numbers out of a file that is not to be trusted: reads beyond its end fail.
class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}
  bool good() const { return good_; }
  std::string_view take(size_t n) {
    if (n > text_.size() - at_) {
      good_ = false;
      at_ = text_.size();
      return {};
    }
    at_ += n;
    return text_.substr(at_ - n, n);
  }
  int64_t number(size_t bytes) {
    uint64_t n = 0;
    std::string_view part = take(bytes);
    for (char c : part) n = n << 8 | uint8_t(c);
    if (bytes < 8 && !part.empty() && (part[0] & 0x80)) n -= uint64_t(1) << (8 * bytes);
    return int64_t(n);
  }

 private:
  std::string_view text_;
  size_t at_ = 0;
  bool good_ = true;
};

struct Header {
  size_t utc, standard, leaps, times, types, chars;
};
Header header(Reader& r) {
  Header h{};
  for (size_t* n : {&h.utc, &h.standard, &h.leaps, &h.times, &h.types, &h.chars}) *n = size_t(r.number(4)) & 0xffff;
  return h;
}

}  // namespace

base::Result<TimeZone> TimeZone::parse(std::string_view tzif) {
  Reader r(tzif);
  if (r.take(4) != "TZif") return base::bad_request("not a time zone file");
  char version = r.take(1).empty() ? '\0' : tzif[4];
  r.take(15);
  Header h = header(r);
  size_t width = 4;
  if (version >= '2') {  // the same again with 64-bit times follows
    r.take(h.times * 5 + h.types * 6 + h.chars + h.leaps * 8 + h.standard + h.utc + 20);
    h = header(r);
    width = 8;
  }
  TimeZone out;
  std::vector<int64_t> times(h.times);
  for (int64_t& t : times) t = r.number(width);
  std::string_view kinds = r.take(h.times);
  std::vector<int32_t> offsets(h.types);
  for (int32_t& o : offsets) {
    o = int32_t(r.number(4));
    r.take(2);
  }
  if (!r.good() || offsets.empty()) return base::bad_request("a truncated time zone file");
  out.first_ = offsets.front();
  for (size_t i = 0; i < times.size(); ++i) {
    auto kind = size_t(uint8_t(kinds[i]));
    if (kind >= offsets.size()) return base::bad_request("a malformed time zone file");
    out.changes_.emplace_back(times[i], offsets[kind]);
  }
  return out;
}

base::Result<TimeZone> TimeZone::load(const std::string& name) {
  if (name == "UTC" || name == "Etc/UTC") return TimeZone{};
  bool plain =
      !name.empty() && name.front() != '/' && name.find("..") == std::string::npos && std::all_of(name.begin(), name.end(), [](char c) {
        return std::isalnum(static_cast<unsigned char>(c)) || c == '/' || c == '_' || c == '-' || c == '+';
      });
  if (!plain) return base::bad_request("no time zone is called \"" + name + "\"");
  auto text = base::read_file("/usr/share/zoneinfo/" + name, 1u << 20);
  if (!text) return base::not_found("time zone", name);
  return parse(*text);
}

std::chrono::seconds TimeZone::offset_at(base::WallTime t) const {
  int64_t second = std::chrono::floor<std::chrono::seconds>(t.time_since_epoch()).count();
  auto it = std::upper_bound(changes_.begin(), changes_.end(), second, [](int64_t s, const auto& c) { return s < c.first; });
  return std::chrono::seconds(it == changes_.begin() ? first_ : std::prev(it)->second);
}

}  // namespace server::controllers
