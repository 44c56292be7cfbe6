#include "virtio/queue.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>
#include <utility>

#include "base/check.h"

namespace spore::virtio {
namespace {

// Of a queue, the part that held back buffers may take up: a driver that uses several descriptors
// for each has most of its room nevertheless.
constexpr std::uint32_t kHeldFraction = 8;

// Ring indexes are written by one side while the other reads them. Alignment is guaranteed by
// validate() together with page-aligned RAM.
std::atomic_ref<std::uint16_t> ring_index(std::span<std::byte> ring, std::size_t offset) {
  return std::atomic_ref<std::uint16_t>(*reinterpret_cast<std::uint16_t*>(ring.data() + offset));
}

template <typename T>
T load_at(std::span<const std::byte> bytes, std::size_t offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof(value));
  return value;
}

// 2.7.10.1: whether moving an index from `before` to `now` passes `event`.
bool passes_event(std::uint16_t event, std::uint16_t now, std::uint16_t before) {
  return static_cast<std::uint16_t>(now - event - 1) < static_cast<std::uint16_t>(now - before);
}

Result<void> validate_part(const char* field, std::uint64_t address, std::uint64_t alignment,
                           std::size_t size, const memory::GuestMemory& memory) {
  if (address % alignment != 0) {
    return fail(ErrorCode::kCorrupt,
                fmt::format("{} is {:#x}, not a multiple of {}", field, address, alignment));
  }
  if (!memory.readable(address, size)) {
    return fail(ErrorCode::kCorrupt,
                fmt::format("{} is {:#x}, and {} bytes from there are not all guest RAM", field,
                            address, size));
  }
  return {};
}

}  // namespace

// ---- DescriptorChain --------------------------------------------------------------------------

DescriptorChain::DescriptorChain(DescriptorChain&& other) noexcept
    : queue_(std::exchange(other.queue_, nullptr)),
      head_(other.head_),
      read_cursor_(other.read_cursor_),
      write_cursor_(other.write_cursor_),
      readable_left_(other.readable_left_),
      writable_left_(other.writable_left_),
      written_(other.written_) {}

std::span<std::byte> DescriptorChain::next_piece(Cursor& cursor, std::size_t end,
                                                 std::uint64_t limit) noexcept {
  if (queue_ == nullptr || limit == 0) {
    return {};
  }
  while (cursor.segment < end) {
    const std::span<std::byte> segment = queue_->segments_[cursor.segment];
    if (cursor.offset < segment.size()) {
      const std::size_t size = std::min<std::uint64_t>(segment.size() - cursor.offset, limit);
      const auto piece = segment.subspan(cursor.offset, size);
      cursor.offset += size;
      return piece;
    }
    ++cursor.segment;
    cursor.offset = 0;
  }
  return {};
}

std::size_t DescriptorChain::read(std::span<std::byte> into) noexcept {
  std::size_t done = 0;
  while (done < into.size()) {
    const auto piece = next_piece(read_cursor_, queue_ == nullptr ? 0 : queue_->readable_segments_,
                                  into.size() - done);
    if (piece.empty()) {
      break;
    }
    std::memcpy(into.data() + done, piece.data(), piece.size());
    done += piece.size();
  }
  readable_left_ -= done;
  return done;
}

std::size_t DescriptorChain::write(std::span<const std::byte> from) noexcept {
  std::size_t done = 0;
  while (done < from.size()) {
    const auto piece = next_piece(write_cursor_, queue_ == nullptr ? 0 : queue_->segments_.size(),
                                  from.size() - done);
    if (piece.empty()) {
      break;
    }
    std::memcpy(piece.data(), from.data() + done, piece.size());
    done += piece.size();
  }
  writable_left_ -= done;
  written_ += done;
  return done;
}

std::size_t DescriptorChain::take_readable(std::uint64_t count,
                                           std::vector<std::span<std::byte>>& out) {
  std::uint64_t done = 0;
  while (done < count) {
    const auto piece =
        next_piece(read_cursor_, queue_ == nullptr ? 0 : queue_->readable_segments_, count - done);
    if (piece.empty()) {
      break;
    }
    out.push_back(piece);
    done += piece.size();
  }
  readable_left_ -= done;
  return done;
}

std::size_t DescriptorChain::take_writable(std::uint64_t count,
                                           std::vector<std::span<std::byte>>& out) {
  std::uint64_t done = 0;
  while (done < count) {
    const auto piece =
        next_piece(write_cursor_, queue_ == nullptr ? 0 : queue_->segments_.size(), count - done);
    if (piece.empty()) {
      break;
    }
    out.push_back(piece);
    done += piece.size();
  }
  writable_left_ -= done;
  written_ += done;
  return done;
}

void DescriptorChain::complete() noexcept {
  if (VirtQueue* queue = std::exchange(queue_, nullptr)) {
    constexpr std::uint64_t kMost = 0xffffffff;
    queue->complete(head_, static_cast<std::uint32_t>(std::min(written_, kMost)));
  }
}

// ---- VirtQueue --------------------------------------------------------------------------------

Result<void> VirtQueue::validate(const QueueState& state, std::uint16_t max_size,
                                 const memory::GuestMemory& memory) {
  if (!std::has_single_bit(state.size) || state.size > max_size) {
    return fail(ErrorCode::kCorrupt,
                fmt::format("size is {}, not a power of two of at most {}", state.size, max_size));
  }
  SPORE_TRY(validate_part("descriptors", state.descriptors, kDescriptorAlignment,
                          descriptor_table_size(state.size), memory));
  SPORE_TRY(validate_part("available", state.available, kAvailAlignment,
                          avail_ring_size(state.size), memory));
  SPORE_TRY(validate_part("used", state.used, kUsedAlignment, used_ring_size(state.size), memory));
  return {};
}

void VirtQueue::attach(bool event_index) noexcept {
  const auto descriptors = memory_.view(state_.descriptors, descriptor_table_size(state_.size));
  const auto available = memory_.view(state_.available, avail_ring_size(state_.size));
  const auto used = memory_.writable(state_.used, used_ring_size(state_.size));
  SPORE_CHECK(descriptors && available && used);
  descriptors_ = *descriptors;
  available_ = *available;
  used_ = *used;
  event_index_ = event_index;
  seen_index_ = state_.next_available;
  segments_.reserve(state_.size);
  holds_back_ = false;
}

void VirtQueue::detach() noexcept {
  descriptors_ = {};
  available_ = {};
  used_ = {};
}

void VirtQueue::break_ring() {
  detach();
  owner_.on_broken_ring();
}

// Whether there is a chain at next_available. Reads the driver's index only when those seen so far
// are used up.
bool VirtQueue::available() {
  if (!attached()) {
    return false;
  }
  if (seen_index_ != state_.next_available) {
    return true;
  }
  seen_index_ = ring_index(available_, kAvailIndex).load(std::memory_order_acquire);
  if (seen_index_ == state_.next_available && event_index_) {
    // 2.7.10: ask for a notification about the next chain, then look again, as the driver may have
    // added it without seeing the wish.
    const std::size_t avail_event = kUsedRing + sizeof(UsedElement) * state_.size;
    ring_index(used_, avail_event).store(state_.next_available, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    seen_index_ = ring_index(available_, kAvailIndex).load(std::memory_order_acquire);
  }
  const auto ahead = static_cast<std::uint16_t>(seen_index_ - state_.next_available);
  if (ahead > state_.size) {
    break_ring();
    return false;
  }
  return ahead != 0;
}

std::optional<DescriptorChain> VirtQueue::pop() {
  SPORE_CHECK(!chain_out_);
  unsigned bad = 0;
  while (available()) {
    const std::size_t slot = state_.next_available & (state_.size - 1);
    const auto head = load_at<std::uint16_t>(available_, kAvailRing + 2 * slot);
    if (head >= state_.size) {
      break_ring();
      return std::nullopt;
    }
    ++state_.next_available;
    chain_out_ = true;
    DescriptorChain chain(*this, head);
    if (walk(head, chain)) {
      return chain;
    }
    ++dropped_;
    if (++bad == kWorkBudget) {  // more than a queue holds: another vCPU adds them as we drop them
      break_ring();
    }
  }
  return std::nullopt;
}

// Collects the segments of a chain; false when it makes no sense (2.7.5, 2.7.4.2).
bool VirtQueue::walk(std::uint16_t head, DescriptorChain& chain) {
  segments_.clear();
  readable_segments_ = 0;
  std::uint16_t index = head;
  for (std::uint32_t count = 0; count < state_.size; ++count) {
    const auto descriptor = load_at<Descriptor>(descriptors_, index * sizeof(Descriptor));
    const bool writable = (descriptor.flags & kDescriptorWrite) != 0;
    const bool after_writable = segments_.size() > readable_segments_;
    if ((descriptor.flags & kDescriptorIndirect) != 0 || (!writable && after_writable)) {
      return false;
    }
    const auto bytes = writable ? memory_.writable(descriptor.address, descriptor.length)
                                : memory_.view(descriptor.address, descriptor.length);
    if (!bytes) {
      return false;
    }
    segments_.push_back(*bytes);
    (writable ? chain.writable_left_ : chain.readable_left_) += bytes->size();
    readable_segments_ += writable ? 0 : 1;
    if ((descriptor.flags & kDescriptorNext) == 0) {
      chain.write_cursor_.segment = readable_segments_;
      return true;
    }
    if (descriptor.next >= state_.size) {
      return false;
    }
    index = descriptor.next;
  }
  return false;  // longer than the queue: a loop
}

void VirtQueue::complete(std::uint16_t head, std::uint32_t written) noexcept {
  chain_out_ = false;
  if (!attached()) {
    return;
  }
  const UsedElement element{head, written};
  const std::size_t slot = state_.next_used & (state_.size - 1);
  std::memcpy(used_.data() + kUsedRing + sizeof(element) * slot, &element, sizeof(element));
  ++state_.next_used;
  if (!holds_back_) {
    publish();
  }
}

void VirtQueue::publish() noexcept {
  ring_index(used_, kUsedIndex).store(state_.next_used, std::memory_order_release);
}

void VirtQueue::signal() {
  const auto untold = static_cast<std::uint16_t>(state_.next_used - state_.signalled);
  if (!holds_back_ || untold >= state_.size / kHeldFraction) {
    give_back();
  }
}

void VirtQueue::give_back() {
  if (!has_untold()) {
    return;
  }
  if (holds_back_) {
    publish();
  }
  const std::uint16_t before = std::exchange(state_.signalled, state_.next_used);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  bool wanted = false;
  if (event_index_) {
    const std::size_t used_event = kAvailRing + std::size_t{2} * state_.size;
    const auto event = ring_index(available_, used_event).load(std::memory_order_relaxed);
    wanted = passes_event(event, state_.next_used, before);
  } else {
    const auto flags = ring_index(available_, kAvailFlags).load(std::memory_order_relaxed);
    wanted = (flags & kAvailNoInterrupt) == 0;
  }
  if (wanted) {
    owner_.on_used_buffer();
  }
}

}  // namespace spore::virtio
