// Error and Result: how every fallible call of the public API answers.
//
// An Error is a sentence for a person: what was attempted, on what, why it failed, and what to do.
// Guest misbehaviour is never an Error, and a bug is a SPORE_CHECK (base/check.h).
#pragma once

#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>

namespace spore {

// What kind of failure it was, so that a caller can choose an exit status or a Python exception.
enum class ErrorCode {
  kInvalidArgument,    // the caller asked for something that makes no sense
  kNotFound,           // a file, program, machine or process that is not there
  kUnavailable,        // this host cannot do it (no KVM, no QEMU, a missing capability)
  kPermissionDenied,   // the host refuses it to this user
  kResourceExhausted,  // no memory, no disk, no descriptors
  kCorrupt,            // bytes that fail their check
  kMachineEnded,       // the machine is gone; the message says how it ended
  kTimedOut,           // a bound the caller set was reached
  kInterrupted,        // the user interrupted it
  kInternal,           // the host kernel or another program did something unexpected
};

[[nodiscard]] std::string_view to_string(ErrorCode code) noexcept;

class [[nodiscard]] Error {
 public:
  Error(ErrorCode code, std::string message) : code_(code), message_(std::move(message)) {}

  // An Error for a failed system call: `attempted` and the text of `error_number`. The code follows
  // from the number (ENOENT is kNotFound, ENOSPC kResourceExhausted, ...).
  static Error from_errno(int error_number, std::string_view attempted);

  // The same Error with `context` in front: "context: message".
  [[nodiscard]] Error with_context(std::string_view context) const;

  [[nodiscard]] ErrorCode code() const noexcept { return code_; }
  [[nodiscard]] const std::string& message() const noexcept { return message_; }

 private:
  ErrorCode code_;
  std::string message_;
};

template <typename T>
using Result = tl::expected<T, Error>;

// `return fail(...)` in a function that returns any Result.
inline tl::unexpected<Error> fail(ErrorCode code, std::string message) {
  return tl::unexpected<Error>(Error(code, std::move(message)));
}
inline tl::unexpected<Error> fail(Error error) {
  return tl::unexpected<Error>(std::move(error));
}

}  // namespace spore

#define SPORE_CONCAT_INNER(a, b) a##b
#define SPORE_CONCAT(a, b) SPORE_CONCAT_INNER(a, b)

// Evaluates a Result<void> and returns its Error from the calling function if it failed.
#define SPORE_TRY(expression)                                    \
  do {                                                           \
    auto&& spore_try_result = (expression);                      \
    if (!spore_try_result) {                                     \
      return ::spore::fail(std::move(spore_try_result).error()); \
    }                                                            \
  } while (false)

// Evaluates a Result<T>; returns its Error if it failed, else binds `declaration` to the value.
#define SPORE_ASSIGN(declaration, expression) \
  SPORE_ASSIGN_INNER(SPORE_CONCAT(spore_assign_, __LINE__), declaration, expression)
#define SPORE_ASSIGN_INNER(temporary, declaration, expression) \
  auto temporary = (expression);                               \
  if (!temporary) {                                            \
    return ::spore::fail(std::move(temporary).error());        \
  }                                                            \
  declaration = std::move(*temporary)
