// Ram: the RAM of one machine, a file in memory mapped into this process. A booting machine maps
// its own file shared; when it is captured, that file is the snapshot (a RamImage) and nothing is
// copied. A forked machine maps the image privately: reads share its pages, writes make pages of
// its own.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/mapping.h"
#include "base/unique_fd.h"
#include "memory/guest_memory.h"
#include "spore/result.h"

namespace spore::memory {

// Immutable (sealed) RAM of a captured machine.
class RamImage {
 public:
  RamImage(base::UniqueFd file, std::uint64_t size) : file_(std::move(file)), size_(size) {}
  [[nodiscard]] int fd() const noexcept { return file_.get(); }
  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }
  // Bytes of host memory that it occupies.
  [[nodiscard]] std::uint64_t resident_bytes() const;

 private:
  base::UniqueFd file_;
  std::uint64_t size_;
};

// Where a piece of RAM lies in the guest; pieces follow each other in the file.
struct RamPiece {
  GuestAddress base = 0;
  std::uint64_t size = 0;
};

class Ram {
 public:
  static Result<std::unique_ptr<Ram>> create(const std::vector<RamPiece>& layout);
  static Result<std::unique_ptr<Ram>> fork(std::shared_ptr<const RamImage> image,
                                           const std::vector<RamPiece>& layout);

  [[nodiscard]] const GuestMemory& memory() const noexcept { return memory_; }

  // Makes what RAM holds now into an image. No vCPU may run meanwhile. This RAM stays as it is, at
  // the same addresses; its later writes are private. Copies nothing for a machine that was booted;
  // for one that was forked, its image and its private pages become a new image.
  Result<std::shared_ptr<const RamImage>> capture();

  // Host memory that belongs to this machine alone.
  [[nodiscard]] Result<std::uint64_t> private_bytes() const;
  // Host memory of the image that it was forked from or captured into; 0 without one.
  [[nodiscard]] std::uint64_t shared_bytes() const;

 private:
  Ram(base::UniqueFd file, base::Mapping mapping, const std::vector<RamPiece>& layout,
      std::shared_ptr<const RamImage> image);
  Result<std::shared_ptr<const RamImage>> seal_own_file();
  Result<std::shared_ptr<const RamImage>> merge_into_new_file() const;
  Result<void> map_image(std::shared_ptr<const RamImage> image);

  base::UniqueFd file_;  // while it is mapped shared; invalid once there is an image
  base::Mapping mapping_;
  GuestMemory memory_;
  std::shared_ptr<const RamImage> image_;
};

}  // namespace spore::memory
