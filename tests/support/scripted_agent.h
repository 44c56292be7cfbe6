// A guest's agent that follows a script: a plain value, so that a fork is a copy. It speaks the
// agent protocol with its windows; its programs are these, by argv[0]:
//   echo TEXT...      writes each TEXT and a line end to stdout, exits 0
//   warn TEXT         writes TEXT to stderr, exits 0
//   cat               copies stdin to stdout until stdin ends, exits 0; channel input to the
//   channel sleepy            takes no input, never ends by itself flood BYTES       writes that
//   many bytes to stdout as its window allows, exits 0 status N          exits with N die N ends by
//   signal N fixture           reaches its fixture point; says "alone" (released) or "child"
//   (forked), exits 0 poweroff, panic   the guest ends overflow, garbage, stranger, overcredit,
//   twice, chatter, ring
//                     break the protocol in a way each
// Any other cannot be started (ENOENT). A signal ends a process with that signal.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "wire/agent_protocol.h"
#include "wire/frame.h"

namespace spore::testing {

class ScriptedAgent {
 public:
  // What the machine is asked for besides sending bytes.
  enum class Act { kNone, kRing, kPowerOff, kPanic };

  void say_hello();
  void say_generation(std::uint64_t number);
  void say_thawed();
  // Takes bytes from the host. Answers what the guest does next.
  Act take(std::string_view bytes);
  // What the agent has sent since the last call.
  std::string sent();

  // Makes every capture fail.
  bool refuses_capture = false;
  // Does not answer kPrepareCapture.
  bool ignores_capture = false;
  // Bytes of output that were sent and not acknowledged: never over a window if the host is right.
  [[nodiscard]] std::uint64_t largest_unacknowledged() const { return largest_unacknowledged_; }

 private:
  struct Program {
    std::vector<std::string> argv;
    std::uint64_t to_flood = 0;
    std::uint64_t unacknowledged = 0;
    bool at_fixture = false;
    std::string to_copy;
    bool input_ended = false;
  };

  Act handle(const wire::Frame& frame);
  Act start(std::uint64_t id, const wire::ExecMessage& message);
  Act misbehave(std::uint64_t id, const std::string& name);
  void flood(std::uint64_t id, Program& program);
  void copy(std::uint64_t id, Program& program);
  void input(std::uint64_t id, std::string_view bytes, bool channel);
  void exit(std::uint64_t id, int code, int signal = 0);
  void send(wire::AgentFrame type, std::uint64_t id, std::string_view payload = {});
  void write(std::uint64_t id, wire::AgentFrame type, std::string_view bytes);

  wire::FrameDecoder decoder_;
  std::map<std::uint64_t, Program> programs_;
  std::string sent_;
  std::uint64_t largest_unacknowledged_ = 0;
};

}  // namespace spore::testing
