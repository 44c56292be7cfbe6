#include "nest/nest_host.h"

#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "nest/environment.h"
#include "nest/nest.h"
#include "session/remote_host.h"
#include "session/transport.h"

namespace spore::nest {
namespace {

constexpr Milliseconds kHelloBound{30'000};
constexpr Milliseconds kEndBound{3'000};

// Where the files of the nest are, if it has ended. QEMU closes its connections some time before it
// is gone, since it has much memory to give back.
std::optional<std::string> dir_of_ended_nest() {
  const auto deadline = std::chrono::steady_clock::now() + kEndBound;
  for (;;) {
    const auto nest = status();
    if (nest && !nest->running) {
      return nest->runtime_dir;
    }
    if (!nest || std::chrono::steady_clock::now() >= deadline) {
      return std::nullopt;
    }
    std::this_thread::sleep_for(Milliseconds{20});
  }
}

// The stream to a `spore serve` in the nest, together with what keeps it open.
class ServeTransport final : public session::Transport {
 public:
  ServeTransport(NestAgent agent, std::shared_ptr<Process> process)
      : agent_(std::move(agent)), stream_(std::move(process)) {}

  Result<std::size_t> read(std::span<char> buffer) override {
    auto got = stream_.read(buffer);
    if (got || closed_) {
      return got;  // or it was ended here, and the nest has no part in that
    }
    if (const auto runtime_dir = dir_of_ended_nest()) {
      return fail(got.error().code(),
                  fmt::format("the nest is gone: it was stopped, or it crashed and {}/console.log "
                              "says how (console.last.log, once the next run has started another)",
                              *runtime_dir));
    }
    return got;
  }
  Result<void> write(std::string_view bytes) override { return stream_.write(bytes); }
  void close() override {
    closed_ = true;
    stream_.close();
  }

 private:
  std::atomic<bool> closed_ = false;
  NestAgent agent_;
  session::ProcessTransport stream_;
};

// What Spore reads from its environment must be the same on both sides.
std::map<std::string, std::string> serve_environment() {
  std::map<std::string, std::string> environment;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view word(*entry);
    const auto equals = word.find('=');
    if (equals == std::string_view::npos) {
      continue;
    }
    const auto name = word.substr(0, equals);
    if (name.starts_with("SPORE_") || name == "HOME" || name == "XDG_CACHE_HOME" ||
        name == "PATH") {
      environment.emplace(name, word.substr(equals + 1));
    }
  }
  return environment;
}

}  // namespace

Result<NestAgent> open_agent(const Progress& progress) {
  SPORE_ASSIGN(Connection connection, connect(progress));
  SPORE_ASSIGN(auto transport, session::FdTransport::create(std::move(connection.stream)));
  auto agent = session::FdAgentConnection::create(
      std::move(transport), session::FdAgentConnection::Greeting::kHello, kHelloBound);
  if (!agent) {
    return fail(agent.error().with_context("connecting to the nest"));
  }
  return NestAgent{.port = std::move(connection.port), .connection = std::move(*agent)};
}

Result<std::unique_ptr<session::Host>> open_nest_host(const Progress& progress) {
  ExecRequest request;
  SPORE_ASSIGN(const std::string program, spore_program());
  request.argv = {program, "serve", "--stdio"};
  request.env = serve_environment();
  request.env["SPORE_BIN"] = program;
  std::error_code error;
  request.workdir = std::filesystem::current_path(error).string();
  if (error) {
    return fail(Error::from_errno(error.value(), "finding the current directory"));
  }
  SPORE_ASSIGN(NestAgent agent, open_agent(progress));
  auto process = agent.connection->client().exec(request);
  if (!process) {
    return fail(process.error().with_context("using the nest"));
  }
  return session::connect_remote_host(
      std::make_unique<ServeTransport>(std::move(agent), std::move(*process)));
}

}  // namespace spore::nest
