// Registers of the virtio-mmio transport: Virtio 1.2, section 4.2.2 (table 4.1), and the status and
// feature bits of sections 2.1 and 6.
#pragma once

#include <cstdint>

namespace spore::virtio {

inline constexpr std::uint64_t kMmioWindowSize = 0x1000;

// 4.2.2, table 4.1. R: read by the driver, W: written by it.
enum MmioRegister : std::uint64_t {
  kMagicValue = 0x000,         // R
  kVersion = 0x004,            // R
  kDeviceId = 0x008,           // R
  kVendorId = 0x00c,           // R
  kDeviceFeatures = 0x010,     // R
  kDeviceFeaturesSel = 0x014,  // W
  kDriverFeatures = 0x020,     // W
  kDriverFeaturesSel = 0x024,  // W
  kQueueSel = 0x030,           // W
  kQueueNumMax = 0x034,        // R
  kQueueNum = 0x038,           // W
  kQueueReady = 0x044,         // RW
  kQueueNotify = 0x050,        // W
  kInterruptStatus = 0x060,    // R
  kInterruptAck = 0x064,       // W
  kStatus = 0x070,             // RW
  kQueueDescLow = 0x080,       // W
  kQueueDescHigh = 0x084,      // W
  kQueueDriverLow = 0x090,     // W
  kQueueDriverHigh = 0x094,    // W
  kQueueDeviceLow = 0x0a0,     // W
  kQueueDeviceHigh = 0x0a4,    // W
  kShmLenLow = 0x0b0,          // R
  kShmLenHigh = 0x0b4,         // R
  kShmBaseLow = 0x0b8,         // R
  kShmBaseHigh = 0x0bc,        // R
  kConfigGeneration = 0x0fc,   // R
  kConfig = 0x100,             // RW, the device's own
};

inline constexpr std::uint32_t kMmioMagic = 0x74726976;   // 4.2.2: "virt"
inline constexpr std::uint32_t kMmioVersion = 2;          // 4.2.2.1: not a legacy device
inline constexpr std::uint32_t kMmioVendor = 0x52505053;  // "SPPR": chosen freely

// 4.2.2, InterruptStatus.
inline constexpr std::uint32_t kInterruptUsedBuffer = 1 << 0;
inline constexpr std::uint32_t kInterruptConfigChange = 1 << 1;

// 2.1, device status field.
inline constexpr std::uint32_t kStatusAcknowledge = 1;
inline constexpr std::uint32_t kStatusDriver = 2;
inline constexpr std::uint32_t kStatusDriverOk = 4;
inline constexpr std::uint32_t kStatusFeaturesOk = 8;
inline constexpr std::uint32_t kStatusNeedsReset = 64;
inline constexpr std::uint32_t kStatusFailed = 128;
inline constexpr std::uint32_t kStatusKnown = kStatusAcknowledge | kStatusDriver | kStatusDriverOk |
                                              kStatusFeaturesOk | kStatusNeedsReset | kStatusFailed;

// 6, reserved feature bits.
inline constexpr std::uint64_t kFeatureEventIdx = std::uint64_t{1} << 29;
inline constexpr std::uint64_t kFeatureVersion1 = std::uint64_t{1} << 32;

// 5, device types.
inline constexpr std::uint32_t kDeviceIdBlock = 2;
inline constexpr std::uint32_t kDeviceIdConsole = 3;
inline constexpr std::uint32_t kDeviceIdEntropy = 4;
inline constexpr std::uint32_t kDeviceIdVsock = 19;

}  // namespace spore::virtio
