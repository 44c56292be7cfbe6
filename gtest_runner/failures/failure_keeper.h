// --keep-failed: the machines of failed tests on disk, each a layer on the spore that all children
// were forked from, which is saved with the first of them.
#pragma once

#include <mutex>
#include <set>
#include <string>

#include "spore/session.h"

namespace spore::gtest_runner {

class FailureKeeper {
 public:
  // What is kept goes to a new directory of this run: 1, 2, ... below `parent`.
  explicit FailureKeeper(std::string parent) : parent_(std::move(parent)) {}

  // Captures `machine`, which goes on, and saves it under the name of `test`, with a number behind
  // it if that is taken. The path. Any thread.
  Result<std::string> keep(Machine& machine, Spore& base, const std::string& test);

 private:
  Result<void> make_directory(Spore& base);

  const std::string parent_;
  std::mutex mutex_;
  std::string directory_;  // of this run; empty: nothing was kept
  std::set<std::string> taken_;
};

// A file name for a test: readable; tests whose names cannot be file names may have the same.
std::string file_name_of(const std::string& test);

}  // namespace spore::gtest_runner
