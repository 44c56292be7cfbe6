// The protocol between a machine's monitor and the `spore` commands that use the machine, over the
// socket in its folder. Each connection does one thing:
//
//   both     kHello, their first frame
//   client   one request: kExec, kLogs or kCapture
//   monitor  kDone or kError; an Error ends the connection
//   kExec    the client may send kInput, kInputEnd, kSignal and kResize, the monitor sends kStdout,
//            kStderr and kInputWindow, until kExited or kLost, its last. A client that goes away
//            takes its process with it.
//   kLogs    the monitor sends kConsole, and kDone when that was all
//   kCapture the monitor sends kSaved once the spore is on disk
//
// The creator of a monitor speaks on a socket pair that it inherits: kCreate, then kProgress until
// kDone or kError; it goes away before that: the monitor does too.
//
// Subjects are 0. Structured payloads are CBOR of the structs below (and of the agent protocol's);
// output, input and console are raw bytes. Both sides check what they read: a frame that makes no
// sense ends the connection.
#pragma once

#include <cstdint>
#include <string>

#include "wire/agent_protocol.h"
#include "wire/cbor.h"
#include "wire/host_protocol.h"

namespace spore::cli::machines {

inline constexpr std::uint32_t kMonitorProtocolVersion = 1;
// Input bytes that may be under way; kInputWindow gives back what the process took.
inline constexpr std::size_t kInputWindow = wire::kStreamWindow;
// Bytes of a stream travel in frames of at most this.
inline constexpr std::size_t kMaxPart = 64 * 1024;

enum class MonitorFrame : std::uint16_t {
  kHello = 1,   // HostHelloMessage
  kCreate = 2,  // CreateMessage

  // client to monitor
  kExec = 16,     // ExecMessage, without a channel
  kLogs = 17,     // LogsMessage
  kCapture = 18,  // CaptureMessage
  kInput = 32,
  kInputEnd = 33,
  kSignal = 34,  // SignalMessage
  kResize = 35,  // ResizeMessage

  // monitor to client
  kDone = 64,
  kError = 65,        // ErrorMessage
  kProgress = 66,     // text
  kStdout = 67,       // bytes
  kStderr = 68,       // bytes
  kExited = 69,       // ExitedMessage
  kLost = 70,         // MachineEnd
  kInputWindow = 71,  // WindowMessage, stream 0
  kConsole = 72,      // text
  kSaved = 73,        // SavedSpore
};

struct CreateMessage {
  std::string folder;
  std::string engine;
  MachineConfig config;
  std::string spore;  // directory of the spore to go on from; empty: boot
  // The machine was suspended: whatever happens, its folder stays.
  bool resumed = false;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(CreateMessage, folder, engine, config, spore, resumed)

// What becomes of the machine once it is captured.
enum class AfterCapture : std::uint8_t { kGoesOn, kEnds, kIsSuspended };

struct CaptureMessage {
  std::string path;  // absolute
  AfterCapture after = AfterCapture::kGoesOn;
  bool flat = true;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(CaptureMessage, path, after, flat)

struct LogsMessage {
  bool follow = false;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(LogsMessage, follow)

}  // namespace spore::cli::machines
