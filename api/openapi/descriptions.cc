#include "api/openapi/descriptions.h"

#include <fmt/format.h>
#include <zstd.h>

__asm__(
    ".pushsection .rodata.descriptions, \"a\", @progbits\n"
    ".global appliance_descriptions_begin\n"
    "appliance_descriptions_begin:\n"
    ".incbin \"" APPLIANCE_DESCRIPTIONS "\"\n"
    ".global appliance_descriptions_end\n"
    "appliance_descriptions_end:\n"
    ".popsection\n");
extern "C" const char appliance_descriptions_begin[];
extern "C" const char appliance_descriptions_end[];

namespace api::openapi {

Descriptions::Descriptions() {
  const auto packed = static_cast<size_t>(appliance_descriptions_end - appliance_descriptions_begin);
  const unsigned long long size = ZSTD_getFrameContentSize(appliance_descriptions_begin, packed);
  if (size >= ZSTD_CONTENTSIZE_ERROR) return;
  text_.resize(size);
  if (ZSTD_decompress(text_.data(), size, appliance_descriptions_begin, packed) != size) return;
  std::string_view rest = text_, type;
  while (!rest.empty()) {
    size_t end = rest.find('\n');
    std::string_view line = rest.substr(0, end);
    rest.remove_prefix(end == rest.npos ? rest.size() : end + 1);
    if (line.empty() || line[0] == '#') continue;
    size_t tab = line.find('\t');
    std::string_view name = line.substr(0, tab), text = tab == line.npos ? std::string_view() : line.substr(tab + 1);
    if (name[0] != '.') type = name;
    std::string key(type);
    if (name[0] == '.') key += name;
    if (!text.empty()) by_name_.emplace(std::move(key), text);
  }
}

std::string_view Descriptions::find(std::string_view name) const {
  auto it = by_name_.find(std::string(name));
  return it == by_name_.end() ? std::string_view() : it->second;
}

std::string_view Descriptions::type(const Type& t) const { return t.doc.empty() ? find(t.name) : t.doc; }

std::string_view Descriptions::field(const Type& t, const Field& f) const {
  if (std::string_view own = find(fmt::format("{}.{}", t.name, f.name)); !own.empty()) return own;
  if (!f.doc.empty()) return f.doc;
  if (std::string_view common = find(fmt::format("*.{}", f.name)); !common.empty()) return common;
  return f.type->form == Form::object                               ? type(*f.type)
         : f.type->element && f.type->element->form == Form::object ? type(*f.type->element)
                                                                    : std::string_view();
}

}  // namespace api::openapi
