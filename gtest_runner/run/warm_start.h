// Warm starts: spore-test keeps the machine that it captured, and a run that is given the same
// things goes on from there. All that a machine is given until its capture is a part of its key
// (docs/gtest-runner.md); what was seen until then is kept with it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "gtest_runner/options.h"
#include "gtest_runner/program.h"
#include "spore/kept.h"

namespace spore::gtest_runner {

// What a run learned until the capture, and the next one is not to ask again.
struct StartNotes {
  std::string framework = "";   // as --framework names it
  std::string help = "";        // what the program printed with --help, if it was asked
  std::string list;             // what it printed when it was asked for its tests
  std::string suites;           // those with a SetUpTestSuite, a line each
  std::string listing;          // the same as XML or JSON; empty: no report was asked for
  std::string setup_output;     // of --setup
  std::string errors;           // on stderr, of --setup and of the program
  std::string printed;          // by the program, until its fixture point
  std::uint32_t inherited = 0;  // the process that waits there; 0: none
  bool is_profiled = false;     // the program writes profiles of its coverage
};

std::string encode(const StartNotes& notes);
// Nothing: that is not what encode() made. Hostile bytes.
std::optional<StartNotes> decode_start_notes(std::string_view bytes);

// All that the runner gives to a machine until its capture, by names for people; the engine and the
// root image are to be added. Empty: no later run is given the same. `day` stands for what a
// set-up took for the present time.
KeptParts start_key(const Options& options, const Program& program, const std::string& day);

// Names of the parts that differ, in order.
std::vector<std::string> changed_parts(const KeptParts& before, const KeptParts& now);
// The first of many, for a person.
std::string shortened(const std::vector<std::string>& names);

// What the machines of `program` are called where people see them.
std::string start_label(const Program& program);

}  // namespace spore::gtest_runner
