#include "base/http/wire.h"

#include <array>
#include <cstring>
#include <ctime>

#include <fmt/format.h>

namespace base::http {
namespace {

constexpr std::array<bool, 256> make_token_table() {
  std::array<bool, 256> t{};
  for (int c = '0'; c <= '9'; ++c) t[c] = true;
  for (int c = 'a'; c <= 'z'; ++c) t[c] = true;
  for (int c = 'A'; c <= 'Z'; ++c) t[c] = true;
  for (char c : {'!', '#', '$', '%', '&', '\'', '*', '+', '-', '.', '^', '_', '`', '|', '~'}) t[static_cast<unsigned char>(c)] = true;
  return t;
}
constexpr auto token_table = make_token_table();

bool is_token(std::string_view s) {
  for (char c : s) {
    if (!token_table[static_cast<unsigned char>(c)]) return false;
  }
  return !s.empty();
}

// Visible characters, space, tab and bytes above ASCII.
bool is_field_value(std::string_view s) {
  for (char c : s) {
    auto u = static_cast<unsigned char>(c);
    if ((u < 0x20 && u != '\t') || u == 0x7f) return false;
  }
  return true;
}

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

std::string_view trim(std::string_view s) {
  while (!s.empty() && (s.front() == ' ' || s.front() == '\t')) s.remove_prefix(1);
  while (!s.empty() && (s.back() == ' ' || s.back() == '\t')) s.remove_suffix(1);
  return s;
}

template <class F>
void each_token(std::string_view list, F f) {
  for (;;) {
    size_t comma = list.find(',');
    std::string_view token = trim(list.substr(0, comma));
    if (!token.empty()) f(token);
    if (comma == std::string_view::npos) return;
    list.remove_prefix(comma + 1);
  }
}

// The next line without its CRLF; the text is known to consist of whole lines, each LF after a CR.
Result<std::string_view> next_line(std::string_view& text) {
  const char* lf = static_cast<const char*>(std::memchr(text.data(), '\n', text.size()));
  if (lf == nullptr) return bad_request("a line of the header has no end");
  auto n = static_cast<size_t>(lf - text.data());
  if (n == 0 || text[n - 1] != '\r') return bad_request("a bare line feed in the header");
  std::string_view line = text.substr(0, n - 1);
  text.remove_prefix(n + 1);
  return line;
}

Result<> parse_fields(std::string_view text, size_t max_fields, bool request, Head& out) {
  bool host_seen = false;
  bool transfer_encoding = false, close = false, keep = false, connection_upgrade = false, upgrade_field = false;
  for (;;) {
    TRY(std::string_view line, next_line(text));
    if (line.empty()) {
      if (!text.empty()) return bad_request("text after the header's end");
      break;
    }
    if (out.fields.size() == max_fields) return fail(431, "BadRequest", "too many header fields");
    if (line[0] == ' ' || line[0] == '\t') return bad_request("a folded header field");
    size_t colon = line.find(':');
    if (colon == std::string_view::npos) return bad_request("a header line without a colon");
    std::string_view name = line.substr(0, colon);
    if (!is_token(name)) return bad_request("a malformed header field name");
    std::string_view value = trim(line.substr(colon + 1));
    if (!is_field_value(value)) return bad_request("a control character in a header field");
    out.fields.emplace_back(name, value);

    switch (name.size()) {
      case 4:
        if (request && equal_ignoring_case(name, "host")) {
          if (host_seen) return bad_request("more than one Host field");
          host_seen = true;
          out.host = value;
          for (char c : value) {
            if (c == ' ' || c == '\t' || c == '/' || c == '@' || c == ',' || c == '\\' || c == '#' || c == '?')
              return bad_request("a malformed Host field");
          }
        }
        break;
      case 6:
        if (request && equal_ignoring_case(name, "expect")) {
          if (!equal_ignoring_case(value, "100-continue")) return fail(417, "BadRequest", "an unknown expectation");
          out.expect_continue = true;
        }
        break;
      case 7:
        if (equal_ignoring_case(name, "upgrade")) upgrade_field = true;
        break;
      case 10:
        if (equal_ignoring_case(name, "connection")) {
          each_token(value, [&](std::string_view token) {
            if (equal_ignoring_case(token, "close")) close = true;
            if (equal_ignoring_case(token, "keep-alive")) keep = true;
            if (equal_ignoring_case(token, "upgrade")) connection_upgrade = true;
          });
        }
        break;
      case 14:
        if (equal_ignoring_case(name, "content-length")) {
          if (out.content_length) return bad_request("more than one Content-Length");
          if (value.empty() || value.size() > 18) return bad_request("a malformed Content-Length");
          uint64_t n = 0;
          for (char c : value) {
            if (c < '0' || c > '9') return bad_request("a malformed Content-Length");
            n = n * 10 + static_cast<uint64_t>(c - '0');
          }
          out.content_length = n;
        }
        break;
      case 17:
        if (equal_ignoring_case(name, "transfer-encoding")) {
          if (transfer_encoding) return bad_request("more than one Transfer-Encoding");
          transfer_encoding = true;
          if (!equal_ignoring_case(value, "chunked")) return fail(501, "BadRequest", "a transfer encoding other than chunked");
          out.chunked = true;
        }
        break;
      default: break;
    }
  }
  if (transfer_encoding && out.content_length) return bad_request("both Content-Length and Transfer-Encoding");
  if (transfer_encoding && out.minor == 0) return bad_request("Transfer-Encoding in HTTP/1.0");
  if (request && !host_seen && out.minor == 1) return bad_request("no Host field");
  out.keep_alive = !close && (out.minor == 1 || keep);
  if (out.minor == 0) out.expect_continue = false;
  out.upgrade = out.minor == 1 && connection_upgrade && upgrade_field;
  return {};
}

Result<int> parse_version(std::string_view v) {
  if (v.size() != 8 || v.substr(0, 5) != "HTTP/" || v[6] != '.' || v[5] < '0' || v[5] > '9' || v[7] < '0' || v[7] > '9')
    return bad_request("a malformed HTTP version");
  if (v[5] != '1' || v[7] > '1') return fail(505, "BadRequest", "HTTP version not supported");
  return v[7] - '0';
}

}  // namespace

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i] != b[i] && lower(a[i]) != lower(b[i])) return false;
  }
  return true;
}

std::string_view Head::get(std::string_view name) const {
  for (auto& [n, v] : fields) {
    if (equal_ignoring_case(n, name)) return v;
  }
  return {};
}

void Head::clear() {
  auto kept = std::move(fields);
  kept.clear();
  *this = Head{};
  fields = std::move(kept);
}

Result<size_t> find_head_end(std::string_view data, size_t& scanned) {
  size_t at = scanned;
  while (at < data.size()) {
    const void* found = std::memchr(data.data() + at, '\n', data.size() - at);
    if (found == nullptr) break;
    auto lf = static_cast<size_t>(static_cast<const char*>(found) - data.data());
    if (lf == 0 || data[lf - 1] != '\r') return bad_request("a bare line feed in the header");
    if (lf >= 3 && data[lf - 2] == '\n') return lf + 1;
    at = lf + 1;
  }
  scanned = data.size();
  return 0;
}

Result<> parse_request_head(std::string_view text, size_t max_fields, Head& out) {
  out.clear();
  TRY(std::string_view line, next_line(text));
  size_t first = line.find(' ');
  size_t last = line.rfind(' ');
  if (first == std::string_view::npos || last == first) return bad_request("a malformed request line");
  out.method = line.substr(0, first);
  out.target = line.substr(first + 1, last - first - 1);
  TRY(out.minor, parse_version(line.substr(last + 1)));
  if (!is_token(out.method) || out.method.size() > 32) return bad_request("a malformed method");
  if (out.target.empty()) return bad_request("a malformed request target");
  for (char c : out.target) {
    auto u = static_cast<unsigned char>(c);
    if (u <= 0x20 || u == 0x7f) return bad_request("a malformed request target");
  }
  return parse_fields(text, max_fields, true, out);
}

Result<> parse_response_head(std::string_view text, size_t max_fields, Head& out) {
  out.clear();
  TRY(std::string_view line, next_line(text));
  if (line.size() < 12 || line[8] != ' ') return bad_request("a malformed status line");
  TRY(out.minor, parse_version(line.substr(0, 8)));
  for (size_t i = 9; i < 12; ++i) {
    if (line[i] < '0' || line[i] > '9') return bad_request("a malformed status");
    out.status = out.status * 10 + (line[i] - '0');
  }
  if (out.status < 100 || (line.size() > 12 && line[12] != ' ')) return bad_request("a malformed status line");
  if (line.size() > 13) out.reason = line.substr(13);
  if (!is_field_value(out.reason)) return bad_request("a control character in the status line");
  return parse_fields(text, max_fields, false, out);
}

Result<std::string_view> ChunkDecoder::next(std::string_view& in) {
  while (!in.empty() && state_ != State::done) {
    if (state_ == State::data) {
      std::string_view run = in.substr(0, static_cast<size_t>(std::min<uint64_t>(left_, in.size())));
      in.remove_prefix(run.size());
      left_ -= run.size();
      if (left_ == 0) state_ = State::data_cr;
      return run;
    }
    char c = in.front();
    in.remove_prefix(1);
    switch (state_) {
      case State::size: {
        int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
        if (digit >= 0) {
          if (++digits_ > 15) return bad_request("a chunk size is too long");
          left_ = left_ * 16 + static_cast<uint64_t>(digit);
        } else if (digits_ == 0) {
          return bad_request("a malformed chunk size");
        } else if (c == '\r') {
          state_ = State::size_lf;
        } else if (c == ';') {
          state_ = State::extension;
        } else {
          return bad_request("a malformed chunk size");
        }
        break;
      }
      case State::extension:
        if (c == '\r') {
          state_ = State::size_lf;
        } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f || ++skipped_ > 4096) {
          return bad_request("a malformed chunk extension");
        }
        break;
      case State::size_lf:
        if (c != '\n') return bad_request("a malformed chunk header");
        digits_ = 0;
        state_ = left_ == 0 ? State::trailer_start : State::data;
        break;
      case State::data_cr:
        if (c != '\r') return bad_request("a chunk longer than its size");
        state_ = State::data_lf;
        break;
      case State::data_lf:
        if (c != '\n') return bad_request("a chunk longer than its size");
        state_ = State::size;
        break;
      case State::trailer_start:
        if (c == '\r') {
          state_ = State::end_lf;
          break;
        }
        if (!token_table[static_cast<unsigned char>(c)]) return bad_request("a malformed trailer");
        colon_ = false;
        state_ = State::trailer;
        break;
      case State::trailer:
        if (c == '\r') {
          if (!colon_) return bad_request("a malformed trailer");
          state_ = State::trailer_lf;
          break;
        }
        if (c == ':') colon_ = true;
        if ((static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7f || ++skipped_ > 8192)
          return bad_request("a malformed trailer");
        break;
      case State::trailer_lf:
        if (c != '\n') return bad_request("a malformed trailer");
        state_ = State::trailer_start;
        break;
      case State::end_lf:
        if (c != '\n') return bad_request("a malformed end of the chunks");
        state_ = State::done;
        break;
      case State::data:
      case State::done: break;
    }
  }
  return std::string_view{};
}

std::string_view date_line() {
  thread_local time_t second = 0;
  thread_local char text[40];
  timespec now{};
  clock_gettime(CLOCK_REALTIME_COARSE, &now);
  if (now.tv_sec != second) {
    second = now.tv_sec;
    static constexpr const char* days[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static constexpr const char* months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    tm t{};
    gmtime_r(&second, &t);
    auto end = fmt::format_to_n(text, sizeof text, "Date: {}, {:02} {} {:04} {:02}:{:02}:{:02} GMT\r\n", days[t.tm_wday], t.tm_mday,
                                months[t.tm_mon], t.tm_year + 1900, t.tm_hour, t.tm_min, t.tm_sec);
    (void)end;
  }
  return {text, 37};
}

}  // namespace base::http
