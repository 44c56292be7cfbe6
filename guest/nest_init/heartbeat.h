// Interrupts that the emulator loses. QEMU's TCG (10.0) changes a CPU's interrupt_request from
// several threads, and not everywhere under its lock (helper_vmrun(), svm_helper.c): an interrupt
// that comes at such a moment waits in its APIC until another one does. A timer that is lost so is
// not armed again, and an idle CPU may never get another: its threads sleep for ever.
#pragma once

namespace spore::nest_init {

// Starts a process on each CPU that wakes the one on the next CPU twice a second: the wake-up
// is an interrupt, and brings the one that waits. They live as long as the machine.
void start_heartbeats();

}  // namespace spore::nest_init
