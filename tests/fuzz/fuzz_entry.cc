// The entry of a fuzzer for the target that the build names.
#include <cstddef>

#include "fuzz/targets.h"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  spore::fuzz::SPORE_FUZZ_ENTRY({reinterpret_cast<const char*>(data), size});
  return 0;
}
