#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "snapshot/document.h"
#include "snapshot/manifest.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace spore::snapshot;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  if (const auto manifest = parse_manifest(bytes, "it")) {
    const Platform& platform = manifest->platform;
    if (to_document(*manifest) != bytes || !differences(platform, platform, false).empty()) {
      std::abort();
    }
  }
  return 0;
}
