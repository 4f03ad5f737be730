// HTTP/1.1 on the wire (RFC 9112), parsed strictly and without copies: what two parsers could read in two ways is refused
// (both length headers, bare CR or LF, folded lines, space before the colon, odd chunk sizes). Pure functions, no I/O.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"

namespace base::http {

// A parsed head. All views point into the text it was parsed from.
struct Head {
  // Request line.
  std::string_view method, target;
  // Status line.
  int status = 0;
  std::string_view reason;

  int minor = 1;  // HTTP/1.x
  std::vector<std::pair<std::string_view, std::string_view>> fields;

  // Framing and connection, as the fields say.
  std::optional<uint64_t> content_length;
  bool chunked = false;
  bool keep_alive = true;
  bool expect_continue = false;
  bool upgrade = false;  // Connection: upgrade together with an Upgrade field
  std::string_view host;

  std::string_view get(std::string_view name) const;  // the first, or empty
  void clear();                                       // keeps the capacity of fields
};

bool equal_ignoring_case(std::string_view a, std::string_view b);

// Looks for the empty line that ends a head. `scanned` (0 at first) remembers how far earlier calls looked.
// The length of the head including the empty line; 0 when more is needed; an error at the first bare line feed.
Result<size_t> find_head_end(std::string_view data, size_t& scanned);

// `text` is a whole head as found by find_head_end. Errors carry the status to answer: 400, 431, 501, 505.
Result<> parse_request_head(std::string_view text, size_t max_fields, Head& out);
Result<> parse_response_head(std::string_view text, size_t max_fields, Head& out);

// Takes a chunked body apart. Extensions are checked and dropped, trailers too.
class ChunkDecoder {
 public:
  // Consumes from the front of `in` and returns the next run of body bytes, a view into it. Empty: all of `in` was consumed
  // and more is needed, or done().
  Result<std::string_view> next(std::string_view& in);
  bool done() const { return state_ == State::done; }

 private:
  enum class State { size, extension, size_lf, data, data_cr, data_lf, trailer_start, trailer, trailer_lf, end_lf, done };
  State state_ = State::size;
  uint64_t left_ = 0;
  uint32_t digits_ = 0;
  uint32_t skipped_ = 0;  // bytes of extension and trailers
  bool colon_ = false;
};

// "Date: ...\r\n" of the current second; valid until the next call on this thread.
std::string_view date_line();

}  // namespace base::http
