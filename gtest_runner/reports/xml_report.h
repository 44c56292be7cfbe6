// The merged XML file: GoogleTest's own format, made of the files that the children wrote. A test
// whose child never wrote its file is made from what was read off its text.
// The children's files are hostile: a file that is no such XML counts as none.
#pragma once

#include <string>

#include "results.h"

namespace spore::gtest_runner {

std::string merge_xml(const RunResults& results);

}  // namespace spore::gtest_runner
