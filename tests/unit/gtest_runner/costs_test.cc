#include "gtest_runner/reports/costs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace spore::gtest_runner {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

RunCosts some_costs() {
  RunCosts costs;
  costs.engine = "kvm";
  costs.boot_s = 1.5;
  costs.capture_ms = 3;
  costs.children = 3;
  for (const std::uint64_t shell_us : {400, 100, 200}) {
    costs.phases.push_back({.shell_us = shell_us, .agent_us = 5000, .user_us = 30});
  }
  return costs;
}

TEST(Costs, TheClosingLineTellsOnlyWhatHappened) {
  RunCosts costs = some_costs();
  EXPECT_THAT(closing_line(costs), HasSubstr("booted once in 1.50 s (kvm), captured in 3.0 ms"));
  EXPECT_THAT(closing_line(costs), Not(HasSubstr("set up")));
  EXPECT_THAT(closing_line(costs), Not(HasSubstr("put back")));
  costs.setup_s = 2;
  costs.resets = 4;
  costs.resets_ms = 10;
  EXPECT_THAT(closing_line(costs), HasSubstr("set up once in 2.00 s"));
  EXPECT_THAT(closing_line(costs), HasSubstr("put back 4 times in 2.5 ms each"));
}

TEST(Costs, PhasesAreMediansOfForksAndOfResets) {
  RunCosts costs = some_costs();
  EXPECT_THAT(phase_lines(costs),
              ElementsAre("fork, medians of 3 in ms: shell 0.20, memory 0.00, devices 0.00, cpus "
                          "0.00, agent 5.00, user 0.03"));
  costs.phases.push_back({.agent_us = 250, .reset = true, .pages_copied = 77});
  ASSERT_EQ(phase_lines(costs).size(), 2U);
  EXPECT_THAT(phase_lines(costs)[1], HasSubstr("reset, medians of 1 in ms: "));
  EXPECT_THAT(phase_lines(costs)[1], HasSubstr("agent 0.25, user 0.00; 77 pages put back"));
  EXPECT_TRUE(phase_lines(RunCosts{}).empty());
}

TEST(Costs, JsonHasPhasesOfTheKindsThatThereWere) {
  RunCosts costs = some_costs();
  auto json = to_json(costs);
  EXPECT_EQ(json["boot_ms"], 1500);
  EXPECT_EQ(json["fork_phases"]["count"], 3);
  EXPECT_EQ(json["fork_phases"]["shell_ms"], 0.2);
  EXPECT_FALSE(json.contains("reset_phases"));
  costs.phases.push_back({.reset = true, .pages_copied = 77});
  json = to_json(costs);
  EXPECT_EQ(json["reset_phases"]["count"], 1);
  EXPECT_EQ(json["reset_phases"]["pages_copied"], 77);
}

}  // namespace
}  // namespace spore::gtest_runner
