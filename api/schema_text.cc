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

const std::vector<std::string_view>& schema_texts() {
  static const auto& texts = [] -> const std::vector<std::string_view>& {
    const auto packed = static_cast<size_t>(appliance_schema_end - appliance_schema_begin);
    const unsigned long long size = ZSTD_getFrameContentSize(appliance_schema_begin, packed);
    if (size >= ZSTD_CONTENTSIZE_ERROR) std::abort();  // the executable itself is damaged
    auto* text = new std::string(size, '\0');
    if (ZSTD_decompress(text->data(), size, appliance_schema_begin, packed) != size) std::abort();
    auto* all = new std::vector<std::string_view>;
    // The generator ends each file with NUL.
    for (std::string_view rest = *text; !rest.empty();) {
      const size_t end = rest.find('\0');
      all->push_back(rest.substr(0, end));
      rest.remove_prefix(end == rest.npos ? rest.size() : end + 1);
    }
    return *all;
  }();
  return texts;
}

}  // namespace api
