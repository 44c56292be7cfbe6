// Coverage counts at a fixture point. Each child goes on from the captured memory, counters too: so
// that the set-up is counted once and not by every child, what was counted until then is written
// before the capture, and children count from zero.
#pragma once

namespace spore::gtest {

// Writes the profiles of a program that was compiled for coverage (gcc --coverage, clang
// --coverage or -fprofile-instr-generate), and sets its counters to zero. Does nothing in others.
void put_profile_aside();

}  // namespace spore::gtest
