// The first byte says how many pages the chunk is to have; the rest is the file.
#include "snapshot/chunk.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "base/digest.h"
#include "base/files.h"
#include "base/unique_fd.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace spore;
  if (size == 0) {
    return 0;
  }
  std::vector<std::byte> content((1 + data[0] % 4U) * 4096);
  const std::string digest = base::sha256_of(std::string(content.size(), 'A'));
  const base::UniqueFd file(::memfd_create("chunk", MFD_CLOEXEC));
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (!file.valid() || !base::write_all(file.get(), bytes, "a chunk")) {
    std::abort();
  }
  const std::string path = "/proc/self/fd/" + std::to_string(file.get());
  const bool right = snapshot::read_chunk(path, digest, content, "it").has_value();
  if (right && std::any_of(content.begin(), content.end(),
                           [](std::byte byte) { return byte != std::byte{'A'}; })) {
    std::abort();
  }
  return 0;
}
