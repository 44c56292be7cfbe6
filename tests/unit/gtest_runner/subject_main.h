// What the subjects of Catch2 and doctest have in common: what their tests share, and their
// arguments. The same objects make a plain program and one with a (fake) fixture point.
#pragma once

#include <string>
#include <vector>

// "set up", until a test of this process changes it.
std::string& subject_state();

// Counts, in the file that SUBJECT_COUNTER names; 1 without one.
int subject_counter();

// What the framework is to be given, and a null pointer. Of the program with a fixture point: waits
// there, and adds what the fork is told.
std::vector<const char*> subject_arguments(int argc, const char* const* argv);
