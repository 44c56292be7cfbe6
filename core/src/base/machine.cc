#include "spore/machine.h"

namespace spore {

std::string_view to_string(EndReason reason) noexcept {
  switch (reason) {
    case EndReason::kPoweredOff:
      return "powered off";
    case EndReason::kPanicked:
      return "panicked";
    case EndReason::kReset:
      return "reset itself";
    case EndReason::kClosed:
      return "closed";
    case EndReason::kPutBack:
      return "put back";
    case EndReason::kEngineFailed:
      return "engine failed";
  }
  return "unknown";
}

}  // namespace spore
