// Coverage of the test program: what its compiler's runtime writes at its end (.gcda files of gcc
// --coverage, .profraw files of clang -fprofile-instr-generate) is brought home from each machine,
// merged, and put where a run without machines writes it.
//
// In a machine all profiles of one run of the program are in a directory of their own.
#pragma once

#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "gtest_runner/frameworks/gtest_flags.h"
#include "spore/session.h"

namespace spore::gtest_runner {

// Where a run without machines writes: what the runtimes' own variables say.
struct ProfilePlaces {
  std::string gcov_prefix;
  int gcov_prefix_strip = 0;
  std::string llvm_pattern = "default.profraw";
};

ProfilePlaces parse_profile_places(const Lookup& getenv);

// The variables with which the program writes its profiles to `directory` in the machine.
void set_profile_variables(const ProfilePlaces& places, const std::string& directory,
                           std::map<std::string, std::string>& env);

// The request that prints the files of `directory`, in the machine, as an archive: nothing if it is
// not there.
ExecRequest profile_request(const std::string& directory);

// What a process that is ended by a signal would leave behind.
void remove_coverage_directory();

// The profiles of a whole run. take() may be called from any thread.
class Coverage {
 public:
  Coverage(ProfilePlaces places, std::string program);
  ~Coverage();
  Coverage(const Coverage&) = delete;
  Coverage& operator=(const Coverage&) = delete;

  // What profile_request() printed. Hostile bytes.
  Result<void> take(std::string_view archive);
  // The set-up ahead of a fixture point, which every child has: the first that brings it counts.
  Result<void> take_set_up(std::string_view archive);
  [[nodiscard]] bool has_set_up();
  // Merges what was taken, with what is at its place already as the runtimes do. An Error leaves
  // what was taken on the disk, and says where.
  Result<void> bring_home();

 private:
  Result<void> unpack(std::string_view archive);
  Result<void> merge_gcov();
  Result<void> merge_llvm();
  Result<void> merge_into_place(const std::string& merged, const std::vector<std::string>& names,
                                const std::string& tool);
  [[nodiscard]] std::string gcov_place(const std::string& name) const;
  [[nodiscard]] std::string llvm_place() const;

  const ProfilePlaces places_;
  const std::string program_;
  std::mutex mutex_;  // guards what follows
  std::string directory_;
  std::size_t taken_ = 0;
  bool has_set_up_ = false;
  bool keeps_ = false;  // what was taken stays on the disk
};

}  // namespace spore::gtest_runner
