// Byte strings as hexadecimal text.
#pragma once

#include <string>
#include <string_view>

#include "spore/result.h"

namespace spore::base {

std::string to_hex(std::string_view bytes);
// kCorrupt for what to_hex() does not write: other than pairs of lower-case digits.
Result<std::string> from_hex(std::string_view hex);
[[nodiscard]] bool is_hex(std::string_view text) noexcept;

}  // namespace spore::base
