// The stack of a process that dies of a signal, written to stderr for spore-test to give it names:
// "spore-stack: /path/of/module+0x1234", a line for each frame. Needs no C++ library.
#pragma once

#include <signal.h>

#include <array>

namespace spore::gtest {

inline constexpr std::array kDeadlySignals = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP};

using SignalHandler = void (*)(int number, siginfo_t* info, void* context);

// `handler` gets each deadly signal that nobody handles yet, on a stack of its own: one that
// overflowed is of no use.
void handle_deadly_signals(SignalHandler handler);

// In a signal handler: from the instruction that the signal came to.
void write_stack(const void* context);

}  // namespace spore::gtest
