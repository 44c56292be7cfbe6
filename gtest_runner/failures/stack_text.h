// The stack of a test that died: libspore_gtest writes addresses to stderr, in a signal handler;
// here they become names and lines, by the symbols of this host's files. Hostile bytes: all of it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace spore::gtest_runner {

// "spore-stack: /path/of/module+0x1234", innermost first.
struct StackFrame {
  std::string module;
  std::uint64_t offset = 0;  // as its symbol table counts
};

// Takes such lines out of `text`, at most 64.
std::vector<StackFrame> take_stack(std::string& text);

// A line for each frame that has a name, up to the test's own body: "  Suite_Test::TestBody() at
// file.cc:12". Empty if there is no addr2line (binutils) on this host, or nothing has a name.
std::string stack_text(const std::vector<StackFrame>& frames);

}  // namespace spore::gtest_runner
