// Ram: the RAM of one machine, a window of this process's addresses. A booting machine maps a file
// of its own there, shared; when it is captured, that file is the snapshot (a RamImage) and nothing
// is copied. A forked machine maps an image privately: reads share its pages, writes make pages of
// its own. The same window can hold one image after the other, so that a hypervisor's memory slots
// over it stay as they are.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "base/mapping.h"
#include "base/unique_fd.h"
#include "memory/guest_memory.h"
#include "memory/ram_image.h"
#include "memory/written_pages.h"
#include "spore/result.h"

namespace spore::memory {

// Where a piece of RAM lies in the guest; pieces follow each other in the file.
struct RamPiece {
  GuestAddress base = 0;
  std::uint64_t size = 0;
};

// Threads: one at a time, but for what on_lost_page() says.
class Ram {
 public:
  // Of a machine that will boot: zeros.
  static Result<std::unique_ptr<Ram>> create(const std::vector<RamPiece>& layout);
  // Of a machine that will be forked: a window that load() fills.
  static Result<std::unique_ptr<Ram>> reserve(const std::vector<RamPiece>& layout);
  ~Ram();
  Ram(const Ram&) = delete;
  Ram& operator=(const Ram&) = delete;

  [[nodiscard]] const GuestMemory& memory() const noexcept { return memory_; }
  [[nodiscard]] std::uint64_t size() const noexcept { return mapping_.size(); }

  // What is in it, or was before it was written to; none in a new window or a booted machine's RAM.
  [[nodiscard]] const std::shared_ptr<const RamImage>& image() const noexcept { return image_; }
  // Every page that may differ from image(). GuestMemory adds what this process writes; whoever has
  // the hypervisor adds what guests write, before load() and capture(). None for a booted machine.
  [[nodiscard]] WrittenPages* written() noexcept { return written_.get(); }

  struct Loaded {
    bool anew = false;        // mapped, with no page of its own left
    std::size_t checked = 0;  // pages compared with the image
    std::size_t copied = 0;   // those that differed
  };
  // Makes this RAM equal to `image`, which has its size. Puts the written pages back where they
  // are, or drops everything and maps the image where that is dearer. No vCPU may run meanwhile.
  // Written pages stay noted, unless it was mapped anew. Needs reserve().
  Result<Loaded> load(std::shared_ptr<const RamImage> image);

  // A lazy image's page may turn out not to be had when it is touched. `lost` is called then, by
  // another thread, before whoever touched it goes on with zeros instead: a machine must not
  // pass on what it makes of them. No call is under way when this returns, so `lost` must not take
  // a lock that its caller holds. May be empty.
  void on_lost_page(LazyFill::OnFailure lost);

  // Tells image() which pages were touched and written since it was mapped anew, for those that
  // come after. What the hypervisor knows has to be in written().
  Result<void> record_working_set() const;
  // Brings the pages of the image's working set into place; begins to load those that are lazy.
  void prefetch();

  // Makes what RAM holds now into an image. No vCPU may run meanwhile. This RAM stays as it is, at
  // the same addresses; its later writes are private. Copies nothing for a machine that was booted;
  // else the pages that differ from its image become a layer on that.
  Result<std::shared_ptr<const RamImage>> capture();

  // Host memory that belongs to this machine alone.
  [[nodiscard]] Result<std::uint64_t> private_bytes() const;
  // Host memory of the image that it was forked from or captured into; 0 without one.
  [[nodiscard]] std::uint64_t shared_bytes() const;

 private:
  Ram(base::UniqueFd file, base::Mapping mapping, const std::vector<RamPiece>& layout,
      std::unique_ptr<WrittenPages> written);
  Result<std::shared_ptr<const RamImage>> seal_own_file();
  [[nodiscard]] Result<std::vector<std::uint32_t>> differing_pages() const;
  Result<void> map_file(int fd, int protection);
  Result<void> map_anew(const std::shared_ptr<const RamImage>& image);
  bool put_back(std::size_t page, const RamImage& image);
  Result<void> ensure_comparable(const RamImage& image) const;
  Result<void> map_overlay(const RamImage& image);
  Result<void> watch(const std::shared_ptr<const RamImage>& image);
  void unwatch();
  [[nodiscard]] std::optional<Error> lost_page() const;

  base::UniqueFd file_;  // while it is mapped shared; invalid once there is an image
  base::Mapping mapping_;
  std::unique_ptr<WrittenPages> written_;
  GuestMemory memory_;
  std::shared_ptr<const RamImage> image_;
  std::size_t checked_in_vain_ = 0;          // pages, since it was mapped anew
  std::shared_ptr<const RamImage> watched_;  // whose fill serves this window, if one does

  mutable std::mutex lost_mutex_;
  LazyFill::OnFailure on_lost_page_;  // under lost_mutex_
  std::optional<Error> lost_page_;    // under lost_mutex_; since it was mapped anew
};

}  // namespace spore::memory
