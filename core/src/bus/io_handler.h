// IoHandler: what a device looks like to the bus. A device never knows its base address: the bus
// gives it offsets into its own window.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace spore::bus {

// Both calls come with the machine's device lock held, from a vCPU thread. `data` is 1, 2, 4 or 8
// bytes, little-endian, chosen by the guest, as is `offset` (always inside the window). A read that
// makes no sense fills zeroes or ones; a write that makes no sense is ignored.
class IoHandler {
 public:
  virtual ~IoHandler() = default;
  [[nodiscard]] virtual std::string_view name() const noexcept = 0;
  virtual void read(std::uint64_t offset, std::span<std::byte> data) = 0;
  virtual void write(std::uint64_t offset, std::span<const std::byte> data) = 0;
};

}  // namespace spore::bus
