// FdAgentConnection: an agent at the other end of a stream that is not a machine of ours, such as
// the nest's. The client's exec() runs programs there; when the stream ends, so do they (Lost).
#pragma once

#include <memory>
#include <thread>

#include "session/agent_client.h"
#include "session/transport.h"

namespace spore::session {

class FdAgentConnection {
 public:
  enum class Greeting { kHello, kNone };  // does the agent still have to say kHello?

  // Takes a stream at a frame boundary; waits for the greeting.
  static Result<std::unique_ptr<FdAgentConnection>> create(std::unique_ptr<Transport> transport,
                                                           Greeting greeting, Milliseconds timeout);
  ~FdAgentConnection();  // closes the stream
  FdAgentConnection(const FdAgentConnection&) = delete;
  FdAgentConnection& operator=(const FdAgentConnection&) = delete;

  [[nodiscard]] AgentClient& client() noexcept { return *client_; }

 private:
  class Stream;
  FdAgentConnection(std::shared_ptr<Stream> stream, Greeting greeting);
  void read_all();

  const std::shared_ptr<Stream> stream_;
  const std::shared_ptr<AgentClient> client_;
  std::thread reader_;
};

}  // namespace spore::session
