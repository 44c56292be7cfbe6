// FileLock: a lock on a file, exclusive or shared, held by the open file description: it ends with
// the object, or with the last process that inherited the descriptor.
#pragma once

#include <optional>
#include <string>
#include <utility>

#include "base/unique_fd.h"
#include "spore/result.h"

namespace spore::base {

class FileLock {
 public:
  // Waits for it at most `timeout_ms` (0: does not wait); nullopt when another holds it.
  static Result<std::optional<FileLock>> take(const std::string& path, int timeout_ms);
  // One of any number of holders, of a file that is there; nullopt when one holds it exclusively.
  static Result<std::optional<FileLock>> share(const std::string& path);
  // Whether anybody holds it, without taking it. False when there is no such file.
  static Result<bool> is_held(const std::string& path);

  [[nodiscard]] int fd() const noexcept { return fd_.get(); }

 private:
  explicit FileLock(UniqueFd fd) noexcept : fd_(std::move(fd)) {}

  UniqueFd fd_;
};

}  // namespace spore::base
