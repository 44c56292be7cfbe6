// The input is parsed as it is, and as a list of patches (offset, value) to a valid file: damage
// gets deeper into the parser than noise.
#include "image/kernel.h"

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "unit/image/samples.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto parse = [](std::string_view bytes) {
    const auto header = spore::image::parse_kernel_header(bytes, bytes.size());
    if (header && header->payload_offset + header->payload_length > bytes.size()) {
      std::abort();
    }
    static_cast<void>(spore::image::check_kernel_elf(bytes, bytes.size()));
  };
  parse({reinterpret_cast<const char*>(data), size});
  std::string patched = spore::image::test::make_bzimage(spore::image::test::make_elf());
  for (std::size_t at = 0; at + 3 <= size; at += 3) {
    const auto offset = static_cast<std::size_t>(data[at] | data[at + 1] << 8);
    patched[offset % 1024] = static_cast<char>(data[at + 2]);
    parse(patched);
  }
  return 0;
}
