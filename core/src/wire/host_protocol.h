// The host protocol: frames between a RemoteHost and the `spore serve --stdio` that has the
// machines, over any ordered byte stream. The client chooses the ids of machines and spores, from 1
// upwards, so that a machine's first bytes find their observer before the reply that announces it.
//
// A request's subject is its id, chosen by the client; kReply or kError answers with the same
// subject. Frames about a machine (k…Agent…, kCaptured, kEnded) have the machine's id as subject.
// Each side's first frame is kHello, subject 0. Structured payloads are CBOR of the structs below;
// agent bytes are raw. Both sides check what they read: a frame that makes no sense ends the
// stream.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "spore/machine.h"
#include "wire/cbor.h"
#include "wire/machine_json.h"

namespace spore::wire {

inline constexpr std::uint32_t kHostProtocolVersion = 4;
// Agent bytes travel in frames of at most this, so that no machine keeps the stream for long.
inline constexpr std::size_t kMaxRelay = 64 * 1024;

enum class HostFrame : std::uint16_t {
  kHello = 1,  // HostHelloMessage, both ways

  // client to server: requests
  kBoot = 16,         // BootMessage; reply BootedMessage
  kTakeSpore = 17,    // TakeSporeMessage; empty reply
  kFork = 18,         // ForkMessage; reply ForkedMessage
  kStats = 19,        // IdMessage (machine); reply MachineStats
  kConsoleTail = 20,  // IdMessage (machine); reply TextMessage
  kClose = 21,        // IdMessage (machine); empty reply
  kSave = 22,         // SaveMessage; reply SavedSpore
  kLoad = 23,         // LoadMessage; reply LoadedMessage
  kRelease = 24,      // IdMessage (spore); empty reply
  // client to server: no reply
  kToAgent = 32,  // bytes

  // server to client
  kReply = 64,
  kError = 65,      // ErrorMessage
  kFromAgent = 66,  // bytes
  kCaptured = 67,   // CaptureTimings
  kEnded = 68,      // MachineEnd; the machine's last frame
};

struct HostHelloMessage {
  std::uint32_t version = 0;
  std::string build;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(HostHelloMessage, version, build)

struct IdMessage {
  std::uint64_t id = 0;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(IdMessage, id)

struct TextMessage {
  std::string text;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(TextMessage, text)

struct ErrorMessage {
  std::uint32_t code = 0;
  std::string message;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(ErrorMessage, code, message)

struct BootMessage {
  std::uint64_t machine = 0;
  MachineConfig config;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(BootMessage, machine, config)

struct BootedMessage {
  Generation generation;
  std::uint64_t build_us = 0;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(BootedMessage, generation, build_us)

struct TakeSporeMessage {
  std::uint64_t machine = 0;
  std::uint64_t spore = 0;
  bool keep_running = false;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(TakeSporeMessage, machine, spore, keep_running)

struct SaveMessage {
  std::uint64_t spore = 0;
  std::string path;
  std::string agent_section;
  SaveOptions options;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(SaveMessage, spore, path, agent_section, options)

struct LoadMessage {
  std::uint64_t spore = 0;
  std::string path;
  LoadOptions options;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(LoadMessage, spore, path, options)

struct LoadedMessage {
  LoadedSpore spore;
  Generation generation;
  std::string agent_section;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(LoadedMessage, spore, generation, agent_section)

struct ForkChildMessage {
  std::uint64_t machine = 0;
  ForkParameters parameters;
  std::uint64_t replaces = 0;  // a machine to be closed first; 0: none
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(ForkChildMessage, machine, parameters, replaces)

struct ForkMessage {
  std::uint64_t spore = 0;
  std::vector<ForkChildMessage> children;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(ForkMessage, spore, children)

struct ForkedChildMessage {
  Generation generation;
  ForkTimings timings;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(ForkedChildMessage, generation, timings)

// In the order of the request's children.
struct ForkedMessage {
  std::vector<ForkedChildMessage> children;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(ForkedMessage, children)

}  // namespace spore::wire
