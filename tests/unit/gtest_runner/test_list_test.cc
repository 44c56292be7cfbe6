#include "gtest_runner/frameworks/test_list.h"

#include <gmock/gmock.h>

namespace spore::gtest_runner {
namespace {

using ::testing::ElementsAre;

constexpr const char* kText =
    "Running main() from gtest_main.cc\n"
    "Loading data.\n"
    "Plain.\n"
    "  First\n"
    "  DISABLED_Second\n"
    "  Third\n"
    "Typed/0.  # TypeParam = std::map<int, char>\n"
    "  Works\n"
    "Words/Valued.\n"
    "  IsShort/0  # GetParam() = \"one  # two.\"\n"
    "DISABLED_All.\n"
    "  One\n"
    "Goodbye\n";

TEST(TestListText, IsParsedWithItsComments) {
  const TestList list = parse_test_list(kText);
  ASSERT_EQ(list.tests.size(), 6U);
  EXPECT_EQ(list.tests[0].full_name(), "Plain.First");
  EXPECT_FALSE(list.tests[0].disabled);
  EXPECT_TRUE(list.tests[1].disabled);
  EXPECT_EQ(list.tests[3].full_name(), "Typed/0.Works");
  EXPECT_EQ(list.tests[3].comment(), ", where TypeParam = std::map<int, char>");
  EXPECT_EQ(list.tests[4].full_name(), "Words/Valued.IsShort/0");
  EXPECT_EQ(list.tests[4].comment(), ", where GetParam() = \"one  # two.\"");
  EXPECT_TRUE(list.tests[5].disabled);
}

TEST(TestListText, OfAnythingElseIsEmpty) {
  EXPECT_TRUE(parse_test_list("").tests.empty());
  EXPECT_TRUE(parse_test_list("hello.\nworld.\n").tests.empty());
  EXPECT_TRUE(parse_test_list("  indented\n").tests.empty());
}

TEST(Selection, FollowsGoogleTestsSharding) {
  const TestList list = parse_test_list(kText);
  // Runnable: First 0, Third 1, Works 2, IsShort 3.
  const Selection first = select_tests(list, false, 0, 2);
  EXPECT_THAT(first.to_run, ElementsAre(0, 3));
  EXPECT_THAT(first.reported, ElementsAre(0, 3, 5));
  const Selection second = select_tests(list, false, 1, 2);
  EXPECT_THAT(second.to_run, ElementsAre(2, 4));
  EXPECT_THAT(second.reported, ElementsAre(1, 2, 4));
  EXPECT_THAT(select_tests(list, true, 0, 1).to_run, ElementsAre(0, 1, 2, 3, 4, 5));
}

TEST(Deal, GoesAround) {
  EXPECT_THAT(deal({0, 2, 4, 6, 8}, 2), ElementsAre(ElementsAre(0, 4, 8), ElementsAre(2, 6)));
}

TEST(Turns, GetShorterAndLeaveNothing) {
  std::vector<std::size_t> turns;
  for (std::size_t left = 20; left > 0; left -= turns.back()) {
    turns.push_back(turn_size(left, 2));
  }
  EXPECT_THAT(turns, ElementsAre(6, 4, 3, 2, 2, 1, 1, 1));
}

TEST(Turns, AreNotShorterThanIsWorthAStart) {
  std::vector<std::size_t> turns;
  for (std::size_t left = 40; left > 0; left -= turns.back()) {
    turns.push_back(turn_size(left, 2, 7));
  }
  EXPECT_THAT(turns, ElementsAre(11, 8, 7, 7, 4, 2, 1));
  EXPECT_EQ(turn_size(40, 2, 1000), 20u) << "each worker has its part";
}

TEST(Filter, TakesWhatGoogleTestTakes) {
  struct Case {
    const char* filter;
    const char* name;
    bool taken;
  };
  for (const Case& one : std::initializer_list<Case>{{"*", "A.b", true},
                                                     {"", "A.b", false},
                                                     {"A.b", "A.b", true},
                                                     {"A.b", "A.bc", false},
                                                     {"A.?", "A.b", true},
                                                     {"A.?", "A.", false},
                                                     {"*b*d", "abcbd", true},
                                                     {"*b*d", "abcbde", false},
                                                     {"X.*:A.*", "A.b", true},
                                                     {"A.*:", "", true},
                                                     {"-A.*", "A.b", false},
                                                     {"-A.*", "B.b", true},
                                                     {"A.*-*.b:*.c", "A.c", false},
                                                     {"A.*-*.b:*.c", "A.d", true},
                                                     {"A.*-A-b", "A-b", false},
                                                     {"A.*-A.b-c", "A.b-c", false},
                                                     {"A.*-", "A.b", true},
                                                     {"a***", "a", true}}) {
    EXPECT_EQ(matches_filter(one.name, one.filter), one.taken) << one.filter << " " << one.name;
  }
}

TEST(Filter, HoldsToItsLimitAndHidesSpecialCharacters) {
  TestList list;
  list.tests = {
      {.suite = "A", .name = "x-y:z"}, {.suite = "A", .name = "b"}, {.suite = "A", .name = "c"}};
  std::string filter;
  EXPECT_EQ(make_filter(list, {0, 1, 2}, 11, filter), 2U);
  EXPECT_EQ(filter, "A.x?y?z:A.b");
  EXPECT_EQ(make_filter(list, {0, 1}, 1, filter), 1U) << "one always fits";
}

TEST(TestList, KnowsSuitesWithASetUpFromWhatTheProgramSays) {
  EXPECT_EQ(suites_with_set_up("noise\nspore-suite: A\nnot spore-suite: B\nspore-suite: In/C/0"),
            "A\nIn/C/0\n");
  EXPECT_EQ(suites_with_set_up(""), "");
  EXPECT_EQ(suite_filter("In/C/0"), "In/C/0.*");
  EXPECT_EQ(suite_filter("a:b-c*"), "a?b?c?.*");
}

}  // namespace
}  // namespace spore::gtest_runner
