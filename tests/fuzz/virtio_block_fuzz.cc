#include <algorithm>
#include <string>

#include "support/virtio_fuzz.h"
#include "virtio/block.h"

namespace {

// A disk of 16 sectors that aborts when the device asks for what is not there.
class Disk final : public spore::virtio::BlockBackend {
 public:
  std::uint64_t size_bytes() const noexcept override { return bytes_.size(); }
  bool writable() const noexcept override { return true; }
  spore::Result<void> read(std::uint64_t offset,
                           std::span<const std::span<std::byte>> into) override {
    for (const auto piece : into) {
      spore::testing::fuzz_require(offset + piece.size() <= bytes_.size());
      std::memcpy(piece.data(), bytes_.data() + offset, piece.size());
      offset += piece.size();
    }
    return {};
  }
  spore::Result<void> write(std::uint64_t offset,
                            std::span<const std::span<std::byte>> from) override {
    for (const auto piece : from) {
      spore::testing::fuzz_require(offset + piece.size() <= bytes_.size());
      std::memcpy(bytes_.data() + offset, piece.data(), piece.size());
      offset += piece.size();
    }
    return {};
  }
  spore::Result<void> flush() override { return {}; }

 private:
  std::string bytes_ = std::string(16 * spore::virtio::kSectorSize, 'd');
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto make = [] {
    return std::make_unique<spore::virtio::BlockDevice>(std::make_unique<Disk>(), "disk",
                                                        spore::virtio::BlockState{});
  };
  spore::testing::fuzz_virtio_device({data, size}, {make(), make, {}});
  return 0;
}
