// SPORE_CHECK: a bug in Spore aborts with its place. Never applied to what a guest, a file or a
// socket says.
#pragma once

namespace spore::base {

[[noreturn]] void check_failed(const char* file, int line, const char* condition);

}  // namespace spore::base

#define SPORE_CHECK(condition)                                     \
  do {                                                             \
    if (!(condition)) [[unlikely]] {                               \
      ::spore::base::check_failed(__FILE__, __LINE__, #condition); \
    }                                                              \
  } while (false)
