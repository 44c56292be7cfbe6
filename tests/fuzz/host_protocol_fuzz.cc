#include <algorithm>
#include <cstring>
#include <memory>
#include <string>

#include "fuzz/targets.h"
#include "session/remote_host.h"
#include "session/serve.h"
#include "support/fake_host.h"

namespace spore::fuzz {
namespace {

// Gives `bytes` to its reader, then the end; what is written goes nowhere.
class Canned final : public session::Transport {
 public:
  explicit Canned(std::string bytes) : bytes_(std::move(bytes)) {}
  Result<std::size_t> read(std::span<char> buffer) override {
    const std::size_t size = std::min(buffer.size(), bytes_.size() - consumed_);
    std::memcpy(buffer.data(), bytes_.data() + consumed_, size);
    consumed_ += size;
    return size;
  }
  Result<void> write(std::string_view /*bytes*/) override { return {}; }
  void close() override {}

 private:
  std::string bytes_;
  std::size_t consumed_ = 0;
};

std::string after_hello(std::string_view bytes) {
  std::string stream;
  wire::encode_frame(
      static_cast<std::uint16_t>(wire::HostFrame::kHello), 0,
      wire::to_cbor(wire::HostHelloMessage{wire::kHostProtocolVersion, SPORE_VERSION}), stream);
  return stream.append(bytes);
}

class Deaf final : public session::MachineObserver {
 public:
  void on_agent_bytes(std::string_view /*bytes*/) override {}
  void on_captured(const CaptureTimings& /*timings*/) override {}
  void on_ended(const MachineEnd& /*end*/) override {}
};

}  // namespace

void remote_host(std::string_view bytes) {
  session::RemoteHost host(std::make_unique<Canned>(after_hello(bytes)));
  static_cast<void>(host.handshake(Milliseconds{60'000}));
  static_cast<void>(host.boot({}, std::make_shared<Deaf>()));
  static_cast<void>(host.fork(1, {{.parameters = {}, .observer = std::make_shared<Deaf>()}}));
  static_cast<void>(host.stats(1));
  static_cast<void>(host.console_tail(1));
}

void serve(std::string_view bytes) {
  testing::FakeHost host;
  Canned transport(after_hello(bytes));
  static_cast<void>(session::serve(host, transport));
}

}  // namespace spore::fuzz
