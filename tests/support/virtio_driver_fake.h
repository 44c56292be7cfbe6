// VirtioDriverFake: plays the guest's driver. It lays out real virtqueues in GuestRam, speaks to
// the transport through its registers only, and hands out raw access so that a test can break the
// rules.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bus/io_handler.h"
#include "support/guest_ram.h"
#include "virtio/mmio_registers.h"
#include "virtio/queue_registers.h"

namespace spore::testing {

struct Buffer {
  std::uint64_t address = 0;
  std::uint32_t length = 0;
  bool writable = false;
};

class VirtioDriverFake {
 public:
  struct Queue {
    std::uint16_t size = 0;
    std::uint64_t descriptors = 0;
    std::uint64_t available = 0;
    std::uint64_t used = 0;
    std::uint16_t next_available = 0;
    std::uint16_t next_used = 0;
    std::vector<std::uint16_t> free;
    std::vector<std::vector<std::uint16_t>> chains;  // by head
  };

  VirtioDriverFake(bus::IoHandler& transport, GuestRam& ram) : transport_(&transport), ram_(&ram) {}
  // The same driver after a fork: other device, perhaps other RAM with the same content.
  void move_to(bus::IoHandler& transport, GuestRam& ram) {
    transport_ = &transport;
    ram_ = &ram;
  }

  std::uint32_t read(std::uint64_t offset);
  void write(std::uint64_t offset, std::uint32_t value);
  template <typename T>
  T read_config(std::uint64_t offset) {
    T value{};
    transport_->read(virtio::kConfig + offset, std::as_writable_bytes(std::span(&value, 1)));
    return value;
  }

  // 3.1.1: reset, acknowledge, driver, features, FEATURES_OK; whether that bit stayed.
  bool negotiate(std::uint64_t features);
  std::uint64_t offered_features();
  // Lays out a queue of `size` (0: the largest) and makes it ready; whether it is.
  bool set_up_queue(std::uint16_t index, std::uint16_t size = 0);
  void driver_ok();
  // All of the above, for every queue.
  bool start(std::uint64_t features = virtio::kFeatureVersion1);

  std::uint64_t allocate(std::size_t size, std::size_t alignment = 16);
  std::uint64_t place(std::string_view bytes);
  std::string bytes_at(std::uint64_t address, std::size_t size);
  // Puts a chain into the available ring; its head. No notification.
  std::uint16_t add(std::uint16_t queue, const std::vector<Buffer>& buffers);
  // Makes `head` available, whatever it is.
  void make_available(std::uint16_t queue, std::uint16_t head);
  void set_descriptor(std::uint16_t queue, std::uint16_t index, const virtio::Descriptor& value);
  void set_available_index(std::uint16_t queue, std::uint16_t index);
  void set_available_flags(std::uint16_t queue, std::uint16_t flags);
  void set_used_event(std::uint16_t queue, std::uint16_t event);
  std::uint16_t available_event(std::uint16_t queue);
  void kick(std::uint16_t queue) { write(virtio::kQueueNotify, queue); }
  std::optional<virtio::UsedElement> take_used(std::uint16_t queue);
  // What an interrupt handler does: the status bits, acknowledged.
  std::uint32_t handle_interrupt();

  Queue& queue(std::uint16_t index) { return queues_.at(index); }

 private:
  template <typename T>
  void store(std::uint64_t address, T value);
  template <typename T>
  T load(std::uint64_t address);

  bus::IoHandler* transport_;
  GuestRam* ram_;
  std::uint64_t next_free_ = GuestRam::kBase;
  std::vector<Queue> queues_;
};

}  // namespace spore::testing
