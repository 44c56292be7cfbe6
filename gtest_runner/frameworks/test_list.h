// The tests of a binary as --gtest_list_tests prints them, and how they are dealt to children.
// The text comes from a guest: anything may be in it, and what is not a list is dropped.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace spore::gtest_runner {

struct ListedTest {
  std::string suite;
  std::string name;
  std::string type_param = "";   // of its suite; empty: none
  std::string value_param = "";  // empty: none; cut by GoogleTest after 250 characters
  bool disabled = false;
  std::string file = "";  // where it is, if the list says so
  int line = 0;
  // Which of the tests it is, from 1, that a framework's filter by its name takes; 0: the only one.
  std::size_t ordinal = 0;

  [[nodiscard]] std::string full_name() const { return suite.empty() ? name : suite + "." + name; }
  // ", where TypeParam = int", as GoogleTest adds to a failure; empty without parameters.
  [[nodiscard]] std::string comment() const;
};

struct TestList {
  std::vector<ListedTest> tests;  // in the program's order
};

TestList parse_test_list(std::string_view text);

// * stands for any text, ? for one character.
[[nodiscard]] bool matches_pattern(std::string_view name, std::string_view pattern);

// Whether --gtest_filter=`filter` takes a test: patterns with * and ?, separated by colons; after a
// '-' those that it leaves out.
[[nodiscard]] bool matches_filter(std::string_view full_name, std::string_view filter);

// What of a list a filter takes.
TestList filtered(TestList list, std::string_view filter);

// Which tests of a list a run is about; indexes into TestList::tests, ascending.
struct Selection {
  std::vector<std::size_t> to_run;
  std::vector<std::size_t> reported;  // to_run, and the disabled tests that a report names
};

// GoogleTest's own rule: the shard of a test is its number among the runnable tests, modulo
// `total`; a disabled test is reported by the shard of the next runnable one.
Selection select_tests(const TestList& list, bool also_run_disabled, int shard_index,
                       int total_shards);

// Deals `tests` to `count` hands, one after the other, as GoogleTest's sharding does.
std::vector<std::vector<std::size_t>> deal(const std::vector<std::size_t>& tests,
                                           std::size_t count);

// How many of `left` tests one of `workers` takes that has nothing to do: half of what would be its
// part, so that few turns do for many tests and the last ones are short; but not fewer than
// `least`, as long as every worker can have as many.
std::size_t turn_size(std::size_t left, std::size_t workers, std::size_t least = 1);

// Of what a program wrote to stderr, the suites that have a SetUpTestSuite: a line each. See
// guest/lib/suite_point.h.
std::string suites_with_set_up(std::string_view errors);

// A filter for all tests of a suite.
std::string suite_filter(const std::string& suite);

// How many of `tests`, from the first, a --gtest_filter of at most `limit` bytes can name: at least
// one. The filter is written to `filter`.
std::size_t make_filter(const TestList& list, const std::vector<std::size_t>& tests,
                        std::size_t limit, std::string& filter);

}  // namespace spore::gtest_runner
