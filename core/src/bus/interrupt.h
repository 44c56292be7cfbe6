// InterruptLine: an edge-triggered interrupt that a device can raise. Injected, so that a device
// knows neither its GSI nor the interrupt controller.
#pragma once

namespace spore::bus {

class InterruptLine {
 public:
  virtual ~InterruptLine() = default;
  // Raises one edge. Called with the machine's device lock held.
  virtual void trigger() = 0;
};

}  // namespace spore::bus
