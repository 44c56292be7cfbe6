#include "profile.h"

// The compilers' runtimes have these names. Weak: most programs are not compiled for coverage.
extern "C" {
__attribute__((weak)) void __gcov_dump();                    // NOLINT
__attribute__((weak)) void __gcov_reset();                   // NOLINT
__attribute__((weak)) int __llvm_profile_write_file();       // NOLINT
__attribute__((weak)) void __llvm_profile_reset_counters();  // NOLINT
}

namespace spore::gtest {

void put_profile_aside() {
  if (__gcov_dump != nullptr && __gcov_reset != nullptr) {
    __gcov_dump();
    __gcov_reset();
  }
  if (__llvm_profile_write_file != nullptr && __llvm_profile_reset_counters != nullptr) {
    __llvm_profile_write_file();
    __llvm_profile_reset_counters();
  }
}

}  // namespace spore::gtest
