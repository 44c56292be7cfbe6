// The agent at the other end of a nest port: an AgentClient fed from the stream by a thread.
//
// Owns the connection: when it goes, the port is free again and the nest ends what was started
// through it.
#pragma once

#include <memory>
#include <thread>

#include "nest/nest.h"
#include "session/agent_client.h"
#include "spore/result.h"

namespace spore::nest {

class AgentStream {
 public:
  // Waits until the agent has said hello.
  static Result<std::unique_ptr<AgentStream>> open(Connection connection);

  AgentStream(const AgentStream&) = delete;
  AgentStream& operator=(const AgentStream&) = delete;
  ~AgentStream();

  [[nodiscard]] session::AgentClient& client() noexcept { return *client_; }

 private:
  explicit AgentStream(Connection connection);
  void read_all();

  Connection connection_;
  std::shared_ptr<session::AgentClient> client_;
  std::thread reader_;
};

}  // namespace spore::nest
