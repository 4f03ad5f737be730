#include "api/schema_text.h"

#include <zstd.h>

#include <cstdlib>
#include <string>

__asm__(
    ".pushsection .rodata.schema, \"a\", @progbits\n"
    ".global appliance_schema_begin\n"
    "appliance_schema_begin:\n"
    ".incbin \"" APPLIANCE_SCHEMA "\"\n"
    ".global appliance_schema_end\n"
    "appliance_schema_end:\n"
    ".popsection\n");
extern "C" const char appliance_schema_begin[];
extern "C" const char appliance_schema_end[];

namespace api {

namespace {

struct Texts {
  std::string all;
  std::vector<std::string_view> files;

  Texts() {
    const auto packed = static_cast<size_t>(appliance_schema_end - appliance_schema_begin);
    const unsigned long long size = ZSTD_getFrameContentSize(appliance_schema_begin, packed);
    if (size >= ZSTD_CONTENTSIZE_ERROR) std::abort();  // the executable itself is damaged
    all.resize(size);
    if (ZSTD_decompress(all.data(), size, appliance_schema_begin, packed) != size) std::abort();
    // The generator ends each file with NUL.
    for (std::string_view rest = all; !rest.empty();) {
      const size_t end = rest.find('\0');
      files.push_back(rest.substr(0, end));
      rest.remove_prefix(end == rest.npos ? rest.size() : end + 1);
    }
  }
};

}  // namespace

const std::vector<std::string_view>& schema_texts() {
  static const Texts* texts = new Texts;  // outlives every user
  return texts->files;
}

}  // namespace api
