// In a test program that is not linked with spore_gtest: a signal that would end it writes its
// stack. spore-test puts it into LD_PRELOAD.
#include <stdlib.h>
#include <unistd.h>

#include "stack_writer.h"

namespace {

pid_t g_watched = 0;  // a death test forks, and is to die in peace

// The signal comes again when its handler has returned, and ends the process as it would have.
void on_deadly_signal(int number, siginfo_t* /*info*/, void* context) {
  signal(number, SIG_DFL);
  if (getpid() == g_watched) {
    spore::gtest::write_stack(context);
  }
  raise(number);
}

[[gnu::constructor]] void watch() {
  unsetenv("LD_PRELOAD");  // for this process, and none that it starts
  g_watched = getpid();
  spore::gtest::handle_deadly_signals(on_deadly_signal);
}

}  // namespace
