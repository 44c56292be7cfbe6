// The input is parsed as it is, and as a list of patches (offset, value) to a valid file: damage
// gets deeper into the parser than noise.
#include "image/elf.h"

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "unit/image/samples.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto parse = [](std::string_view bytes) {
    static_cast<void>(spore::image::parse_elf(spore::image::memory_reader(bytes)));
  };
  parse({reinterpret_cast<const char*>(data), size});
  std::string patched = spore::image::test::make_dynamic_elf();
  for (std::size_t at = 0; at + 3 <= size; at += 3) {
    const auto offset = static_cast<std::size_t>(data[at] | data[at + 1] << 8);
    patched[offset % 1024] = static_cast<char>(data[at + 2]);
    parse(patched);
  }
  return 0;
}
