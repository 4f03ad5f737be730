// SPDY/3.1 framing (Chromium's draft 3.1), the server's side: what kubectl up to 1.30 uses for exec, attach and port-forward.
// Input is hostile: every length is checked, header blocks are bounded.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"

namespace agent::spdy {

using base::Result;

using Headers = std::vector<std::pair<std::string, std::string>>;
// First value of the name (names are lower-case on the wire), or empty.
std::string_view header(const Headers& h, std::string_view name);

enum class Kind : uint16_t {
  data = 0,
  syn_stream = 1,
  syn_reply = 2,
  rst_stream = 3,
  settings = 4,
  ping = 6,
  goaway = 7,
  headers = 8,
  window_update = 9,
};

struct FrameHeader {
  bool control = false;
  uint16_t version = 0;
  uint16_t type = 0;        // of control frames
  uint32_t stream_id = 0;   // of data frames
  uint8_t flags = 0;
  uint32_t length = 0;      // of the payload, at most 2^24 - 1
};
constexpr size_t kFrameHeaderSize = 8;
constexpr uint8_t kFlagFin = 1;
// Nothing we speak to sends larger frames.
constexpr uint32_t kMaxFrame = 1 << 20;

FrameHeader parse_frame_header(std::string_view eight_bytes);
std::string data_frame_header(uint32_t stream_id, bool fin, size_t length);
std::string control_frame(Kind kind, uint8_t flags, std::string_view payload);

uint32_t read_u32(std::string_view at);
void append_u32(std::string& to, uint32_t v);

// The header compression of one direction: a zlib stream that lives as long as the session, primed with the protocol's dictionary.
class Deflater {
 public:
  Deflater();
  ~Deflater();
  std::string encode(const Headers& headers);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

class Inflater {
 public:
  Inflater();
  ~Inflater();
  Result<Headers> decode(std::string_view block);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// The 1423 bytes both ends start from.
const std::string& dictionary();

}  // namespace agent::spdy
