// What differs between the XML of Catch2 and that of doctest, and how each tells a person of it.
#pragma once

#include <pugixml.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "gtest_runner/reports/results.h"

namespace spore::gtest_runner {

struct CaseCounts {
  std::size_t all = 0;
  std::size_t passed = 0;
  std::size_t failed = 0;
  std::size_t skipped = 0;
  std::size_t expected = 0;  // failures that count as passed
};

class CaseFormat {
 public:
  CaseFormat() = default;
  CaseFormat(const CaseFormat&) = delete;
  CaseFormat& operator=(const CaseFormat&) = delete;
  virtual ~CaseFormat() = default;

  [[nodiscard]] virtual bool is_root(std::string_view element) const = 0;
  // Elements within a test, and those of them in which there is nothing but text.
  [[nodiscard]] virtual bool is_part(std::string_view element) const = 0;
  [[nodiscard]] virtual bool is_text(std::string_view element) const = 0;
  // The element that says how a test ended, and the one that counts tests at the end.
  [[nodiscard]] virtual std::string_view result() const = 0;
  [[nodiscard]] virtual std::string_view totals() const = 0;
  // Whether a program may end with this status none of whose tests failed.
  [[nodiscard]] virtual bool accepts(int status, bool all_skipped) const = 0;

  // From a test's elements and its result to its outcome, time and failures, and to what a person
  // reads of these, behind what the test printed itself. Hostile; elements may be missing.
  virtual void conclude(const ListedTest& test, pugi::xml_node elements, pugi::xml_node result,
                        TestRecord& record) const = 0;
  // Of a test that its program, or its machine, did not survive.
  [[nodiscard]] virtual std::string tell_death(const ListedTest& test,
                                               const std::string& death) const = 0;
  [[nodiscard]] virtual std::string summary(const CaseCounts& counts) const = 0;
};

// For those who write one.
std::string text_of(pugi::xml_node element);  // without the writer's indent
std::string place_of(const ListedTest& test);
std::string place_of(pugi::xml_node element, const ListedTest& test);  // the test's, if it has none
std::string with_line_end(std::string text);
bool is_true(pugi::xml_attribute attribute);  // "true", and nothing like it
std::int64_t milliseconds(pugi::xml_attribute seconds);

}  // namespace spore::gtest_runner
