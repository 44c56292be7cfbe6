// RemoteHost: a Host whose machines are in a `spore serve --stdio` at the other end of a stream.
//
// Hostile bytes: what the stream brings. A reply or frame that makes no sense breaks the
// connection: every machine then ends with kEngineFailed, every pending call fails.
//
// Threads: any may call. One thread reads and calls the observers; writers share write_mutex_. The
// reader takes mutex_ only, so that a writer who waits for the peer never stops it.
#pragma once

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "session/host.h"
#include "session/transport.h"
#include "wire/frame.h"
#include "wire/host_protocol.h"

namespace spore::session {

// Speaks the handshake and gives a Host. Fails when the other end is another build, does not
// answer within `timeout`, or is no `spore serve`.
Result<std::unique_ptr<Host>> connect_remote_host(std::unique_ptr<Transport> transport,
                                                  Milliseconds timeout = Milliseconds{60'000});

class RemoteHost final : public Host {
 public:
  explicit RemoteHost(std::unique_ptr<Transport> transport);
  ~RemoteHost() override;
  Result<void> handshake(Milliseconds timeout);

  Result<Booted> boot(const MachineConfig& config,
                      std::shared_ptr<MachineObserver> observer) override;
  Result<void> send_to_agent(MachineId machine, std::string_view bytes) override;
  Result<SporeId> take_spore(MachineId machine, bool keep_running) override;
  Result<std::vector<ForkedMachine>> fork(SporeId spore, std::vector<ForkOrder> orders) override;
  Result<SavedSpore> save(SporeId spore, const SaveOrder& order) override;
  Result<LoadedHere> load(const std::string& path, const LoadOptions& options) override;
  Result<MachineStats> stats(MachineId machine) override;
  std::string console_tail(MachineId machine) override;
  void close(MachineId machine) override;
  void release(SporeId spore) override;

 private:
  struct Pending {
    std::condition_variable answered;
    std::optional<Result<std::string>> answer;
  };

  // The reader.
  void read_all();
  Result<void> read_until_end();
  Result<void> handle(const wire::Frame& frame);
  Result<void> handle_hello(const wire::Frame& frame);
  Result<void> handle_reply(const wire::Frame& frame);
  Result<void> handle_machine(const wire::Frame& frame);
  void fail_all(const Error& why);

  Result<void> send(wire::HostFrame type, std::uint64_t subject, std::string_view payload);
  // Sends a request and waits for its answer.
  SporeId next_spore();
  Result<std::string> ask(wire::HostFrame type, std::string_view payload);
  // Registers observers under new ids; kMachineEnded-like Error when the connection is gone.
  Result<std::vector<MachineId>> expect(std::vector<std::shared_ptr<MachineObserver>> observers);
  void forget(const std::vector<MachineId>& machines);

  const std::unique_ptr<Transport> transport_;
  std::mutex write_mutex_;
  std::mutex mutex_;
  std::condition_variable greeted_;
  bool hello_ = false;
  std::optional<Error> broken_;
  std::map<MachineId, std::shared_ptr<MachineObserver>> observers_;
  std::map<std::uint64_t, Pending*> pending_;
  std::uint64_t next_machine_ = 1;
  std::uint64_t next_spore_ = 1;
  std::uint64_t next_request_ = 1;
  wire::FrameDecoder decoder_;  // the reader's
  std::thread reader_;
};

}  // namespace spore::session
