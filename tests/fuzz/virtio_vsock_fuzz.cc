#include <string>

#include "support/virtio_fuzz.h"
#include "virtio/vsock.h"

namespace {

using spore::virtio::ConnectionId;

class Listener final : public spore::virtio::VsockListener {
 public:
  void on_connected(ConnectionId) override {}
  void on_bytes(ConnectionId id, std::string_view bytes) override {
    if (device != nullptr) {
      device->send(id, bytes);
    }
  }
  void on_closed(ConnectionId) override {}
  spore::virtio::VsockDevice* device = nullptr;
};

constexpr std::uint32_t kPort = 3;

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Listener listener;
  Listener heir;
  const auto make = [](Listener& host, const spore::virtio::VsockState& state) {
    auto made = spore::virtio::VsockDevice::create({3, {{kPort, &host}}}, state);
    spore::testing::fuzz_require(made.has_value());
    return std::move(*made);
  };
  // Begins as a machine with one connection, so that packets find something.
  spore::virtio::VsockState state;
  state.connections.emplace_back();
  state.connections[0].guest_port = 5;
  state.connections[0].host_port = kPort;
  state.connections[0].peer_buf_alloc = 4096;
  auto device = make(listener, state);
  listener.device = device.get();
  spore::testing::FuzzedDevice fuzzed;
  fuzzed.copy = [&, live = listener.device] {
    auto copy = make(heir, live->state());
    spore::testing::fuzz_require(copy->state() == live->state());
    return copy;
  };
  fuzzed.host = [live = listener.device](spore::testing::FuzzInput& input) {
    const ConnectionId id{input.take<std::uint8_t>() % 8U, kPort};
    const auto length = input.take<std::uint8_t>();
    if (length == 255) {
      live->close(id);
    } else {
      live->send(id, std::string(length, 'h'));
    }
  };
  fuzzed.device = std::move(device);
  spore::testing::fuzz_virtio_device({data, size}, std::move(fuzzed));
  return 0;
}
