// The socket device: Virtio 1.2, section 5.10.
#pragma once

#include <cstdint>

namespace spore::virtio {

inline constexpr std::uint64_t kVsockHostCid = 2;  // 5.10.4

// 5.10.2, virtqueues.
inline constexpr std::uint16_t kVsockRxQueue = 0;
inline constexpr std::uint16_t kVsockTxQueue = 1;
inline constexpr std::uint16_t kVsockEventQueue = 2;

// 5.10.4, configuration layout.
struct VsockConfigSpace {
  std::uint64_t guest_cid = 0;
};

// 5.10.6, struct virtio_vsock_hdr.
struct [[gnu::packed]] VsockHeader {
  std::uint64_t source_cid = 0;
  std::uint64_t target_cid = 0;
  std::uint32_t source_port = 0;
  std::uint32_t target_port = 0;
  std::uint32_t length = 0;
  std::uint16_t type = 0;
  std::uint16_t op = 0;
  std::uint32_t flags = 0;
  std::uint32_t buf_alloc = 0;
  std::uint32_t fwd_cnt = 0;
};
static_assert(sizeof(VsockHeader) == 44);

inline constexpr std::uint16_t kVsockTypeStream = 1;  // VIRTIO_VSOCK_TYPE_STREAM

// 5.10.6, enum virtio_vsock_op.
enum VsockOp : std::uint16_t {
  kVsockOpInvalid = 0,
  kVsockOpRequest = 1,
  kVsockOpResponse = 2,
  kVsockOpReset = 3,
  kVsockOpShutdown = 4,
  kVsockOpData = 5,  // VIRTIO_VSOCK_OP_RW
  kVsockOpCreditUpdate = 6,
  kVsockOpCreditRequest = 7,
};

// 5.10.6.5, flags of VIRTIO_VSOCK_OP_SHUTDOWN.
inline constexpr std::uint32_t kVsockShutdownReceive = 1;
inline constexpr std::uint32_t kVsockShutdownSend = 2;
inline constexpr std::uint32_t kVsockShutdownBoth = 3;

}  // namespace spore::virtio
