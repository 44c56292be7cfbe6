#include "support/scripted_agent.h"

#include <algorithm>
#include <cerrno>
#include <string>
#include <utility>

namespace spore::testing {

using wire::AgentFrame;

void ScriptedAgent::send(AgentFrame type, std::uint64_t id, std::string_view payload) {
  wire::encode_frame(static_cast<std::uint16_t>(type), id, payload, sent_);
}

void ScriptedAgent::say_hello() {
  send(AgentFrame::kHello, 0,
       wire::to_cbor(wire::HelloMessage{wire::kAgentProtocolVersion, "6.1.0-scripted"}));
}

void ScriptedAgent::say_generation(std::uint64_t number) {
  send(AgentFrame::kGeneration, 0, wire::to_cbor(wire::GenerationMessage{number, "id", 7}));
  for (std::uint64_t id : [this] {
         std::vector<std::uint64_t> waiting;
         for (const auto& [key, program] : programs_) {
           if (program.at_fixture) {
             waiting.push_back(key);
           }
         }
         return waiting;
       }()) {
    write(id, AgentFrame::kStdout, "child");
    exit(id, 0);
  }
}

void ScriptedAgent::say_thawed() {
  send(AgentFrame::kThawed, 0);
}

std::string ScriptedAgent::sent() {
  return std::exchange(sent_, {});
}

ScriptedAgent::Act ScriptedAgent::take(std::string_view bytes) {
  decoder_.feed(bytes);
  Act act = Act::kNone;
  for (;;) {
    const auto frame = decoder_.next();
    if (!frame || !*frame) {
      return act;
    }
    const Act next = handle(**frame);
    act = next == Act::kNone ? act : next;
  }
}

ScriptedAgent::Act ScriptedAgent::handle(const wire::Frame& frame) {
  const std::uint64_t id = frame.subject;
  const auto known = programs_.find(id);
  switch (static_cast<AgentFrame>(frame.type)) {
    case AgentFrame::kExec:
      return start(id, wire::from_cbor<wire::ExecMessage>(frame.payload).value());
    case AgentFrame::kPrepareCapture:
      if (refuses_capture) {
        send(AgentFrame::kCaptureFailed, 0,
             wire::to_cbor(wire::FailureMessage{"process 7 would not freeze"}));
      } else if (!ignores_capture) {
        send(AgentFrame::kCaptureReady, 0);
      }
      return Act::kNone;
    case AgentFrame::kCapture:
      return Act::kRing;
    case AgentFrame::kShutdown:
      return Act::kPowerOff;
    default:
      break;
  }
  if (known == programs_.end()) {
    return Act::kNone;
  }
  switch (static_cast<AgentFrame>(frame.type)) {
    case AgentFrame::kStdin:
      input(id, frame.payload, false);
      break;
    case AgentFrame::kChannelIn:
      input(id, frame.payload, true);
      break;
    case AgentFrame::kStdinEnd:
      if (known->second.argv[0] == "cat") {
        known->second.input_ended = true;
        copy(id, known->second);
      }
      break;
    case AgentFrame::kOutputWindow: {
      const auto window = wire::from_cbor<wire::WindowMessage>(frame.payload).value();
      known->second.unacknowledged -= window.bytes;
      if (known->second.argv[0] == "cat") {
        copy(id, known->second);
      } else {
        flood(id, known->second);
      }
      break;
    }
    case AgentFrame::kSignal:
      exit(id, 0, wire::from_cbor<wire::SignalMessage>(frame.payload).value().number);
      break;
    case AgentFrame::kReleaseFixture:
      write(id, AgentFrame::kStdout, "alone");
      exit(id, 0);
      break;
    default:
      break;
  }
  return Act::kNone;
}

ScriptedAgent::Act ScriptedAgent::start(std::uint64_t id, const wire::ExecMessage& message) {
  const std::string& name = message.argv.front();
  static const std::vector<std::string> kKnown = {
      "echo",  "warn",    "cat",      "sleepy",   "flood",     "status",
      "die",   "fixture", "poweroff", "panic",    "overflow",  "garbage",
      "twice", "chatter", "ring",     "stranger", "overcredit"};
  if (std::find(kKnown.begin(), kKnown.end(), name) == kKnown.end()) {
    send(AgentFrame::kStartFailed, id,
         wire::to_cbor(wire::StartFailedMessage{ENOENT, "there is no such program in PATH"}));
    return Act::kNone;
  }
  send(AgentFrame::kStarted, id, wire::to_cbor(wire::StartedMessage{42}));
  Program& program = programs_[id];
  program.argv = message.argv;
  if (name == "echo") {
    for (std::size_t i = 1; i < message.argv.size(); ++i) {
      write(id, AgentFrame::kStdout, message.argv[i] + "\n");
    }
    exit(id, 0);
  } else if (name == "warn") {
    write(id, AgentFrame::kStderr, message.argv.at(1));
    exit(id, 0);
  } else if (name == "flood") {
    program.to_flood = std::stoull(message.argv.at(1));
    flood(id, program);
  } else if (name == "status") {
    exit(id, std::stoi(message.argv.at(1)));
  } else if (name == "die") {
    exit(id, 0, std::stoi(message.argv.at(1)));
  } else if (name == "fixture") {
    program.at_fixture = true;
    send(AgentFrame::kFixturePoint, id);
  } else {
    return misbehave(id, name);
  }
  return Act::kNone;
}

ScriptedAgent::Act ScriptedAgent::misbehave(std::uint64_t id, const std::string& name) {
  if (name == "poweroff") {
    return Act::kPowerOff;
  }
  if (name == "panic") {
    return Act::kPanic;
  }
  if (name == "ring") {
    return Act::kRing;
  }
  if (name == "overflow") {
    for (std::uint32_t sent = 0; sent <= wire::kStreamWindow; sent += 64 * 1024) {
      send(AgentFrame::kStdout, id, std::string(64 * 1024, 'x'));
    }
  } else if (name == "garbage") {
    sent_.append(64, '\xff');
  } else if (name == "stranger") {
    send(AgentFrame::kStdout, id + 1000, "who?");
  } else if (name == "overcredit") {
    send(AgentFrame::kInputWindow, id, wire::to_cbor(wire::WindowMessage{0, 1}));
  } else if (name == "twice") {
    send(AgentFrame::kStarted, id, wire::to_cbor(wire::StartedMessage{42}));
  } else if (name == "chatter") {
    for (int i = 0; i < 100; ++i) {
      send(AgentFrame::kFixturePoint, id);
    }
  }
  return Act::kNone;
}

void ScriptedAgent::flood(std::uint64_t id, Program& program) {
  constexpr std::uint64_t kPiece = 20'000;
  while (program.to_flood > 0 && program.unacknowledged < wire::kStreamWindow) {
    const std::uint64_t size =
        std::min({program.to_flood, kPiece, wire::kStreamWindow - program.unacknowledged});
    program.to_flood -= size;
    program.unacknowledged += size;
    largest_unacknowledged_ = std::max(largest_unacknowledged_, program.unacknowledged);
    send(AgentFrame::kStdout, id, std::string(size, 'f'));
    if (program.to_flood == 0) {
      return exit(id, 0);
    }
  }
}

void ScriptedAgent::input(std::uint64_t id, std::string_view bytes, bool channel) {
  Program& program = programs_[id];
  if (program.argv[0] != "cat") {
    return;
  }
  if (channel) {
    send(AgentFrame::kInputWindow, id,
         wire::to_cbor(wire::WindowMessage{3, static_cast<std::uint32_t>(bytes.size())}));
    return write(id, AgentFrame::kChannelOut, bytes);
  }
  program.to_copy += bytes;
  copy(id, program);
}

void ScriptedAgent::copy(std::uint64_t id, Program& program) {
  const std::size_t size =
      std::min<std::uint64_t>(program.to_copy.size(), wire::kStreamWindow - program.unacknowledged);
  if (size > 0) {
    send(AgentFrame::kInputWindow, id,
         wire::to_cbor(wire::WindowMessage{0, static_cast<std::uint32_t>(size)}));
    write(id, AgentFrame::kStdout, std::string_view(program.to_copy).substr(0, size));
    program.unacknowledged += size;
    program.to_copy.erase(0, size);
  }
  if (program.input_ended && program.to_copy.empty()) {
    exit(id, 0);
  }
}

void ScriptedAgent::write(std::uint64_t id, AgentFrame type, std::string_view bytes) {
  send(type, id, bytes);
}

void ScriptedAgent::exit(std::uint64_t id, int code, int signal) {
  send(AgentFrame::kExited, id, wire::to_cbor(wire::ExitedMessage{code, signal, false}));
  programs_.erase(id);
}

}  // namespace spore::testing
