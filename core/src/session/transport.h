// Transport: an ordered byte stream to another program, as the host protocol and the agent protocol
// need it. One thread reads; writers take turns by a lock of their own; close() may come from any
// thread and wakes them.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/unique_fd.h"
#include "spore/result.h"
#include "spore/session.h"

namespace spore::session {

inline constexpr std::size_t kReadSize = 64 * 1024;  // bytes that are read at a time

class Transport {
 public:
  virtual ~Transport() = default;
  // Waits for bytes; 0 when the stream is over or was closed. An Error says why it broke.
  virtual Result<std::size_t> read(std::span<char> buffer) = 0;
  // Writes all of it.
  virtual Result<void> write(std::string_view bytes) = 0;
  virtual void close() = 0;
};

// Two descriptors (pipes, say), or one socket twice. Works whether or not they are non-blocking,
// and leaves that as it is. A peer that went away is an Error, not a SIGPIPE.
class FdTransport final : public Transport {
 public:
  static Result<std::unique_ptr<Transport>> create(base::UniqueFd in, base::UniqueFd out);
  // One socket for both directions.
  static Result<std::unique_ptr<Transport>> create(base::UniqueFd socket);

  Result<std::size_t> read(std::span<char> buffer) override;
  Result<void> write(std::string_view bytes) override;
  void close() override;

 private:
  FdTransport(base::UniqueFd in, base::UniqueFd out, base::UniqueFd wake, bool out_is_socket)
      : in_(std::move(in)),
        out_(std::move(out)),
        wake_(std::move(wake)),
        out_is_socket_(out_is_socket) {}
  // Waits for `events` on `fd`; false when the transport was closed.
  Result<bool> wait_for(int fd, short events);
  Result<std::size_t> write_some(std::string_view bytes);

  const base::UniqueFd in_;
  const base::UniqueFd out_;
  const base::UniqueFd wake_;  // an eventfd, readable for good once closed
  const bool out_is_socket_;
};

// The standard input and output of a process in a guest. Its standard error becomes the reason
// when it ends.
class ProcessTransport final : public Transport {
 public:
  explicit ProcessTransport(std::shared_ptr<Process> process) : process_(std::move(process)) {}

  Result<std::size_t> read(std::span<char> buffer) override;
  Result<void> write(std::string_view bytes) override;
  void close() override;  // ends the process

 private:
  const std::shared_ptr<Process> process_;
  std::string output_;  // the reader's alone, as the two below
  std::size_t consumed_ = 0;
  std::string complaints_;
};

}  // namespace spore::session
