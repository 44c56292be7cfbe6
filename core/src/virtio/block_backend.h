// BlockBackend: where the bytes of a block device are.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/unique_fd.h"
#include "spore/result.h"

namespace spore::virtio {

// Offsets and sizes are checked by the device: always inside size_bytes(). The devices of several
// machines may share one, and call it at the same time. The pieces are guest memory that may change
// meanwhile.
class BlockBackend {
 public:
  virtual ~BlockBackend() = default;
  [[nodiscard]] virtual std::uint64_t size_bytes() const noexcept = 0;  // never changes
  [[nodiscard]] virtual bool writable() const noexcept = 0;
  // Fills all pieces from `offset` on, or fails.
  virtual Result<void> read(std::uint64_t offset, std::span<const std::span<std::byte>> into) = 0;
  virtual Result<void> write(std::uint64_t offset, std::span<const std::span<std::byte>> from) = 0;
  virtual Result<void> flush() = 0;
};

// A file, or a block device of the host. Its size must be a whole number of sectors; a read-only
// file may have a ragged end, which then reads as zeroes up to the next sector.
class FileBlockBackend final : public BlockBackend {
 public:
  static Result<std::unique_ptr<FileBlockBackend>> open(const std::string& path, bool writable);

  [[nodiscard]] std::uint64_t size_bytes() const noexcept override { return size_; }
  [[nodiscard]] bool writable() const noexcept override { return writable_; }
  Result<void> read(std::uint64_t offset, std::span<const std::span<std::byte>> into) override;
  Result<void> write(std::uint64_t offset, std::span<const std::span<std::byte>> from) override;
  Result<void> flush() override;

 private:
  FileBlockBackend(base::UniqueFd fd, std::string path, std::uint64_t file_size, bool writable);

  base::UniqueFd fd_;
  std::string path_;
  std::uint64_t file_size_;
  std::uint64_t size_;  // file_size_ rounded up to a sector
  bool writable_;
};

}  // namespace spore::virtio
