// doctest: --list-test-cases, --test-case with names, --first and --last, and the XML reporter.
#pragma once

#include "framework.h"

namespace spore::gtest_runner {

// `arguments`: the user's.
Result<std::unique_ptr<Framework>> make_doctest(const std::vector<std::string>& arguments);

}  // namespace spore::gtest_runner
