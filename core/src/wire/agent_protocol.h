// The agent protocol: frames between a host-side session and PID 1 of a guest, over one vsock
// stream (guest port any, host port kAgentPort; the guest connects). A frame's subject is the id of
// a process, chosen by the host, from 1 upwards; 0 where no process is meant.
//
// The stream survives a fork: quiescence at the doorbell (kCaptureReady / kCapture) means that no
// byte of it is under way, so each child goes on from the same point with its own host.
// Structured payloads are CBOR of the structs below; output and input are raw bytes.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "wire/cbor.h"

namespace spore::wire {

inline constexpr std::uint32_t kAgentPort = 1024;
inline constexpr std::uint32_t kAgentProtocolVersion = 2;

// Bytes of one direction of one stream that may be under way unacknowledged. Each side starts with
// this much credit; the reader gives more back with k…Window frames as its consumer takes bytes.
inline constexpr std::uint32_t kStreamWindow = 256 * 1024;

enum class AgentFrame : std::uint16_t {
  // host to guest
  kExec = 1,          // ExecMessage; subject: the new process id
  kStdin = 2,         // bytes
  kStdinEnd = 3,      // no payload
  kChannelIn = 4,     // bytes for descriptor 3
  kChannelInEnd = 5,  // no payload
  kSignal = 6,        // SignalMessage
  kResize = 7,        // ResizeMessage
  kOutputWindow = 8,  // WindowMessage: the host's consumer took bytes of stdout, stderr or channel
  kPrepareCapture = 9,   // freeze the workload, then answer kCaptureReady or kCaptureFailed
  kCapture = 10,         // ring the doorbell; the host sends nothing more until it is over
  kReleaseFixture = 11,  // let the process at its fixture point go on here, index 0 of 1
  kShutdown = 12,        // end everything, sync, power off
  kCancelCapture = 13,   // thaw; no capture is coming

  // guest to host
  kHello = 64,          // HelloMessage: booted, subject 0
  kStarted = 65,        // StartedMessage
  kStartFailed = 66,    // StartFailedMessage
  kStdout = 67,         // bytes
  kStderr = 68,         // bytes
  kChannelOut = 69,     // bytes from descriptor 3
  kExited = 70,         // ExitedMessage: the last frame of a process, after all of its output
  kInputWindow = 71,    // WindowMessage: the process took bytes of stdin or the channel
  kFixturePoint = 72,   // the process waits at its fixture point
  kCaptureReady = 73,   // frozen, all output sent
  kCaptureFailed = 74,  // FailureMessage; the workload is thawed again
  kGeneration = 75,     // GenerationMessage: the first frame of a child; generation work is done
  kThawed = 76,         // the machine went on in the same generation after a capture
};

struct ExecMessage {
  std::vector<std::string> argv;
  std::map<std::string, std::string> env;
  std::string workdir = "/";
  std::string user;
  bool terminal = false;
  std::uint16_t rows = 24;
  std::uint16_t columns = 80;
  bool channel = false;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(ExecMessage, argv, env, workdir, user, terminal, rows, columns,
                                   channel)

struct SignalMessage {
  int number = 0;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(SignalMessage, number)

struct ResizeMessage {
  std::uint16_t rows = 0;
  std::uint16_t columns = 0;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(ResizeMessage, rows, columns)

// `stream`: 0 stdin, 1 stdout, 2 stderr, 3 channel (either direction, by the frame's type).
struct WindowMessage {
  std::uint8_t stream = 0;
  std::uint32_t bytes = 0;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(WindowMessage, stream, bytes)

struct HelloMessage {
  std::uint32_t version = 0;
  std::string kernel_release;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(HelloMessage, version, kernel_release)

struct StartedMessage {
  std::int32_t pid = 0;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(StartedMessage, pid)

struct StartFailedMessage {
  std::int32_t error_number = 0;
  std::string message;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(StartFailedMessage, error_number, message)

struct ExitedMessage {
  int code = 0;
  int signal = 0;
  bool out_of_memory = false;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(ExitedMessage, code, signal, out_of_memory)

struct FailureMessage {
  std::string message;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(FailureMessage, message)

struct GenerationMessage {
  std::uint64_t number = 0;
  std::string id;
  std::uint64_t thaw_us = 0;  // from the end of the generation work until user processes could run
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(GenerationMessage, number, id, thaw_us)

}  // namespace spore::wire
