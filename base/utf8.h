// UTF-8 as RFC 3629 has it: no surrogates, no overlong forms, nothing beyond U+10FFFF.
#pragma once

#include <string>
#include <string_view>

namespace base {

bool is_utf8(std::string_view text);
// The text with U+FFFD for each byte that belongs to no character, as Go's JSON encoder writes it.
std::string to_utf8(std::string_view text);

}  // namespace base
