#include "session/agent_connection.h"

#include <array>
#include <utility>

#include "session/ended.h"

namespace spore::session {

// Processes may outlive the connection, so their client shares its stream.
class FdAgentConnection::Stream {
 public:
  explicit Stream(std::unique_ptr<Transport> transport) : transport_(std::move(transport)) {}

  Result<void> write(std::string_view bytes) {
    auto written = transport_->write(bytes);
    if (!written) {
      transport_->close();
    }
    return written;
  }
  [[nodiscard]] Transport& transport() noexcept { return *transport_; }

 private:
  const std::unique_ptr<Transport> transport_;
};

FdAgentConnection::FdAgentConnection(std::shared_ptr<Stream> stream, Greeting greeting)
    : stream_(std::move(stream)),
      client_([this, greeting] {
        auto send = [stream = stream_](std::string_view bytes) { return stream->write(bytes); };
        return greeting == Greeting::kHello ? AgentClient::for_boot(std::move(send))
                                            : AgentClient::for_running_agent(std::move(send));
      }()),
      reader_([this] { read_all(); }) {}

Result<std::unique_ptr<FdAgentConnection>> FdAgentConnection::create(
    std::unique_ptr<Transport> transport, Greeting greeting, Milliseconds timeout) {
  auto connection = std::unique_ptr<FdAgentConnection>(
      new FdAgentConnection(std::make_shared<Stream>(std::move(transport)), greeting));
  SPORE_TRY(connection->client().wait_ready(deadline_after(timeout)));
  return connection;
}

FdAgentConnection::~FdAgentConnection() {
  client_->end(closed_end("its connection was closed"));
  stream_->transport().close();
  reader_.join();
}

void FdAgentConnection::read_all() {
  std::array<char, 64 * 1024> buffer;
  for (;;) {
    const auto size = stream_->transport().read(buffer);
    if (!size || *size == 0) {
      client_->end(engine_failed_end(
          "the connection to its agent broke: " +
          (size ? std::string("it was closed at the other end") : size.error().message())));
      return;
    }
    if (!client_->feed({buffer.data(), *size})) {
      stream_->transport().close();
      return;
    }
  }
}

}  // namespace spore::session
