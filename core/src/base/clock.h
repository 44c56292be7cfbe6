// How long something took: whole microseconds of the steady clock.
#pragma once

#include <chrono>
#include <cstdint>

namespace spore::base {

// 0 when `to` is before `from`: two threads may note their times in either order.
inline std::uint64_t microseconds_between(std::chrono::steady_clock::time_point from,
                                          std::chrono::steady_clock::time_point to) {
  const auto span = std::chrono::duration_cast<std::chrono::microseconds>(to - from).count();
  return span > 0 ? static_cast<std::uint64_t>(span) : 0;
}

inline std::uint64_t microseconds_since(std::chrono::steady_clock::time_point start) {
  return microseconds_between(start, std::chrono::steady_clock::now());
}

}  // namespace spore::base
