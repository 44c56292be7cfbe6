// VirtQueue: the device's side of one split virtqueue. Everything in guest memory is hostile: rings
// and descriptors are copied once and then checked, every walk is bounded by the queue's size, and
// nothing outside guest RAM is ever touched.
//
// A bad chain goes back to the driver unused and is counted. A ring that makes no sense (an index
// too far ahead, a head out of range) cannot be answered: the device asks to be reset.
//
// Not thread-safe: used under the device lock.
#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <vector>

#include "memory/guest_memory.h"
#include "spore/result.h"
#include "virtio/queue_registers.h"

namespace spore::virtio {

struct QueueState {
  std::uint32_t size = 0;  // as written by the driver; meaningful once `ready`
  bool ready = false;
  std::uint64_t descriptors = 0;  // guest-physical
  std::uint64_t available = 0;
  std::uint64_t used = 0;
  std::uint16_t next_available = 0;
  std::uint16_t next_used = 0;
  std::uint16_t signalled = 0;  // next_used when the driver was last told, or spared
  bool unfinished = false;      // stopped by the work budget with chains left
  bool operator==(const QueueState&) const = default;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(QueueState, size, ready, descriptors, available, used,
                                   next_available, next_used, signalled, unfinished)

// What a queue asks of its transport.
class QueueOwner {
 public:
  virtual ~QueueOwner() = default;
  virtual void on_used_buffer() = 0;  // interrupt the driver
  virtual void on_broken_ring() = 0;  // DEVICE_NEEDS_RESET
};

class VirtQueue;

// One descriptor chain, taken from a queue. It goes back to the driver when complete()d or
// destroyed, with the number of bytes written so far. At most one chain of a queue is out at a
// time.
class DescriptorChain {
 public:
  DescriptorChain(DescriptorChain&& other) noexcept;
  DescriptorChain& operator=(DescriptorChain&&) = delete;
  ~DescriptorChain() { complete(); }

  // What is left of the device-readable and of the device-writable part.
  [[nodiscard]] std::uint64_t readable_bytes() const noexcept { return readable_left_; }
  [[nodiscard]] std::uint64_t writable_bytes() const noexcept { return writable_left_; }

  // Copies the next bytes; answers how many there were (at most the size asked for).
  std::size_t read(std::span<std::byte> into) noexcept;
  std::size_t write(std::span<const std::byte> from) noexcept;

  // The next at most `count` bytes in place, appended to `out` piece by piece. The guest can change
  // them at any time. Bytes taken as writable count as written.
  std::size_t take_readable(std::uint64_t count, std::vector<std::span<std::byte>>& out);
  std::size_t take_writable(std::uint64_t count, std::vector<std::span<std::byte>>& out);

  void complete() noexcept;

 private:
  friend class VirtQueue;
  DescriptorChain(VirtQueue& queue, std::uint16_t head) noexcept : queue_(&queue), head_(head) {}

  struct Cursor {
    std::size_t segment = 0;
    std::size_t offset = 0;
  };
  // The next piece of at most `limit` bytes at `cursor`, which moves on; empty at the end.
  std::span<std::byte> next_piece(Cursor& cursor, std::size_t end, std::uint64_t limit) noexcept;

  VirtQueue* queue_;  // nullptr once completed
  std::uint16_t head_;
  Cursor read_cursor_;
  Cursor write_cursor_;
  std::uint64_t readable_left_ = 0;
  std::uint64_t writable_left_ = 0;
  std::uint64_t written_ = 0;
};

class VirtQueue {
 public:
  // Chains handled for one notification before the guest gets its CPU back.
  static constexpr unsigned kWorkBudget = 1024;

  // `state`, `memory` and `owner` outlive the queue. Detached at first.
  VirtQueue(QueueState& state, const memory::GuestMemory& memory, QueueOwner& owner,
            std::uint16_t max_size) noexcept
      : state_(state), memory_(memory), owner_(owner), max_size_(max_size) {}

  // Why a state cannot be a ready queue: the field and what is wrong with it. The same rule holds
  // for a driver's set-up and for a restored state.
  [[nodiscard]] static Result<void> validate(const QueueState& state, std::uint16_t max_size,
                                             const memory::GuestMemory& memory);

  // Resolves the rings of a valid, ready state.
  void attach(bool event_index) noexcept;
  void detach() noexcept;
  [[nodiscard]] bool attached() const noexcept { return !descriptors_.empty(); }
  [[nodiscard]] std::uint16_t max_size() const noexcept { return max_size_; }

  // The next chain that makes sense. When there is none, the driver is asked to notify about the
  // next one: a queue that nobody pops costs no notifications (with VIRTIO_F_EVENT_IDX).
  [[nodiscard]] std::optional<DescriptorChain> pop();

  // Hands every available chain to `handle`, at most kWorkBudget of them, then tells the driver.
  // What the budget leaves is taken up by the transport when the driver acknowledges the interrupt.
  template <typename Handle>
  void drain(Handle&& handle) {
    for (unsigned done = 0; done < kWorkBudget; ++done) {
      auto chain = pop();
      if (!chain) {
        signal();
        return;
      }
      handle(*chain);
    }
    state_.unfinished = true;
    signal();
    owner_.on_used_buffer();
  }

  // Tells the driver about the buffers used since the last call, if it wants to know.
  void signal();

  // From now on used buffers are kept from the driver until there are many of them, or give_back()
  // is called: for a queue whose driver waits for nothing but room in it. An interrupt for each
  // would be three exits of the guest, which learns nothing by it.
  void hold_back() noexcept { holds_back_ = true; }
  void give_back();

  // Whether there are buffers that the driver was not told about.
  [[nodiscard]] bool has_untold() const noexcept {
    return attached() && state_.signalled != state_.next_used;
  }

  [[nodiscard]] std::uint64_t dropped_chains() const noexcept { return dropped_; }

 private:
  friend class DescriptorChain;
  [[nodiscard]] bool available();
  [[nodiscard]] bool walk(std::uint16_t head, DescriptorChain& chain);
  void complete(std::uint16_t head, std::uint32_t written) noexcept;
  void publish() noexcept;
  void break_ring();

  QueueState& state_;
  const memory::GuestMemory& memory_;
  QueueOwner& owner_;
  std::uint16_t max_size_;
  bool event_index_ = false;
  bool chain_out_ = false;
  bool holds_back_ = false;
  std::uint16_t seen_index_ = 0;  // the driver's index when it was last read
  std::span<std::byte> descriptors_;
  std::span<std::byte> available_;
  std::span<std::byte> used_;
  std::vector<std::span<std::byte>> segments_;  // of the chain that is out: readable, then writable
  std::size_t readable_segments_ = 0;
  std::uint64_t dropped_ = 0;
};

}  // namespace spore::virtio
