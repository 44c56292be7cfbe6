// Putting one page back: the inner loop of a reset.
#pragma once

#include <cstddef>

namespace spore::memory {

// Makes the page (4 KiB, aligned) at `page` equal to that at `wanted`; whether it was not before.
bool copy_difference(std::byte* page, const std::byte* wanted) noexcept;

}  // namespace spore::memory
