// The XML of doctest's reporter, told as its console reporter tells it.
#pragma once

#include "case_format.h"

namespace spore::gtest_runner {

class DoctestFormat final : public CaseFormat {
 public:
  [[nodiscard]] bool is_root(std::string_view element) const override;
  [[nodiscard]] bool is_part(std::string_view element) const override;
  [[nodiscard]] bool is_text(std::string_view element) const override;
  [[nodiscard]] std::string_view result() const override { return "OverallResultsAsserts"; }
  [[nodiscard]] std::string_view totals() const override { return "OverallResultsTestCases"; }
  [[nodiscard]] bool accepts(int status, bool all_skipped) const override;
  void conclude(const ListedTest& test, pugi::xml_node elements, pugi::xml_node result,
                TestRecord& record) const override;
  [[nodiscard]] std::string tell_death(const ListedTest& test,
                                       const std::string& death) const override;
  [[nodiscard]] std::string summary(const CaseCounts& counts) const override;
};

}  // namespace spore::gtest_runner
