// GoogleTest: --gtest_list_tests, --gtest_filter, and the text of its own printer.
#pragma once

#include "framework.h"

namespace spore::gtest_runner {

// `flags` must outlive it.
std::unique_ptr<Framework> make_googletest(const GtestFlags& flags,
                                           const std::optional<OutputFile>& report);

}  // namespace spore::gtest_runner
