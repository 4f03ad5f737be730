#include "agent/streams/spdy_frame.h"

#include <zlib.h>

#include <algorithm>
#include <cctype>

namespace agent::spdy {

std::string_view header(const Headers& h, std::string_view name) {
  for (const auto& [k, v] : h) {
    if (k.size() == name.size() && std::equal(k.begin(), k.end(), name.begin(), [](char a, char b) {
          return std::tolower(static_cast<unsigned char>(a)) == std::tolower(static_cast<unsigned char>(b));
        })) {
      return v;
    }
  }
  return {};
}

uint32_t read_u32(std::string_view at) {
  auto b = [&](size_t i) { return static_cast<uint32_t>(static_cast<unsigned char>(at[i])); };
  return b(0) << 24 | b(1) << 16 | b(2) << 8 | b(3);
}

void append_u32(std::string& to, uint32_t v) {
  for (int shift = 24; shift >= 0; shift -= 8) to.push_back(static_cast<char>(v >> shift & 0xff));
}

FrameHeader parse_frame_header(std::string_view bytes) {
  FrameHeader f;
  uint32_t first = read_u32(bytes), second = read_u32(bytes.substr(4));
  f.control = first >> 31;
  if (f.control) {
    f.version = static_cast<uint16_t>(first >> 16 & 0x7fff);
    f.type = static_cast<uint16_t>(first & 0xffff);
  } else {
    f.stream_id = first & 0x7fffffff;
  }
  f.flags = static_cast<uint8_t>(second >> 24);
  f.length = second & 0xffffff;
  return f;
}

std::string data_frame_header(uint32_t stream_id, bool fin, size_t length) {
  std::string out;
  append_u32(out, stream_id & 0x7fffffff);
  append_u32(out, static_cast<uint32_t>(fin ? kFlagFin : 0) << 24 | static_cast<uint32_t>(length & 0xffffff));
  return out;
}

std::string control_frame(Kind kind, uint8_t flags, std::string_view payload) {
  std::string out;
  append_u32(out, 0x80030000u | static_cast<uint32_t>(kind));
  append_u32(out, static_cast<uint32_t>(flags) << 24 | static_cast<uint32_t>(payload.size() & 0xffffff));
  out.append(payload);
  return out;
}

const std::string& dictionary() {
  static const std::string text = [] {
    std::string d;
    for (std::string_view word :
         {"options",          "head",           "post",             "put",          "delete",       "trace",          "accept",
          "accept-charset",   "accept-encoding", "accept-language", "accept-ranges", "age",         "allow",          "authorization",
          "cache-control",    "connection",     "content-base",     "content-encoding", "content-language", "content-length", "content-location",
          "content-md5",      "content-range",  "content-type",     "date",         "etag",         "expect",         "expires",
          "from",             "host",           "if-match",         "if-modified-since", "if-none-match", "if-range",  "if-unmodified-since",
          "last-modified",    "location",       "max-forwards",     "pragma",       "proxy-authenticate", "proxy-authorization", "range",
          "referer",          "retry-after",    "server",           "te",           "trailer",      "transfer-encoding", "upgrade",
          "user-agent",       "vary",           "via",              "warning",      "www-authenticate", "method",     "get",
          "status",           "200 OK",         "version",          "HTTP/1.1",     "url",          "public",         "set-cookie",
          "keep-alive",       "origin"}) {
      append_u32(d, static_cast<uint32_t>(word.size()));
      d.append(word);
    }
    d +=
        "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
        "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden404 Not Found"
        "500 Internal Server Error501 Not Implemented503 Service Unavailable"
        "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
        "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,"
        "publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.";
    return d;
  }();
  return text;
}

namespace {

constexpr size_t kMaxHeaderBytes = 64 * 1024;
constexpr uint32_t kMaxHeaders = 200;

Bytef* bytes(std::string_view s) { return reinterpret_cast<Bytef*>(const_cast<char*>(s.data())); }

Result<Headers> parse_block(std::string_view in) {
  auto bad = [] { return base::bad_request("malformed SPDY header block"); };
  auto u32 = [&](uint32_t& v) {
    if (in.size() < 4) return false;
    v = read_u32(in);
    in.remove_prefix(4);
    return true;
  };
  auto text = [&](std::string& s) {
    uint32_t n;
    if (!u32(n) || n > in.size()) return false;
    s = in.substr(0, n);
    in.remove_prefix(n);
    return true;
  };
  uint32_t count;
  if (!u32(count) || count > kMaxHeaders) return bad();
  Headers out;
  for (uint32_t i = 0; i < count; ++i) {
    std::string name, value;
    if (!text(name) || !text(value)) return bad();
    // Several values of one name are joined by NUL.
    size_t from = 0;
    for (;;) {
      size_t nul = value.find('\0', from);
      out.emplace_back(name, value.substr(from, nul == std::string::npos ? nul : nul - from));
      if (nul == std::string::npos) break;
      from = nul + 1;
    }
  }
  return out;
}

}  // namespace

struct Deflater::Impl {
  z_stream z{};
};

Deflater::Deflater() : impl_(std::make_unique<Impl>()) {
  // A small window: our blocks are tiny, and the memory is per session.
  deflateInit2(&impl_->z, Z_BEST_SPEED, Z_DEFLATED, 11, 1, Z_DEFAULT_STRATEGY);
  const std::string& d = dictionary();
  deflateSetDictionary(&impl_->z, bytes(d), static_cast<uInt>(d.size()));
}

Deflater::~Deflater() { deflateEnd(&impl_->z); }

std::string Deflater::encode(const Headers& headers) {
  std::string plain;
  append_u32(plain, static_cast<uint32_t>(headers.size()));
  for (const auto& [k, v] : headers) {
    append_u32(plain, static_cast<uint32_t>(k.size()));
    plain += k;
    append_u32(plain, static_cast<uint32_t>(v.size()));
    plain += v;
  }
  std::string out(plain.size() + 128, '\0');
  z_stream& z = impl_->z;
  z.next_in = bytes(plain);
  z.avail_in = static_cast<uInt>(plain.size());
  size_t used = 0;
  for (;;) {
    z.next_out = bytes(out) + used;
    z.avail_out = static_cast<uInt>(out.size() - used);
    deflate(&z, Z_SYNC_FLUSH);
    used = out.size() - z.avail_out;
    if (z.avail_out > 0) break;
    out.resize(out.size() * 2);
  }
  out.resize(used);
  return out;
}

struct Inflater::Impl {
  z_stream z{};
};

Inflater::Inflater() : impl_(std::make_unique<Impl>()) { inflateInit(&impl_->z); }
Inflater::~Inflater() { inflateEnd(&impl_->z); }

Result<Headers> Inflater::decode(std::string_view block) {
  std::string out(1024, '\0');
  z_stream& z = impl_->z;
  z.next_in = bytes(block);
  z.avail_in = static_cast<uInt>(block.size());
  size_t used = 0;
  for (;;) {
    z.next_out = bytes(out) + used;
    z.avail_out = static_cast<uInt>(out.size() - used);
    int r = inflate(&z, Z_SYNC_FLUSH);
    if (r == Z_NEED_DICT) {
      const std::string& d = dictionary();
      r = inflateSetDictionary(&z, bytes(d), static_cast<uInt>(d.size()));
      if (r == Z_OK) continue;
    }
    used = out.size() - z.avail_out;
    if (r == Z_BUF_ERROR && z.avail_in == 0) break;
    if (r != Z_OK && r != Z_STREAM_END) return base::bad_request("malformed SPDY header compression");
    if (z.avail_out > 0) break;
    if (out.size() >= kMaxHeaderBytes) return base::bad_request("SPDY header block too large");
    out.resize(out.size() * 2);
  }
  out.resize(used);
  return parse_block(out);
}

}  // namespace agent::spdy
